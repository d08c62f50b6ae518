"""Padded tensors and masks: the one contract between extractors, trainers and backends.

Knows shapes. Does not know what any feature means.

Shape suffixes: B samples, T steps of one modality, D features of one modality.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

Features = npt.NDArray[np.float32]
"""(T, D) of one modality of one sample; T = 0 when the modality is absent."""

Sample = Mapping[str, Features]
"""One sample's features by modality; a modality that is left out is absent."""


@dataclass(frozen=True)
class Batch:
    """Samples padded on the right to the longest of each modality.

    Attributes:
        features: (B, T, D) float32 of each modality; padding is zero. T is at least 1, so that no tensor is empty.
        masks: (B, T) bool of each modality; True where a step is real. A row without any True is an absent modality.
    """

    features: Mapping[str, Tensor]
    masks: Mapping[str, Tensor]

    @property
    def num_samples(self) -> int:
        """B."""
        return next(iter(self.features.values())).shape[0]

    def pinned(self) -> "Batch":
        """In memory that a GPU can copy from by itself."""
        return Batch(
            {name: x_BTD.pin_memory() for name, x_BTD in self.features.items()},
            {name: mask_BT.pin_memory() for name, mask_BT in self.masks.items()},
        )

    def to(self, device: torch.device | str) -> "Batch":
        """Move every tensor, without waiting for the copy where memory is pinned."""
        return Batch(
            {name: x_BTD.to(device, non_blocking=True) for name, x_BTD in self.features.items()},
            {name: mask_BT.to(device, non_blocking=True) for name, mask_BT in self.masks.items()},
        )


def collate(samples: Sequence[Sample], widths: Mapping[str, int]) -> Batch:
    """Pad samples into a batch.

    Args:
        samples: At least one.
        widths: D of each modality, in the model's order.

    Raises:
        ValueError: A sample has an unknown modality, features of the wrong shape, or values that are not finite.
    """
    if not samples:
        raise ValueError("a batch needs at least one sample")
    for index, sample in enumerate(samples):
        if unknown := sorted(set(sample) - set(widths)):
            raise ValueError(
                f"sample {index}: unknown modality {unknown[0]!r}; the model has {', '.join(widths)}"
            )
    features, masks = {}, {}
    for name, width in widths.items():
        empty = np.zeros((0, width), np.float32)
        rows = [sample.get(name, empty) for sample in samples]
        for index, row in enumerate(rows):
            if row.ndim != 2 or row.shape[1] != width:
                raise ValueError(f"sample {index}: {name} has shape {row.shape}, expected (T, {width})")
            if not np.isfinite(row).all():
                raise ValueError(f"sample {index}: {name} has values that are not finite")
        num_steps = max(1, *(len(row) for row in rows)) if rows else 1
        x_BTD = torch.zeros(len(rows), num_steps, width)
        mask_BT = torch.zeros(len(rows), num_steps, dtype=torch.bool)
        for index, row in enumerate(rows):
            x_BTD[index, : len(row)] = torch.from_numpy(np.ascontiguousarray(row, np.float32))
            mask_BT[index, : len(row)] = True
        features[name], masks[name] = x_BTD, mask_BT
    return Batch(features, masks)
