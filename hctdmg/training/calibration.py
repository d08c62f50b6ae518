"""Calibration: what turns raw outputs into probabilities, intervals and flags, fitted on data kept for it.

Knows locations, scales and truths. Does not know models or modalities.

Shape suffixes: N samples, K classes.
"""

import math

import numpy as np
import numpy.typing as npt
from scipy.optimize import minimize_scalar
from scipy.special import log_softmax

Numbers = npt.NDArray[np.float64]


def fit_temperature(location_N: Numbers, scale_N: Numbers, truth_N: Numbers) -> float:
    """Factor on the Laplace scales that makes the truths most likely.

    The log-likelihood's derivative by the factor is zero at the mean of |truth - location| / scale.
    """
    _check_some(truth_N)
    return float((np.abs(truth_N - location_N) / scale_N).mean())


def fit_class_temperature(logits_NK: Numbers, truth_N: npt.NDArray[np.int64]) -> float:
    """Divisor of the logits that makes the true classes most likely (Guo et al. 2017), within [0.05, 20]."""
    _check_some(truth_N)

    def loss(log_temperature: float) -> float:
        log_NK = log_softmax(logits_NK / math.exp(log_temperature), axis=1)
        return -float(log_NK[np.arange(len(truth_N)), truth_N].mean())

    bounds = (math.log(0.05), math.log(20.0))
    return math.exp(float(minimize_scalar(loss, bounds=bounds, method="bounded").x))


def fit_interval_factor(
    location_N: Numbers, scale_N: Numbers, truth_N: Numbers, coverage: float = 0.8
) -> float:
    """Half-width, in scales, of the interval that covers a share of new truths.

    Split conformal prediction (Papadopoulos et al. 2002; Lei et al. 2018): the ceil((n + 1) coverage)-th
    smallest of |truth - location| / scale covers that share whatever the errors' distribution, provided that new
    samples come from the same source.
    """
    _check_some(truth_N)
    errors_N = np.sort(np.abs(truth_N - location_N) / scale_N)
    rank = math.ceil((len(errors_N) + 1) * coverage)
    return float(errors_N[min(rank, len(errors_N)) - 1])


def fit_neutral_zone(
    location_N: Numbers, truth_N: Numbers, neutral_within: float, misread: float, least: float
) -> float:
    """Dead zone around 0 that holds all but a share of what people find neutral.

    Args:
        location_N: Predicted sentiment.
        truth_N: True sentiment.
        neutral_within: A truth at most this far from 0 is neutral beyond doubt.
        misread: Share of such samples that may fall outside the zone.
        least: The zone is at least this wide, however good the predictions.
    """
    neutral_N = np.abs(location_N[np.abs(truth_N) <= neutral_within])
    return max(least, float(np.quantile(neutral_N, 1 - misread))) if len(neutral_N) else least


def fit_threshold(score_N: Numbers, false_positive_rate: float) -> float:
    """Least threshold that at most this share of harmless samples reach.

    Args:
        score_N: Scores in [0, 1] of samples that should not be flagged.
        false_positive_rate: In [0, 1).
    """
    _check_some(score_N)
    descending_N = np.sort(score_N)[::-1]
    allowed = math.floor(len(score_N) * false_positive_rate)
    if allowed >= len(descending_N):
        return 0.0
    # Just above the first score that must not be flagged.
    return float(min(1.0, np.nextafter(descending_N[allowed], np.inf)))


def fit_min_confidence(
    confidence_N: Numbers, is_right_N: npt.NDArray[np.bool_], precision: float, least: float
) -> float:
    """Least confidence, in steps of 0.01, from which on a share of the readings is right.

    Args:
        confidence_N: Of each reading.
        is_right_N: Whether its class was the true one.
        precision: Share that must be right among the readings kept.
        least: Where the search begins; 0.99 is given when no level suffices.
    """
    for level in np.round(np.arange(least, 1.0, 0.01), 2):
        kept_N = confidence_N >= level
        if kept_N.any() and is_right_N[kept_N].mean() >= precision:
            return float(level)
    return 0.99


def _check_some(values_N: npt.NDArray[np.generic]) -> None:
    if len(values_N) == 0:
        raise ValueError("calibration needs at least one sample")
