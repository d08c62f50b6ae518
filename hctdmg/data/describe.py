"""A data set in figures: rows, widths, lengths, labels, what is missing. Knows datasets. Does not know how to print."""

from dataclasses import dataclass

import numpy as np

from hctdmg.data.dataset import Dataset, Split


@dataclass(frozen=True)
class ModalitySummary:
    """One modality in one split.

    Attributes:
        width: Features a step.
        median_steps: Of the samples that have it; 0 if none has.
        max_steps: Of all samples.
        missing_share: Of the samples.
    """

    width: int
    median_steps: float
    max_steps: int
    missing_share: float


@dataclass(frozen=True)
class SplitSummary:
    """One split.

    Attributes:
        num_samples: Its rows.
        modalities: Each modality.
        labels: How many samples have each label; a regression's are counted in seven equal parts of the scale.
        unimodal: Modalities that people labelled on their own.
    """

    num_samples: int
    modalities: dict[str, ModalitySummary]
    labels: dict[str, int]
    unimodal: tuple[str, ...]


def describe(dataset: Dataset) -> dict[str, SplitSummary]:
    """Each split's figures."""
    return {name: _describe_split(dataset, split) for name, split in dataset.splits.items()}


def _describe_split(dataset: Dataset, split: Split) -> SplitSummary:
    modalities = {}
    for name, mask_NT in split.masks.items():
        steps_N = mask_NT.sum(axis=1)
        present_N = steps_N[steps_N > 0]
        modalities[name] = ModalitySummary(
            width=split.features[name].shape[2],
            median_steps=float(np.median(present_N)) if len(present_N) else 0.0,
            max_steps=int(steps_N.max(initial=0)),
            missing_share=float((steps_N == 0).mean()) if len(steps_N) else 0.0,
        )
    return SplitSummary(split.num_samples, modalities, _label_counts(dataset, split), tuple(split.unimodal))


def _label_counts(dataset: Dataset, split: Split) -> dict[str, int]:
    match dataset.task:
        case "binary":
            return {name: int(split.labels_NK[:, k].sum()) for k, name in enumerate(dataset.label_names)}
        case "classes":
            counts_K = np.bincount(split.labels_NK[:, 0].astype(int), minlength=len(dataset.label_names))
            return {name: int(counts_K[k]) for k, name in enumerate(dataset.label_names)}
        case "regression":
            low, high = dataset.label_range
            edges = np.linspace(low, high, 8)
            counts, _ = np.histogram(np.clip(split.labels_NK[:, 0], low, high), edges)
            return {f"{a:+.2f}…{b:+.2f}": int(n) for a, b, n in zip(edges, edges[1:], counts, strict=False)}
