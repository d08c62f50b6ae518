"""Brings the labels of any scale to CMU's, from -3 to 3, which checkpoints and events speak. Knows labels alone."""

import dataclasses

import numpy as np

from hctdmg.data.dataset import CMU_RANGE, Dataset, Floats, Split


def on_cmu_scale(data: Dataset) -> Dataset:
    """The same data set, a regression's labels stretched so that its range becomes CMU's; else as it is."""
    if data.task != "regression" or data.label_range == CMU_RANGE:
        return data
    splits = {name: _stretched(split, data.label_range) for name, split in data.splits.items()}
    return dataclasses.replace(data, splits=splits, label_range=CMU_RANGE)


def _stretched(split: Split, label_range: tuple[float, float]) -> Split:
    low, high = label_range

    def stretch(labels: Floats) -> Floats:
        return ((labels - (low + high) / 2) * np.float32(6 / (high - low))).astype(np.float32)

    unimodal = {name: stretch(label_N) for name, label_N in split.unimodal.items()}
    return dataclasses.replace(split, labels_NK=stretch(split.labels_NK), unimodal=unimodal)
