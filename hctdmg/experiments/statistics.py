"""Means over seeds with their intervals, differences with their tests, shares. Knows numbers alone.

Differences are tested by Student's paired t over seeds: both variants of a seed have the same samples and, where the
shapes allow it, the same first weights. Wilcoxon's test would assume less, but of five pairs it can't give less than
0.0625, whatever they are. Nothing is corrected for the number of tests: a p near 0.05 among many says little.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from scipy import stats

LEVEL = 0.95


@dataclass(frozen=True)
class Estimate:
    """A mean over seeds.

    Attributes:
        mean: Of them.
        half: Half the width of its 95 % interval (Student's t); None for fewer than two seeds.
        num: How many.
    """

    mean: float
    half: float | None
    num: int

    def __str__(self) -> str:
        size = abs(self.mean)
        digits = 3 if size < 10 else 1 if size < 100 else 0
        mean = f"{self.mean:,.{digits}f}"
        is_count = digits == 0 and not self.half
        return mean if self.half is None or is_count else f"{mean} ± {self.half:,.{digits}f}"


@dataclass(frozen=True)
class Paired:
    """A mean difference over the seeds that both variants have; p is None for fewer than two, or equal differences."""

    difference: Estimate
    p: float | None

    def __str__(self) -> str:
        sign = "+" if self.difference.mean >= 0 else ""
        return f"{sign}{self.difference} ({shown_p(self.p)})"


@dataclass(frozen=True)
class Share:
    """How often something happened, with its exact (Clopper-Pearson) 95 % interval."""

    successes: int
    num: int
    lower: float
    upper: float
    p: float

    def __str__(self) -> str:
        return f"{self.successes} of {self.num} ({self.lower:.2f} to {self.upper:.2f})"


def shown_p(p: float | None) -> str:
    """A p as text; a small one by its bound, for its digits say nothing."""
    if p is None:
        return "no p"
    return "p < 0.001" if p < 0.001 else f"p {p:.3f}"


def estimate(values: Sequence[float]) -> Estimate:
    """Mean and interval.

    Raises:
        ValueError: There is no value.
    """
    if not values:
        raise ValueError("a mean needs at least one value")
    mean, num = float(np.mean(values)), len(values)
    if num < 2:
        return Estimate(mean, None, num)
    error = float(np.std(values, ddof=1)) / math.sqrt(num)
    return Estimate(mean, float(stats.t.ppf((1 + LEVEL) / 2, num - 1)) * error, num)


def paired(left: Mapping[int, float], right: Mapping[int, float]) -> Paired | None:
    """Right minus left, seed by seed; None where no seed has both."""
    differences = [right[seed] - left[seed] for seed in sorted(left) if seed in right]
    if not differences:
        return None
    p = None
    if len(differences) > 1 and np.ptp(differences) > 0:
        p = float(stats.ttest_1samp(differences, 0.0).pvalue)
    return Paired(estimate(differences), p)


def share(successes: int, num: int, chance: float) -> Share:
    """A share beside what chance would give (exact binomial test, two-sided).

    Raises:
        ValueError: There is no try.
    """
    test = stats.binomtest(successes, num, chance)
    interval = test.proportion_ci(LEVEL, "exact")
    return Share(successes, num, float(interval.low), float(interval.high), float(test.pvalue))
