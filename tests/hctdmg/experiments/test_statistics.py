"""Means, intervals, tests and shares beside answers that are known otherwise."""

import math

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from hctdmg.experiments.recovery import RECOVERY
from hctdmg.experiments.statistics import estimate, paired, share
from hctdmg.experiments.tables import variants_table
from tests.hctdmg.experiments.made_up import make_record

NUMBERS = st.lists(st.floats(-100, 100), min_size=2, max_size=8)


def test_an_interval_is_what_the_table_of_t_gives() -> None:
    found = estimate([1.0, 2.0, 3.0])
    assert (found.mean, found.num) == (2.0, 3)
    assert found.half == pytest.approx(4.302653 / math.sqrt(3))  # t of 2 degrees at 97.5 %, spread 1
    assert str(estimate([0.25])) == "0.250"
    assert str(estimate([10.0, 14.0])) == "12.0 ± 25.4"
    assert str(estimate([836_093.0] * 5)) == "836,093"
    with pytest.raises(ValueError, match="at least one value"):
        estimate([])


def test_a_paired_difference_is_tested_seed_by_seed() -> None:
    left, right = {0: 1.0, 1: 2.0, 2: 4.0, 7: 9.0}, {0: 1.5, 1: 2.4, 2: 4.7, 9: 0.0}
    found = paired(left, right)
    assert found is not None
    assert found.difference.mean == pytest.approx((0.5 + 0.4 + 0.7) / 3)
    assert found.p == pytest.approx(stats.ttest_rel([1.5, 2.4, 4.7], [1.0, 2.0, 4.0]).pvalue)
    assert paired({0: 1.0}, {1: 1.0}) is None
    alone = paired({0: 1.0}, {0: 3.0})
    assert alone is not None
    assert (alone.difference.mean, alone.difference.half, alone.p) == (2.0, None, None)


@settings(deadline=None)
@given(NUMBERS, NUMBERS)
def test_the_other_way_round_only_the_sign_turns(first: list[float], second: list[float]) -> None:
    left, right = dict(enumerate(first)), dict(enumerate(second))
    there, back = paired(left, right), paired(right, left)
    assert there is not None
    assert back is not None
    assert there.difference.mean == pytest.approx(-back.difference.mean, abs=1e-9)
    assert there.p == pytest.approx(back.p, nan_ok=True)


def test_a_share_has_the_exact_interval() -> None:
    none = share(0, 5, 1 / 3)
    assert none.lower == 0
    assert none.upper == pytest.approx(1 - 0.025 ** (1 / 5))
    assert share(5, 5, 1 / 3).p == pytest.approx((1 / 3) ** 5)
    with pytest.raises(ValueError, match="n"):
        share(0, 0, 1 / 3)


def test_a_table_shows_means_and_differences_and_says_where_there_is_nothing() -> None:
    records = [make_record("a", seed, mae=1.0 + seed) for seed in (0, 1, 2)]
    records += [make_record("b", seed, mae=1.5 + seed) for seed in (0, 1)]
    table = variants_table(records, ("a", "b", "c"), {"mae": "error"}, "a")
    assert list(table.columns) == ["variant", "seeds", "error", "error minus a's"]
    assert table.rows[0] == ["a", 3, "2.000 ± 2.484", None]
    assert table.rows[1][:2] == ["b", 2]
    assert str(table.rows[1][3]).startswith("+0.500 ± 0.000")
    assert table.rows[2] == ["c", 0, None, None]


def test_recovery_counts_runs_and_takes_the_worlds_of_a_seed_together() -> None:
    measured = {"text": (1.0, 0.5, 0.2), "audio": (0.0, 0.2, 0.4), "vision": (1.0, 0.5, 0.6)}
    records = [
        make_record(f"streams-{name}", seed, **{"recovered": right, "gate.best": weight, "mae": error + seed})
        for seed in (0, 1)
        for name, (right, weight, error) in measured.items()
    ]
    rows = {(row[0], row[1]): row for row in RECOVERY.read(records).tables[0].rows}
    assert rows["streams", "any"][2:4] == [6, "4 of 6 (0.22 to 0.96)"]
    assert str(rows["streams", "any"][5]).startswith("0.400 ±")
    assert str(rows["streams", "any"][6]).startswith("0.900 ±")
    assert rows["streams", "audio"][3] == "0 of 2 (0.00 to 0.84)"
    assert rows["samples", "text"][2:] == [0, None, None, None, None]
