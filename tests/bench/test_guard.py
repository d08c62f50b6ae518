"""The guard against overhead that creeps in: it repeats, it lets through what is, it stops what costs a fifth more."""

import pytest

from tests.bench.guard import BASELINE, OURS, Counts, baseline, compare, deliver, prepare, python
from tests.conftest import skip_or_fail


@pytest.fixture(scope="module")
def before() -> dict[str, Counts]:
    try:
        return baseline()
    except KeyError:
        skip_or_fail(
            f"no counts of Python {python()} in {BASELINE}: run python -m tests.bench.guard --write at a "
            "commit that is known to be good"
        )
        raise


@pytest.fixture(scope="module")
def delivery() -> list[Counts]:
    return [deliver() for _ in range(3)]


def test_counts_repeat(delivery: list[Counts]) -> None:
    for name in delivery[0]:
        values = [counts[name] for counts in delivery]
        assert max(values) < 1.05 * min(values), name


def test_delivery_costs_no_more_than_before(delivery: list[Counts], before: dict[str, Counts]) -> None:
    assert compare(delivery[0], before["delivery"], "delivery") == []


def test_preparation_costs_no_more_than_before(before: dict[str, Counts]) -> None:
    assert compare(prepare(), before["preparation"], "preparation") == []


def test_a_delivery_that_costs_a_fifth_more_is_stopped(delivery: list[Counts]) -> None:
    wasted = 0.2 * delivery[0]["instructions"]

    def waste() -> None:
        for _ in range(round(wasted / 3)):  # a turn of an empty loop is three instructions
            pass

    worse = deliver(waste, counted=(*OURS, __file__))
    assert worse["instructions"] == pytest.approx(delivery[0]["instructions"] + wasted, rel=0.05)
    (found,) = compare(worse, delivery[0], "delivery")
    assert "instructions" in found
    assert "--write" in found


def test_calls_of_the_client_count_too(delivery: list[Counts]) -> None:
    more = delivery[0] | {"calls in the client": 1.2 * delivery[0]["calls in the client"]}
    assert len(compare(more, delivery[0], "delivery")) == 1
    assert compare(delivery[0], more, "delivery") == []
