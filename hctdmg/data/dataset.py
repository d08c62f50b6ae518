"""One shape for every data set: padded arrays, masks, labels and ids, by split.

Padding is always on the right, as the model needs it, wherever the file had it. Knows arrays. Does not know any file
format, nor what is learned.

Shape suffixes: N samples, T steps of one modality, D features of one modality, K labels.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal

import numpy as np
import numpy.typing as npt
import torch

from hctdmg.batch import Batch
from hctdmg.contract import FeatureContract
from hctdmg.data.errors import DataError

Task = Literal["regression", "classes", "binary"]
"""What a label is: one number; the index of a class; or yes and no for each of several classes."""

Floats = npt.NDArray[np.float32]
Bools = npt.NDArray[np.bool_]

SplitName = Literal["train", "valid", "test"]
SPLITS = ("train", "valid", "test")

CMU_RANGE = (-3.0, 3.0)
"""Of sentiment in CMU's data sets, in which checkpoints and events speak."""


@dataclass(frozen=True)
class Split:
    """Samples of one split.

    Attributes:
        features: (N, T, D) of each modality, zero where the mask is.
        masks: (N, T) of each modality; a row without any True is an absent modality.
        labels_NK: K = 1 for "regression" and "classes".
        unimodal: (N,) what people said of each modality on its own, on the scale of the labels; empty where nobody did.
        ids: The file's names of the samples, or their numbers.
    """

    features: Mapping[str, Floats]
    masks: Mapping[str, Bools]
    labels_NK: Floats
    ids: tuple[str, ...]
    unimodal: Mapping[str, Floats] = field(default_factory=dict)

    @property
    def num_samples(self) -> int:
        """N."""
        return len(self.labels_NK)

    @property
    def present_NM(self) -> Bools:
        """(N, M) whether a sample has a modality, in the order of `features`."""
        return np.stack([mask_NT.any(axis=1) for mask_NT in self.masks.values()], axis=1)

    def batch(self, rows: Sequence[int]) -> Batch:
        """Some samples as the model takes them, no longer than the longest of them."""
        features, masks = {}, {}
        for name, x_NTD in self.features.items():
            mask_BT = self.masks[name][rows]
            num_steps = max(1, int(mask_BT.sum(axis=1).max(initial=0)))
            features[name] = torch.from_numpy(np.ascontiguousarray(x_NTD[rows, :num_steps]))
            masks[name] = torch.from_numpy(np.ascontiguousarray(mask_BT[:, :num_steps]))
        return Batch(features, masks)


@dataclass(frozen=True)
class Dataset:
    """A data set.

    Attributes:
        name: Of the format that it was read from.
        splits: "train", "valid" and "test".
        task: What a label is.
        label_names: Names of the classes; empty for regression.
        label_range: Least and greatest label that the scale has, for regression.
        warnings: What was put right while reading, each with its count.
        contract: What a checkpoint that is trained on it demands of extractors; None where nobody can say.
    """

    name: str
    splits: Mapping[str, Split]
    task: Task
    label_names: tuple[str, ...] = ()
    label_range: tuple[float, float] = CMU_RANGE
    warnings: tuple[str, ...] = ()
    contract: FeatureContract | None = None

    @property
    def widths(self) -> dict[str, int]:
        """D of each modality."""
        return {name: x_NTD.shape[2] for name, x_NTD in self.splits["train"].features.items()}


def check_splits(splits: Mapping[str, object]) -> None:
    """See that there are all three.

    Raises:
        DataError: One is missing.
    """
    missing = [name for name in SPLITS if name not in splits]
    if missing:
        found = ", ".join(map(str, splits)) or "none"
        raise DataError(f"no split {missing[0]!r} (found: {found}): all of {', '.join(SPLITS)} are needed")


def check_widths(splits: Mapping[str, Split]) -> None:
    """See that each modality is as wide in every split.

    Raises:
        DataError: One is not.
    """
    widths = {split: {name: x.shape[2] for name, x in one.features.items()} for split, one in splits.items()}
    for split, found in widths.items():
        if found != widths["train"]:
            raise DataError(f"{split} has widths {found}, train has {widths['train']}: all splits must agree")


def check_labels(data: Dataset) -> Dataset:
    """The same data set, a regression's labels being within their scale; stretched to another they would be far off.

    Raises:
        DataError: One is not.
    """
    if data.task != "regression":
        return data
    low, high = data.label_range
    for split, one in data.splits.items():
        for name, label in {"labels": one.labels_NK, **one.unimodal}.items():
            for row in np.argwhere((label < low) | (label > high))[:1]:
                raise DataError(
                    f"{split}, {name}: sample {one.ids[row[0]]} has {label[tuple(row)]:g}, the scale is from {low:g} "
                    f"to {high:g}: bring labels to that scale"
                )
    return data
