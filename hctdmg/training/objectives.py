"""What training minimises: the Laplace negative log-likelihood of the truths that are known.

Knows raw outputs and truths. Does not know where either comes from.

Shape suffixes: B samples, K outputs (0 location, 1 log of the Laplace scale).
"""

from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

from hctdmg.batch import Batch
from hctdmg.layers import masked_mean
from hctdmg.model import HctDmg

LEAST_LOG_SCALE = -2.5
"""A scale of 0.08, finer than people's ratings repeat: below it a sure guess would outweigh all others."""


@dataclass(frozen=True)
class LabelledBatch:
    """A batch and its truths; NaN where one isn't known.

    Attributes:
        batch: Every sample has at least one modality.
        fused_B: What the fused head should say.
        unimodal: (B,) of each modality: what it says on its own.
    """

    batch: Batch
    fused_B: Tensor
    unimodal: Mapping[str, Tensor]


def laplace_nll(raw_BK: Tensor, truth_B: Tensor) -> Tensor:
    """Mean of |truth - location| / scale + log(2 scale) over the truths that are known; 0 without any."""
    is_known_B = ~torch.isnan(truth_B)
    if not bool(is_known_B.any()):
        return raw_BK.sum() * 0.0
    location_B, log_scale_B = raw_BK[is_known_B].unbind(dim=1)
    log_scale_B = log_scale_B.clamp(min=LEAST_LOG_SCALE)
    distance_B = (truth_B[is_known_B] - location_B).abs()
    return (distance_B * torch.exp(-log_scale_B) + log_scale_B + torch.log(torch.tensor(2.0))).mean()


def read_streams(model: HctDmg, batch: Batch) -> dict[str, Tensor]:
    """(B, K) of each modality's own head, without running the fusion, which costs ten times as much."""
    readings = {}
    for name in model.config.names:
        mask_BT = batch.masks[name]
        readings[name] = model.unimodal_heads[name](
            masked_mean(model.streams[name](batch.features[name], mask_BT), mask_BT)
        )
    return readings


def unimodal_loss(readings: Mapping[str, Tensor], labelled: LabelledBatch) -> Tensor:
    """Sum of the modalities' losses, each over the samples that have it."""
    losses = []
    for name, truth_B in labelled.unimodal.items():
        is_present_B = labelled.batch.masks[name].any(dim=1)
        losses.append(laplace_nll(readings[name], truth_B.masked_fill(~is_present_B, torch.nan)))
    return torch.stack(losses).sum()


def stream_objective(model: HctDmg, labelled: LabelledBatch) -> Tensor:
    """The unimodal losses alone: teaches streams and their heads cheaply, before there is any fusion."""
    return unimodal_loss(read_streams(model, labelled.batch), labelled)


def full_objective(model: HctDmg, labelled: LabelledBatch) -> Tensor:
    """The fused loss and the unimodal ones, each counting alike."""
    output = model(labelled.batch)
    return laplace_nll(output.prediction_BK, labelled.fused_B) + unimodal_loss(output.unimodal, labelled)
