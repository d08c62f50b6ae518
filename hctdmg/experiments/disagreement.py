"""Scores of how much a sample's modalities disagree: the flag's own, and alternatives to it. Knows models and readings.

Shape suffixes: N samples, B samples of a batch, M modalities, T steps, D width, K outputs.
"""

import math
from collections.abc import Sequence
from itertools import combinations, permutations

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor
from torch.nn import functional as F

from hctdmg.batch import Batch
from hctdmg.data.dataset import Split
from hctdmg.incongruity import LABEL_RANGE
from hctdmg.layers import Transformer, masked_mean
from hctdmg.manifest import Calibration
from hctdmg.model import HctDmg, assign_roles
from hctdmg.predictor import Prediction, laplace_cdf
from hctdmg.training.contradictions import contradictions
from hctdmg.training.network import read_heads

Numbers = npt.NDArray[np.float64]

FLAG = "flag"
ALTERNATIVES = ("any-confidence", "probability", "attention", "fused", "representation")
CHUNK = 100
TINY = 1e-30


def disagreements(
    network: HctDmg, calibration: Calibration, predictions: Sequence[Prediction], split: Split
) -> dict[str, Numbers]:
    """(N,) of each score; 0 for a sample that has fewer than two modalities."""
    heads = read_heads(network, split)
    names = network.config.names
    location_NM = np.stack([heads.unimodal[name][:, 0] for name in names], axis=1).astype(np.float64)
    scale_NM = np.stack(
        [calibration.unimodal[name].temperature * np.exp(heads.unimodal[name][:, 1]) for name in names],
        axis=1,
    )
    distance = _widest(location_NM) / LABEL_RANGE
    fused_N = np.abs(heads.fused_NK[:, :1] - location_NM)
    attention_N, representation_N = _from_inside(network, split)
    return {
        FLAG: contradictions(list(predictions), calibration.min_confidence),
        "any-confidence": distance,
        "probability": _probability(location_NM, scale_NM, names, calibration),
        "attention": attention_N,
        "fused": np.nan_to_num(_most(fused_N)) / LABEL_RANGE,
        "representation": representation_N,
    }


def _widest(location_NM: Numbers) -> Numbers:
    pairs = [
        np.abs(location_NM[:, i] - location_NM[:, j]) for i, j in combinations(range(location_NM.shape[1]), 2)
    ]
    return _most(np.stack(pairs, axis=1))


def _most(values_NP: Numbers) -> Numbers:
    """(N,) the greatest that is known, else 0."""
    most_N: Numbers = np.where(np.isnan(values_NP), -np.inf, values_NP).max(axis=1, initial=0.0)
    return most_N


def _probability(
    location_NM: Numbers, scale_NM: Numbers, names: Sequence[str], calibration: Calibration
) -> Numbers:
    cdf = np.vectorize(laplace_cdf, otypes=[np.float64])
    zone_M = np.array([calibration.unimodal[name].neutral_zone for name in names])
    with np.errstate(invalid="ignore"):
        negative_NM = cdf((-zone_M - location_NM) / scale_NM)
        positive_NM = cdf((location_NM - zone_M) / scale_NM)
    pairs = [negative_NM[:, i] * positive_NM[:, j] for i, j in permutations(range(len(names)), 2)]
    return _most(np.stack(pairs, axis=1))


def _from_inside(network: HctDmg, split: Split) -> tuple[Numbers, Numbers]:
    """(N,) attention's divergence and (N,) distance of representations; samples without a modality keep 0."""
    attention_N, representation_N = np.zeros(split.num_samples), np.zeros(split.num_samples)
    rows = np.flatnonzero(split.present_NM.sum(axis=1) > 1).tolist()
    for begin in range(0, len(rows), CHUNK):
        some = rows[begin : begin + CHUNK]
        with torch.inference_mode():
            attention_B, representation_B = _look_inside(network, split.batch(some))
        attention_N[some], representation_N[some] = attention_B.numpy(), representation_B.numpy()
    return attention_N, representation_N


def _look_inside(network: HctDmg, batch: Batch) -> tuple[Tensor, Tensor]:
    names = network.config.names
    masks = [batch.masks[name] for name in names]
    streams = [
        network.streams[name](batch.features[name], mask) for name, mask in zip(names, masks, strict=True)
    ]
    output = network(batch, want_attention=True)
    scaled = [x_BTD * weight for x_BTD, weight in zip(streams, output.weights_N, strict=True)]
    by_role, mask_by_role = assign_roles(scaled, masks, output.order_BN)
    divergences = []
    for index, transformer in enumerate(network.stage2, start=1):
        assert isinstance(transformer, Transformer)
        raw = transformer(by_role[0], by_role[index], mask_by_role[index], True)[1]
        divergences.append(_divergence_B(raw, output.attention[f"stage2.{index}"], mask_by_role[0]))
    return torch.stack(divergences).amax(dim=0).double(), _distance_B(streams, masks)


def _divergence_B(p_LBHTS: Tensor, q_LBHTS: Tensor, mask_BT: Tensor) -> Tensor:
    log_ratio = p_LBHTS.clamp(min=TINY).log() - q_LBHTS.clamp(min=TINY).log()
    divergence_LBHT = (p_LBHTS * log_ratio).sum(dim=-1) * mask_BT[None, :, None]
    return divergence_LBHT.sum(dim=3).mean(dim=(0, 2)) / mask_BT.sum(dim=1).clamp(min=1)


def _distance_B(streams: Sequence[Tensor], masks: Sequence[Tensor]) -> Tensor:
    means = [masked_mean(x_BTD, mask_BT) for x_BTD, mask_BT in zip(streams, masks, strict=True)]
    distances = []
    for i, j in combinations(range(len(means)), 2):
        both_B = masks[i].any(dim=1) & masks[j].any(dim=1)
        distance_B = 1 - F.cosine_similarity(means[i], means[j], dim=1)
        distances.append(distance_B.masked_fill(~both_B, -math.inf))
    return torch.stack(distances).amax(dim=0).double()
