"""Figures of merit of the incongruity flag and of the readings' confidences, and their pictures. Know arrays.

Shape suffixes: N samples.
"""

from collections.abc import Mapping, Sequence

import numpy as np
from matplotlib.figure import Figure
from sklearn.metrics import average_precision_score, precision_recall_curve, roc_curve

from hctdmg.data.dataset import Bools, Split
from hctdmg.experiments.disagreement import FLAG, Numbers
from hctdmg.experiments.record import Metrics, Record
from hctdmg.predictor import Prediction
from hctdmg.training.contradictions import true_class
from hctdmg.training.metrics import auroc
from hctdmg.training.page import Picture, svg_of
from hctdmg.training.scores import interval

GRID = tuple(round(0.05 * step, 2) for step in range(21))
"""False-positive rates, and recalls, at which curves are kept."""
NUM_BINS = 10


def detection_figures(scores: Mapping[str, Numbers], truth_N: Bools, with_curves: bool) -> Metrics:
    """AUROC and average precision of each score; of the flag's also a bootstrap 95 % interval over samples.

    Args:
        scores: (N,) each.
        truth_N: Which samples contradict themselves; some do, some do not.
        with_curves: Also both curves of the flag's score, on a grid.
    """
    found: Metrics = {"contradicting": float(truth_N.mean())}
    for name, score_N in scores.items():
        found[f"auroc.{name}"] = auroc(score_N, truth_N)
        found[f"precision.{name}"] = float(average_precision_score(truth_N, score_N))
        if with_curves:
            found |= _curves(name, score_N, truth_N)
    if with_curves and (limits := interval(_auroc_or_nan, (scores[FLAG], truth_N), seed=0)) is not None:
        found["samples.lower"], found["samples.upper"] = limits
    return found


def _auroc_or_nan(score_N: Numbers, truth_N: Bools) -> float:
    """A resample can lack one kind."""
    return float("nan") if truth_N.all() or not truth_N.any() else auroc(score_N, truth_N)


def _curves(name: str, score_N: Numbers, truth_N: Bools) -> Metrics:
    false_positive, true_positive, _ = roc_curve(truth_N, score_N)
    precision, recall, _ = precision_recall_curve(truth_N, score_N)
    roc = np.interp(GRID, false_positive, true_positive)
    kept = np.interp(GRID, recall[::-1], precision[::-1])
    found = {f"roc.{name}.{place:.2f}": float(value) for place, value in zip(GRID, roc, strict=True)}
    if name == FLAG:
        found |= {f"pr.{name}.{place:.2f}": float(value) for place, value in zip(GRID, kept, strict=True)}
    return found


def confidence_figures(predictions: Sequence[Prediction], split: Split, with_bins: bool) -> Metrics:
    """Expected calibration error of the readings: |share right - mean confidence| over ten bins, weighted by size."""
    found: Metrics = {}
    pooled: list[tuple[Numbers, Bools]] = []
    for name, label_N in split.unimodal.items():
        known = [
            (reading, float(truth))
            for one, truth in zip(predictions, label_N, strict=True)
            if (reading := one.readings[name]) is not None and not np.isnan(truth)
        ]
        if not known:
            continue
        confidence_N = np.array([reading.confidence for reading, _ in known], np.float64)
        right_N = np.array([reading.label == true_class(truth) for reading, truth in known], np.bool_)
        found[f"ece.{name}"] = expected_calibration_error(confidence_N, right_N)
        pooled.append((confidence_N, right_N))
    confidence_N, right_N = (np.concatenate(parts) for parts in zip(*pooled, strict=True))
    found["ece"] = expected_calibration_error(confidence_N, right_N)
    if with_bins:
        for number, (share, mean, accuracy) in enumerate(bins(confidence_N, right_N)):
            if share:
                found |= {
                    f"bin.{number}.share": share,
                    f"bin.{number}.mean": mean,
                    f"bin.{number}.right": accuracy,
                }
    return found


def bins(confidence_N: Numbers, right_N: Bools) -> list[tuple[float, float, float]]:
    """Share of the readings, mean confidence and share right in each of ten bins of equal width."""
    place_N = np.minimum((confidence_N * NUM_BINS).astype(np.int64), NUM_BINS - 1)
    found = []
    for number in range(NUM_BINS):
        chosen_N = place_N == number
        share = float(chosen_N.mean())
        mean, right = (
            float(x[chosen_N].mean()) if share else 0.0 for x in (confidence_N, right_N.astype(np.float64))
        )
        found.append((share, mean, right))
    return found


def expected_calibration_error(confidence_N: Numbers, right_N: Bools) -> float:
    """In [0, 1] (Naeini et al. 2015; Guo et al. 2017)."""
    return float(sum(share * abs(mean - right) for share, mean, right in bins(confidence_N, right_N)))


def detection_picture(records: Sequence[Record], names: Sequence[str]) -> Picture:
    """ROC of every score and precision by recall of the flag's, mean over seeds."""
    figure = Figure((9.5, 3.8), layout="constrained")
    left, right = figure.subplots(1, 2)
    for name in names:
        left.plot(GRID, _mean(records, f"roc.{name}"), label=name)
    right.plot(GRID, _mean(records, f"pr.{FLAG}"), label=FLAG)
    share = float(np.mean([one.metrics["contradicting"] for one in records]))
    left.plot([0, 1], [0, 1], ":", color="0.6")
    right.axhline(share, linestyle=":", color="0.6", label="share that contradicts")
    left.set(xlabel="false-positive rate", ylabel="true-positive rate")
    right.set(xlabel="recall", ylabel="precision", ylim=(0, 1.02))
    left.legend()
    right.legend()
    return Picture(svg_of(figure), "Telling contradictions from the rest; mean over seeds.")


def _mean(records: Sequence[Record], prefix: str) -> Numbers:
    mean_P: Numbers = np.mean(
        [[one.metrics[f"{prefix}.{place:.2f}"] for place in GRID] for one in records], axis=0
    )
    return mean_P


def calibration_picture(records: Sequence[Record]) -> Picture:
    """Reliability: how often readings of a confidence are right; a dot is a seed's bin, as large as its share."""
    figure = Figure((4.6, 3.8), layout="constrained")
    axes = figure.subplots()
    axes.plot([0, 1], [0, 1], ":", color="0.6")
    for one in records:
        found = [number for number in range(NUM_BINS) if f"bin.{number}.share" in one.metrics]
        share, mean, right = (
            [one.metrics[f"bin.{number}.{kind}"] for number in found] for kind in ("share", "mean", "right")
        )
        axes.scatter(mean, right, [400 * value for value in share], alpha=0.5, color="C0")
    axes.set(
        xlabel="confidence of a reading", ylabel="share whose class is right", xlim=(0, 1.02), ylim=(0, 1.02)
    )
    return Picture(svg_of(figure), "Reliability of the readings on the test split.")
