"""One clock for models that read all modalities step by step: equal shares of each, one share to a step.

The clock of a sample is its first modality, in the configured order, that is present: usually the words. Its number
of steps is n; a modality of m steps is cut into n equal shares of m / n steps, and a share's mean, with fractions of
steps counted as such, becomes its step. So word-aligned data pass unchanged, and a modality's mean over time stays.
An absent modality is zero everywhere. Knows nothing of when a step really happened.

Shape suffixes: B samples, S steps of a modality, T steps of the clock, D features.
"""

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor

from hctdmg.batch import Batch


def clock_B(batch: Batch, names: Sequence[str]) -> Tensor:
    """Steps of each sample's clock; 0 for a sample without any modality."""
    length_B = torch.zeros_like(batch.masks[names[0]].sum(dim=1))
    for name in names:
        length_B = torch.where(length_B > 0, length_B, batch.masks[name].sum(dim=1))
    return length_B


def align(batch: Batch, names: Sequence[str]) -> tuple[Mapping[str, Tensor], Tensor]:
    """All modalities on one clock.

    Returns:
        (B, T, D) of each name, zero at padding; and the clock's mask (B, T), T at least 1.
    """
    length_B = clock_B(batch, names)
    num_steps = max(1, int(length_B.max()))
    mask_BT = torch.arange(num_steps, device=length_B.device) < length_B[:, None]
    aligned = {
        name: share_weights(batch.masks[name], length_B, num_steps) @ batch.features[name] for name in names
    }
    return aligned, mask_BT


def share_weights(mask_BS: Tensor, length_B: Tensor, num_steps: int) -> Tensor:
    """(B, T, S) float: what part of clock step t comes from step s; rows sum to 1, or to 0 where there is nothing."""
    step_T1 = torch.arange(num_steps, device=mask_BS.device)[:, None]
    source_S = torch.arange(mask_BS.shape[1], device=mask_BS.device)
    per_step_B11 = (mask_BS.sum(dim=1) / length_B.clamp(min=1))[:, None, None]
    end_BTS = torch.minimum((step_T1 + 1) * per_step_B11, source_S + 1)
    overlap_BTS = (end_BTS - torch.maximum(step_T1 * per_step_B11, source_S)).clamp(min=0)
    is_real_BTS = mask_BS[:, None] & (step_T1 < length_B[:, None, None])
    tiny = torch.finfo(overlap_BTS.dtype).tiny
    return overlap_BTS / per_step_B11.clamp(min=tiny) * is_real_BTS


def shares(x_BSD: Tensor, mask_BS: Tensor, mask_BT: Tensor) -> tuple[Tensor, Tensor]:
    """Each clock step's share of a modality, unaveraged: every step that the share touches, and so at least one.

    Args:
        x_BSD: The modality.
        mask_BS: Its real steps.
        mask_BT: The clock's real steps.

    Returns:
        (B, T, C, D) and its mask (B, T, C), C the most steps that any share has; nothing of an absent modality.
    """
    num_source_B1, num_clock_B1 = mask_BS.sum(dim=1)[:, None], mask_BT.sum(dim=1)[:, None].clamp(min=1)
    step_T = torch.arange(mask_BT.shape[1], device=mask_BT.device)
    first_BT = step_T * num_source_B1 // num_clock_B1
    after_BT = ((step_T + 1) * num_source_B1 + num_clock_B1 - 1) // num_clock_B1 * mask_BT
    most = max(1, int((after_BT - first_BT).max()))
    index_BTC = first_BT[..., None] + torch.arange(most, device=mask_BT.device)
    mask_BTC = index_BTC < after_BT[..., None]
    rows_B11 = torch.arange(len(x_BSD), device=mask_BT.device)[:, None, None]
    return x_BSD[rows_B11, index_BTC.clamp(max=x_BSD.shape[1] - 1)], mask_BTC
