"""Random samples and small models for the tests of the model's room."""

from collections.abc import Mapping, Sequence

import numpy as np
import torch

from hctdmg.batch import Sample
from hctdmg.config import ModalityConfig, ModelConfig
from hctdmg.model import HctDmg

NAMES = ("text", "audio", "vision", "physiology")
WIDTHS = (12, 7, 5, 3)


def small_config(num_modalities: int = 3, labels: tuple[str, ...] = ()) -> ModelConfig:
    """Two blocks everywhere: the whole structure, quick to run."""
    modalities = tuple(
        ModalityConfig(name, width, 1 if name == "text" else 3)
        for name, width in zip(NAMES[:num_modalities], WIDTHS, strict=False)
    )
    return ModelConfig(modalities, labels, num_layers_stage1=2, num_layers_stage2=2, num_layers_self=2)


def make_model(config: ModelConfig, gate: Sequence[float] | None = None, seed: int = 0) -> HctDmg:
    """A model with random weights, in evaluation mode."""
    torch.manual_seed(seed)
    model = HctDmg(config)
    if gate is not None:
        with torch.no_grad():
            model.gate.logits_N.copy_(torch.tensor(gate))
    return model.eval()


def make_sample(config: ModelConfig, lengths: Mapping[str, int], seed: int = 0) -> Sample:
    """Features of the given lengths; 0 is an absent modality."""
    rng = np.random.default_rng(seed)
    return {
        name: rng.normal(size=(lengths.get(name, 0), width)).astype(np.float32)
        for name, width in config.widths.items()
    }
