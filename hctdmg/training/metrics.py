"""Figures of merit for sentiment, intervals and flags. Know arrays of numbers, not where they come from.

Shape suffixes: N samples.
"""

import numpy as np
import numpy.typing as npt
from sklearn.metrics import roc_auc_score

Numbers = npt.NDArray[np.float64]


def pearson(predicted_N: Numbers, truth_N: Numbers) -> float:
    """Pearson's r in [-1, 1]; NaN when either is constant, for then it is undefined."""
    if np.ptp(predicted_N) == 0 or np.ptp(truth_N) == 0:
        return float("nan")
    return float(np.corrcoef(predicted_N, truth_N)[0, 1])


def mean_absolute_error(predicted_N: Numbers, truth_N: Numbers) -> float:
    """Mean of |predicted - truth|, unclipped."""
    return float(np.abs(predicted_N - truth_N).mean())


def sign_accuracy(predicted_N: Numbers, truth_N: Numbers) -> float:
    """Share of samples on the right side of 0, among those whose truth isn't 0; a prediction of 0 is wrong."""
    is_signed_N = truth_N != 0
    return float((np.sign(predicted_N) == np.sign(truth_N))[is_signed_N].mean())


def coverage(lower_N: Numbers, upper_N: Numbers, truth_N: Numbers) -> float:
    """Share of truths inside their intervals, ends included."""
    return float(((lower_N <= truth_N) & (truth_N <= upper_N)).mean())


def auroc(score_N: Numbers, is_positive_N: npt.NDArray[np.bool_]) -> float:
    """Chance that a positive sample scores higher than a negative one; ties count half."""
    return float(roc_auc_score(is_positive_N, score_N))
