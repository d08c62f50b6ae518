"""Calibration: what is fitted on one half holds on the other."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from hctdmg.training.calibration import (
    fit_interval_factor,
    fit_min_confidence,
    fit_neutral_zone,
    fit_temperature,
    fit_threshold,
)

NONE = np.array([])


def test_temperature_finds_the_factor_that_the_scales_lack() -> None:
    rng = np.random.default_rng(0)
    scale = rng.uniform(0.2, 2, 20_000)
    truth = rng.laplace(0, 1.7 * scale)
    assert fit_temperature(np.zeros_like(scale), scale, truth) == pytest.approx(1.7, rel=0.03)


@pytest.mark.parametrize("draw", ["laplace", "standard_t", "uniform"])
def test_interval_covers_new_samples_whatever_the_distribution_of_errors(draw: str) -> None:
    rng = np.random.default_rng(1)
    draws = {
        "laplace": lambda: rng.laplace(0, 1, 4000),
        "standard_t": lambda: rng.standard_t(2, 4000),
        "uniform": lambda: rng.uniform(-1, 1, 4000),
    }
    ones, zeros = np.ones(4000), np.zeros(4000)
    factor = fit_interval_factor(zeros, ones, draws[draw]())
    assert (np.abs(draws[draw]()) <= factor).mean() == pytest.approx(0.8, abs=0.03)


def test_interval_factor_of_an_exact_laplace_is_ln_5() -> None:
    quantiles = -np.log(1 - (np.arange(100_000) + 0.5) / 100_000)
    factor = fit_interval_factor(np.zeros(100_000), np.ones(100_000), quantiles)
    assert factor == pytest.approx(math.log(5), abs=1e-3)


@given(
    st.lists(st.sampled_from([0.0, 0.1, 0.5, 0.7, 1.0]) | st.floats(0, 1), min_size=1, max_size=60),
    st.floats(0, 0.99),
)
def test_threshold_keeps_the_false_positive_rate_also_with_ties(scores: list[float], rate: float) -> None:
    threshold = fit_threshold(np.array(scores), rate)
    reached = (np.array(scores) >= threshold).mean()
    # A score of 1 can't be excluded: a threshold above 1 would flag nothing for ever.
    assert reached <= rate or threshold == 1.0


def test_threshold_flags_as_much_as_it_may() -> None:
    scores = np.arange(100) / 100
    assert (scores >= fit_threshold(scores, 0.05)).sum() == 5


def test_neutral_zone_holds_the_wanted_share_of_neutral_samples() -> None:
    rng = np.random.default_rng(2)
    location = rng.normal(0, 0.6, 1000)
    zone = fit_neutral_zone(location, np.zeros(1000), neutral_within=0.2, misread=0.1, least=0.3)
    assert (np.abs(location) > zone).mean() == pytest.approx(0.1, abs=0.005)
    assert fit_neutral_zone(location, np.ones(1000), 0.2, 0.1, least=0.3) == 0.3


def test_min_confidence_is_the_lowest_level_that_is_right_often_enough() -> None:
    confidence = np.linspace(0.5, 1, 501)
    is_right = confidence > 0.7
    level = fit_min_confidence(confidence, is_right, precision=0.9, least=0.5)
    assert is_right[confidence >= level].mean() >= 0.9
    assert is_right[confidence >= level - 0.02].mean() < 0.9
    assert fit_min_confidence(confidence, np.zeros(501, bool), 0.9, 0.5) == 0.99


def test_nothing_to_fit_on_is_said() -> None:
    with pytest.raises(ValueError, match="at least one sample"):
        fit_temperature(NONE, NONE, NONE)
    with pytest.raises(ValueError, match="at least one sample"):
        fit_interval_factor(NONE, NONE, NONE)
    with pytest.raises(ValueError, match="at least one sample"):
        fit_threshold(NONE, 0.1)
