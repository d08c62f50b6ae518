"""Small data that can be learned in seconds, as a data set and as the files that users bring."""

import dataclasses
import functools
import pickle
from pathlib import Path
from typing import Any

import numpy as np

from hctdmg.data.dataset import Dataset, Split
from hctdmg.data.synthetic import View, World, make_dataset
from hctdmg.training.fit import FitConfig

WORLD = World(
    (
        View("text", width=6, rate_hz=2.0, noise=0.2),
        View("audio", width=4, rate_hz=3.0, informativeness=0.4, noise=0.6),
        View("vision", width=5, rate_hz=2.0, informativeness=0.7, noise=0.4, missing_share=0.2),
    ),
    num_nuisances=2,
    least_s=1.0,
    most_s=3.0,
)
ROWS = (160, 64, 96)
MODEL = {
    "dim": 16, "num_heads": 2, "num_layers_stage1": 1, "num_layers_stage2": 1, "num_layers_self": 1,
}  # fmt: skip
FIT = FitConfig(num_epochs=8, batch_size=16, learning_rate=4e-3, num_threads=1)
SETTINGS = [
    part
    for name, value in {**MODEL, "batch_size": 16, "learning_rate": 0.004, "num_threads": 1}.items()
    for part in ("--set", f"{name}={value}")
]
"""The same for the command line, but for the number of epochs."""


@functools.cache
def small_world(seed: int = 0) -> Dataset:
    """Sentiment, with people's labels of each modality, and conflicts."""
    return make_dataset(WORLD, *ROWS, seed)


def without_unimodal(data: Dataset) -> Dataset:
    """The same, no modality labelled on its own."""
    splits = {name: dataclasses.replace(split, unimodal={}) for name, split in data.splits.items()}
    return dataclasses.replace(data, splits=splits)


def as_classes(data: Dataset) -> Dataset:
    """Three classes of sentiment."""

    def change(split: Split) -> Split:
        labels_N1 = np.digitize(split.labels_NK, (-1.0, 1.0)).astype(np.float32)
        return dataclasses.replace(split, labels_NK=labels_N1)

    splits = {name: change(split) for name, split in without_unimodal(data).splits.items()}
    names = ("negative", "neutral", "positive")
    return dataclasses.replace(data, splits=splits, task="classes", label_names=names)


def as_binary(data: Dataset) -> Dataset:
    """Two yes-or-no labels."""

    def change(split: Split) -> Split:
        is_so_NK = np.concatenate([split.labels_NK > 0, np.abs(split.labels_NK) > 1.5], axis=1)
        return dataclasses.replace(split, labels_NK=is_so_NK.astype(np.float32))

    splits = {name: change(split) for name, split in without_unimodal(data).splits.items()}
    return dataclasses.replace(data, splits=splits, task="binary", label_names=("glad", "strong"))


def mult_file(path: Path, data: Dataset, emotions: bool = False) -> Path:
    """A pickle as MulT's: sentiment (N, 1, 1), or IEMOCAP's four emotions (N, 4, 2)."""
    content: dict[str, Any] = {}
    for name, split in data.splits.items():
        labels_N = split.labels_NK[:, 0]
        if emotions:
            edges = (labels_N > 1.5, labels_N < -1.5, labels_N > 0, labels_N < 0)
            is_felt_NK = np.stack(edges, axis=1).astype(int)
            labels: Any = np.stack([1 - is_felt_NK, is_felt_NK], axis=2)
        else:
            labels = labels_N[:, None, None]
        content[name] = {**split.features, "labels": labels}
    path.write_bytes(pickle.dumps(content))
    return path


def sims_file(path: Path, data: Dataset) -> Path:
    """A pickle as CH-SIMS': labels in [-1, 1], and people's of each modality."""
    content = {}
    for name, split in data.splits.items():
        unimodal = {
            f"regression_labels_{one[0].upper()}": label_N / 3
            for one, label_N in split.unimodal.items()
            if one != "text"
        }
        content[name] = {
            **split.features,
            "regression_labels": split.labels_NK[:, 0] / 3,
            "regression_labels_T": split.unimodal["text"] / 3,
            **unimodal,
            "id": list(split.ids),
        }
    path.write_bytes(pickle.dumps(content))
    return path
