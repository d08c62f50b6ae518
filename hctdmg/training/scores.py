"""The figures that papers of this field report, by their own conventions, each beside the floor of a constant guess.

Acc2 and its F1 come in two conventions. *non-zero* (MulT): samples whose label is 0 are left out, `> 0` is positive.
*has-zero* (MMSA): all samples, `>= 0` is positive. F1 is weighted by the true classes' support, F1 macro is their plain
mean; MulT and MISA call the
library with prediction and truth swapped, which weighs by the predicted one, and is not done here. Knows arrays of
numbers, not where they come from.

Shape suffixes: N samples, K emotions.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
from scipy.stats import bootstrap
from sklearn.metrics import accuracy_score, f1_score

from hctdmg.training.metrics import Numbers, mean_absolute_error, pearson

Labels = npt.NDArray[np.int64]
Measure = Callable[[npt.NDArray[Any], npt.NDArray[Any]], float]
"""Of predictions and truths, in this order."""

NUM_RESAMPLES = 1000
"""Of the bootstrap: 25 of them lie beyond each end of a 95 % interval, enough for two digits."""


@dataclass(frozen=True)
class Score:
    """One figure.

    Attributes:
        value: Of the predictions.
        floor: Of the constant guess that is right most often; None where there is no such guess.
        lower: Of its 95 % interval; None unless asked for, or where too few samples give none.
        upper: The same.
    """

    value: float
    floor: float | None = None
    lower: float | None = None
    upper: float | None = None


def accuracy_within(predicted_N: Numbers, truth_N: Numbers, limit: int) -> float:
    """Acc7 (limit 3) or Acc5 (limit 2): share with the same whole number, both clipped, halves rounded to even."""
    return float(accuracy_score(_whole(truth_N, limit), _whole(predicted_N, limit)))


def sentiment_scores(
    predicted_N: Numbers, truth_N: Numbers, with_intervals: bool = False, seed: int = 0
) -> dict[str, Score]:
    """MAE, r, Acc7, Acc5 and both conventions of Acc2, F1 and F1 macro; on CMU's scale, from -3 to 3.

    Args:
        predicted_N: Unclipped.
        truth_N: Finite.
        with_intervals: Also bootstrap 95 % intervals over samples.
        seed: Of the bootstrap.

    Raises:
        ValueError: Shapes differ, or there is no sample.
    """
    _check(predicted_N, truth_N)
    predicted_N, truth_N = np.asarray(predicted_N, np.float64), np.asarray(truth_N, np.float64)
    median = float(np.median(truth_N))
    values: dict[str, tuple[Callable[[Numbers, Numbers], float], float | None]] = {
        "mae": (mean_absolute_error, mean_absolute_error(np.full_like(truth_N, median), truth_N)),
        "r": (pearson, None),
        "acc7": (lambda p, t: accuracy_within(p, t, 3), _floor(_whole(truth_N, 3))),
        "acc5": (lambda p, t: accuracy_within(p, t, 2), _floor(_whole(truth_N, 2))),
        "acc2_nonzero": (lambda p, t: _two(p, t, True, _accuracy), _two_floor(truth_N, True, _accuracy)),
        "f1_nonzero": (lambda p, t: _two(p, t, True, _weighted), _two_floor(truth_N, True, _weighted)),
        "acc2_haszero": (lambda p, t: _two(p, t, False, _accuracy), _two_floor(truth_N, False, _accuracy)),
        "f1_haszero": (lambda p, t: _two(p, t, False, _weighted), _two_floor(truth_N, False, _weighted)),
        "f1_macro_nonzero": (lambda p, t: _two(p, t, True, _macro), _two_floor(truth_N, True, _macro)),
        "f1_macro_haszero": (lambda p, t: _two(p, t, False, _macro), _two_floor(truth_N, False, _macro)),
    }
    return {
        name: _score(measure, predicted_N, truth_N, floor, with_intervals, seed)
        for name, (measure, floor) in values.items()
    }


def emotion_scores(
    predicted_NK: npt.NDArray[np.bool_],
    truth_NK: npt.NDArray[np.bool_],
    names: Sequence[str],
    with_intervals: bool = False,
    seed: int = 0,
) -> Mapping[str, tuple[Score, Score, Score]]:
    """Accuracy, weighted and macro F1 of each of IEMOCAP's yes-or-no tasks.

    A floor in the high eighties is not rare: an emotion that one sample in seven has is "no" in six of seven.

    Args:
        predicted_NK: Whether each emotion is said to be there.
        truth_NK: Whether it is.
        names: Of the emotions.
        with_intervals: Also bootstrap 95 % intervals over samples.
        seed: Of the bootstrap.

    Raises:
        ValueError: Shapes differ, or there is no sample.
    """
    _check(predicted_NK, truth_NK)
    found = {}
    for column, name in enumerate(names):
        predicted_N, truth_N = predicted_NK[:, column].astype(int), truth_NK[:, column].astype(int)
        constant_N = np.full_like(truth_N, int(truth_N.mean() > 0.5))
        accuracy, f1, f1_macro = (
            _score(measure, predicted_N, truth_N, measure(constant_N, truth_N), with_intervals, seed)
            for measure in (_accuracy, _weighted, _macro)
        )
        found[name] = (accuracy, f1, f1_macro)
    return found


def class_scores(
    predicted_N: Labels, truth_N: Labels, with_intervals: bool = False, seed: int = 0
) -> dict[str, Score]:
    """Accuracy, weighted and macro F1 of one label among several.

    Args:
        predicted_N: Index of the class.
        truth_N: The same.
        with_intervals: Also bootstrap 95 % intervals over samples.
        seed: Of the bootstrap.

    Raises:
        ValueError: Shapes differ, or there is no sample.
    """
    _check(predicted_N, truth_N)
    constant_N = np.full_like(truth_N, np.bincount(truth_N).argmax())
    measures = {"accuracy": _accuracy, "f1_weighted": _weighted, "f1_macro": _macro}
    return {
        name: _score(measure, predicted_N, truth_N, measure(constant_N, truth_N), with_intervals, seed)
        for name, measure in measures.items()
    }


def _accuracy(predicted_N: npt.NDArray[Any], truth_N: npt.NDArray[Any]) -> float:
    return float(accuracy_score(truth_N, predicted_N))


def _weighted(predicted_N: npt.NDArray[Any], truth_N: npt.NDArray[Any]) -> float:
    return float(f1_score(truth_N, predicted_N, average="weighted", zero_division=0))


def _macro(predicted_N: npt.NDArray[Any], truth_N: npt.NDArray[Any]) -> float:
    return float(f1_score(truth_N, predicted_N, average="macro", zero_division=0))


def interval(
    measure: Callable[..., float], samples: Sequence[npt.NDArray[Any]], seed: int = 0
) -> tuple[float, float] | None:
    """95 % interval of a figure over resampled samples (percentile bootstrap, paired).

    Args:
        measure: Of as many arrays as `samples` has.
        samples: (N,) arrays.
        seed: Of the resamples.

    Returns:
        None where some resample has no such figure: too few samples for an interval.
    """
    if len(samples[0]) < 2:
        return None
    found = bootstrap(
        tuple(samples),
        measure,
        paired=True,
        vectorized=False,
        n_resamples=NUM_RESAMPLES,
        method="percentile",
        rng=np.random.default_rng(seed),
    ).confidence_interval
    return (float(found.low), float(found.high)) if np.isfinite([found.low, found.high]).all() else None


def _score(
    measure: Measure,
    predicted_N: npt.NDArray[Any],
    truth_N: npt.NDArray[Any],
    floor: float | None,
    with_interval: bool,
    seed: int,
) -> Score:
    value = measure(predicted_N, truth_N)
    if not with_interval or np.isnan(value):
        return Score(value, floor)
    found = interval(measure, (predicted_N, truth_N), seed)
    return Score(value, floor) if found is None else Score(value, floor, *found)


def _whole(values_N: Numbers, limit: int) -> Labels:
    return np.round(np.clip(values_N, -limit, limit)).astype(np.int64)


def _two(predicted_N: Numbers, truth_N: Numbers, drops_zero: bool, measure: Measure) -> float:
    """Of the side of 0; NaN where no sample is left."""
    if drops_zero:
        kept_N = truth_N != 0
        truth, predicted = truth_N[kept_N] > 0, predicted_N[kept_N] > 0
    else:
        truth, predicted = truth_N >= 0, predicted_N >= 0
    if not len(truth):
        return float("nan")
    return measure(predicted, truth)


def _two_floor(truth_N: Numbers, drops_zero: bool, measure: Measure) -> float:
    """Of always saying what is more frequent."""
    guesses = [_two(np.full_like(truth_N, sign), truth_N, drops_zero, _accuracy) for sign in (-1.0, 1.0)]
    likelier = (-1.0, 1.0)[int(np.argmax(guesses))]
    return _two(np.full_like(truth_N, likelier), truth_N, drops_zero, measure)


def _floor(truth_N: Labels) -> float:
    _, counts = np.unique(truth_N, return_counts=True)
    return float(counts.max() / counts.sum())


def _check(predicted: npt.NDArray[np.generic], truth: npt.NDArray[np.generic]) -> None:
    if predicted.shape != truth.shape or not len(truth):
        raise ValueError(
            f"predictions have shape {predicted.shape}, truths {truth.shape}: equal and not empty is needed"
        )
