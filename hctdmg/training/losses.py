"""What `fit` minimises, by the kind of label: L1, cross-entropy, or yes-or-no cross-entropy of each class.

Knows predictions and truths. Does not know any network.

Shape suffixes: B samples, K outputs (or labels).
"""

from collections.abc import Mapping

import torch
from torch import Tensor
from torch.nn import functional as F

from hctdmg.batch import Batch
from hctdmg.data.dataset import Task
from hctdmg.training.objectives import LEAST_LOG_SCALE


def task_loss(prediction_BK: Tensor, truth_BK: Tensor, task: Task) -> Tensor:
    """Mean over the samples whose truth is known; 0 without any.

    A regression is taught by L1, as the field does. Where the head also gives a Laplace scale, that is taught by its
    likelihood around the location as it is, so that the location is learned just as by a head without one.

    Args:
        prediction_BK: Regression: location, and log-scale if K is 2; otherwise logits.
        truth_BK: Regression: (B, 1); classes: (B, 1) indices; binary: (B, K) of 0 and 1. NaN is unknown.
        task: What a label is.
    """
    is_known_B = ~torch.isnan(truth_BK).any(dim=1)
    if not bool(is_known_B.any()):
        return prediction_BK.sum() * 0.0
    prediction_BK, truth_BK = prediction_BK[is_known_B], truth_BK[is_known_B]
    if task == "classes":
        return F.cross_entropy(prediction_BK, truth_BK[:, 0].long())
    if task == "binary":
        return F.binary_cross_entropy_with_logits(prediction_BK, truth_BK)
    distance_B = (truth_BK[:, 0] - prediction_BK[:, 0]).abs()
    if prediction_BK.shape[1] == 1:
        return distance_B.mean()
    log_scale_B = prediction_BK[:, 1].clamp(min=LEAST_LOG_SCALE)
    return (distance_B + distance_B.detach() * torch.exp(-log_scale_B) + log_scale_B).mean()


def selection_loss(prediction_BK: Tensor, truth_BK: Tensor, task: Task) -> float:
    """What the best epoch is chosen by: the task's loss, of a regression the mean distance alone."""
    judged_BK = prediction_BK[:, :1] if task == "regression" else prediction_BK
    return float(task_loss(judged_BK, truth_BK, task))


def unimodal_loss(
    unimodal: Mapping[str, Tensor],
    truths: Mapping[str, Tensor],
    batch: Batch,
    task: Task,
    weights_N: Tensor | None,
) -> Tensor:
    """Weighted mean of the modalities' own losses, each over the samples that have it and whose truth is known.

    A modality of which the batch tells nothing has no part in the mean: a loss of 0 would draw the gate to it.

    Args:
        unimodal: (B, K) of each modality.
        truths: (B, 1) or (B, K) of each modality.
        batch: Says who has what.
        task: What a label is.
        weights_N: Of the modalities, not negative, in the order of `unimodal`; None weighs all alike.
    """
    known = {}
    for number, (name, prediction_BK) in enumerate(unimodal.items()):
        is_absent_B1 = ~batch.masks[name].any(dim=1, keepdim=True)
        truth_BK = truths[name].masked_fill(is_absent_B1, torch.nan)
        if not bool(torch.isnan(truth_BK).any(dim=1).all()):
            known[number] = task_loss(prediction_BK, truth_BK, task)
    if not known:
        return torch.stack([prediction_BK.sum() for prediction_BK in unimodal.values()]).sum() * 0.0
    losses_N = torch.stack(list(known.values()))
    shares_N = torch.ones_like(losses_N) if weights_N is None else weights_N[list(known)]
    return (shares_N * losses_N).sum() / shares_N.sum()
