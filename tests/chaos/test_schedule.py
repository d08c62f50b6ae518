"""A seed and nothing else makes the schedule and the poison."""

from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.chaos.load import MAKERS, make_plan
from tests.chaos.schedule import KINDS, Kind, calm_until, make_schedule

some_kinds = st.lists(st.sampled_from(KINDS), min_size=1, unique=True)


@given(st.integers(), st.integers(0, 200), st.integers(100, 100_000), some_kinds)
def test_a_seed_repeats_its_schedule(
    seed: int, num_faults: int, num_segments: int, kinds: list[Kind]
) -> None:
    schedule = make_schedule(seed, num_faults, num_segments, kinds)
    assert schedule == make_schedule(seed, num_faults, num_segments, kinds)
    assert [fault.number for fault in schedule] == list(range(num_faults))
    moments = [fault.after_answers for fault in schedule]
    assert moments == sorted(moments)
    assert all(calm_until(num_segments) <= moment < num_segments for moment in moments)
    assert {fault.kind for fault in schedule} <= set(kinds)
    if num_faults >= len(kinds):
        assert {fault.kind for fault in schedule} == set(kinds)


def test_another_seed_makes_another_schedule() -> None:
    schedules = {make_schedule(seed, 20, 1000, KINDS) for seed in range(50)}
    assert len(schedules) == 50


def test_a_seed_makes_the_schedule_that_it_always_made() -> None:
    """Written down, so that a seed of an old report still means the same."""
    schedule = make_schedule(1, 4, 1000, KINDS)
    assert [(fault.kind, fault.after_answers) for fault in schedule] == SEED_1


SEED_1: list[tuple[Kind, int]] = [
    ("kill-model", 187),
    ("kill-application", 267),
    ("kill-consumer", 582),
    ("kill-extractor", 848),
]


@pytest.mark.parametrize("num_segments", [100, 20_000])
def test_every_kind_of_poison_is_planted_once_named(num_segments: int) -> None:
    plan = make_plan(1, num_segments, 6)
    assert plan == make_plan(1, num_segments, 6)
    assert plan != make_plan(2, num_segments, 6)
    kinds = Counter(plan.poison.values())
    assert kinds.keys() == (MAKERS.keys() if num_segments == 20_000 else MAKERS.keys() - {"die"})
    assert len(plan.poison_names) == len(plan.poison) < num_segments / 10
    messages = [plan.message(number) for number in range(num_segments)]
    assert len({dict(message.headers)["chaos-id"] for message in messages}) == num_segments
    assert {message.partition for message in messages} == set(range(6))
