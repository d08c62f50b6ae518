"""Trains the small models that experiments compare, and scores them. Knows models by name. Does not know any question.

Shape suffixes: N samples, K outputs.
"""

import dataclasses
from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from torch import nn

from hctdmg.baselines.mult import MulT, MulTConfig
from hctdmg.data.dataset import Dataset, Split
from hctdmg.data.synthetic import World, make_dataset
from hctdmg.experiments.record import Metrics
from hctdmg.experiments.setup import Setup
from hctdmg.model import HctDmg
from hctdmg.training.build import OWN, build_network, modalities_of, num_outputs
from hctdmg.training.fit import FitResult, fit
from hctdmg.training.metrics import mean_absolute_error, pearson, sign_accuracy
from hctdmg.training.network import Standardised, predict_split

MULT = "mult"
FIXED = "fixed-"
HEAD_START = 1e-3
"""What a fixed primary's gate has more than the others: it decides the order and weighs next to nothing."""


def make_data(setup: Setup, world: World, seed: int) -> Dataset:
    """A data set of the setup's sizes."""
    return make_dataset(world, setup.num_train, setup.num_valid, setup.num_test, seed)


def train_small(
    name: str,
    data: Dataset,
    setup: Setup,
    seed: int,
    settings: Mapping[str, Any] | None = None,
    **fit_changes: Any,
) -> tuple[nn.Module, FitResult]:
    """Train a small model.

    Args:
        name: "hct-dmg"; "fixed-MODALITY", the same with that modality as primary, whatever it learns, all streams
            weighing alike; or "mult".
        data: What to learn.
        setup: Sizes and training.
        seed: Of weights and batches.
        settings: Fields of `ModelConfig` that differ from the setup's.
        **fit_changes: Fields of `FitConfig` that differ from the setup's.
    """
    network = build_small(name, data, setup, seed, settings)
    config = dataclasses.replace(setup.fit, seed=seed, **fit_changes)
    return network, fit(network, data, config)


def build_small(
    name: str, data: Dataset, setup: Setup, seed: int, settings: Mapping[str, Any] | None = None
) -> nn.Module:
    """The model with fresh weights."""
    if name == MULT:
        torch.manual_seed(seed)
        config = MulTConfig(modalities_of(data, {}), num_outputs(data), **setup.mult)
        return Standardised(MulT(config), data.widths)
    network = build_network(OWN, data, seed, {**setup.model, **(settings or {})})
    if name.startswith(FIXED):
        assert isinstance(network, HctDmg)
        primary = network.config.names.index(name.removeprefix(FIXED))
        with torch.no_grad():
            network.gate.logits_N[primary] += HEAD_START
        network.gate.freeze()
    return network


def sentiment(network: nn.Module, split: Split) -> Metrics:
    """Mean absolute error, share on the right side of 0, and r, of a split."""
    predicted_N = predict_split(network, split)[:, 0].astype(np.float64)
    truth_N = split.labels_NK[:, 0].astype(np.float64)
    return {
        "mae": mean_absolute_error(predicted_N, truth_N),
        "acc2": sign_accuracy(predicted_N, truth_N),
        "r": pearson(predicted_N, truth_N),
    }


def gate(result: FitResult) -> Metrics:
    """The gate's weights at the best epoch, and which modality is primary."""
    weights = result.best.gate_weights or {}
    return {
        **{f"gate.{name}": weight for name, weight in weights.items()},
        **{f"primary.{name}": float(name == result.best.primary) for name in weights},
    }
