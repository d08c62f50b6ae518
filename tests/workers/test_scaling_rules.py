"""The decision how many replicas there shall be: its bounds, its bands, and that it settles."""

import math
from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from tests.scaling_plant import Plant, changes
from workers.scaling import Load, Memory, Replicas, Rules, decide, needed

RULES = Rules()

amounts = st.floats(0, 1e6)
loads = st.builds(Load, behind_s=st.floats(0, 1e9), arrived_per_s=amounts, answered_per_s=amounts)
memories = st.builds(
    Memory,
    steady_at_s=st.one_of(st.just(-math.inf), st.floats(0, 1e4)),
    low_since_s=st.one_of(st.none(), st.floats(0, 1e4)),
    num_most=st.integers(1, 50),
)


@st.composite
def deployments(draw: st.DrawFn) -> Replicas:
    """As Serve keeps them: a target within the bounds, and fewer or more running."""
    num_min = draw(st.integers(1, 20))
    num_max = draw(st.integers(num_min, 200))
    num_running = draw(st.integers(0, 200))
    return Replicas(
        num_target=draw(st.integers(num_min, num_max)),
        num_running=num_running,
        busy=num_running * draw(st.floats(0, 1)),
        num_min=num_min,
        num_max=num_max,
    )


@given(loads, deployments(), memories, st.floats(0, 1e4))
def test_the_bounds_hold_whatever_is_measured(
    load: Load, replicas: Replicas, memory: Memory, now_s: float
) -> None:
    memory = replace(memory, num_most=max(replicas.num_min, min(replicas.num_max, memory.num_most)))
    number, _ = decide(load, replicas, RULES, memory, now_s)
    assert replicas.num_min <= number <= replicas.num_max


@given(loads, deployments(), st.floats(0, 1e9))
def test_more_lag_never_needs_fewer(load: Load, replicas: Replicas, more_s: float) -> None:
    later = replace(load, behind_s=load.behind_s + more_s)
    assert needed(later, replicas, RULES) >= needed(load, replicas, RULES)
    steady = Memory()
    assert decide(later, replicas, RULES, steady, 0)[0] >= decide(load, replicas, RULES, steady, 0)[0]


@given(deployments(), st.floats(1, 1e5), st.data())
def test_nothing_changes_within_the_band(replicas: Replicas, rate: float, data: st.DataObject) -> None:
    """Lag up to the target and replicas busy between the band's ends: the same number for ever."""
    number = replicas.num_target
    busy = data.draw(st.floats(RULES.target_busy * (number - 1) + 0.01, RULES.max_busy * number - 0.01))
    steady, memory = replace(replicas, num_running=number, busy=min(number, busy)), Memory()
    behind_s = st.floats(0, RULES.target_behind_s * rate)
    for step in range(20):
        load = Load(data.draw(behind_s), rate, rate)
        decided, memory = decide(load, steady, RULES, memory, 100.0 * step)
        assert decided == number


@settings(max_examples=60, deadline=None)
@given(
    st.floats(0.5, 50),
    st.integers(0, 60),
    st.integers(1, 10),
    st.integers(10, 40),
    st.floats(0.05, 1.5),
)
def test_it_settles_where_the_load_asks_for(
    rate: float, start_s: int, num_begun: int, num_max: int, share: float
) -> None:
    plant = Plant(replica_rate=rate, start_s=start_s, num_min=1, num_max=num_max)
    arriving = share * num_max * RULES.target_busy * rate
    moments = plant.run(lambda _: arriving, RULES, num_begun, 5000)
    last = moments[-1500:]
    assert changes(last) == 0
    if share <= 1:
        # No more than the share that it aims at asks for, and enough for the share that it puts up with.
        at_most = plant.enough(arriving, RULES.target_busy)
        assert plant.enough(arriving, RULES.max_busy) <= last[-1].num_target <= at_most
        assert last[-1].behind_s <= RULES.target_behind_s * arriving + rate
    # Up, at most one step after another, then down: never up again.
    targets = [moment.num_target for moment in moments]
    top = targets.index(max(targets))
    assert targets[: top + 1] == sorted(targets[: top + 1])
    assert targets[top:] == sorted(targets[top:], reverse=True)


def spike(now_s: int) -> float:
    """A hundred live streams, ten times as many for five minutes."""
    return 1000.0 if 300 <= now_s < 600 else 100.0


def test_a_spike_is_followed_up_and_down_once() -> None:
    plant = Plant(replica_rate=10.0, start_s=20, num_min=1, num_max=400)
    moments = plant.run(spike, RULES, 17, 3000)
    assert {moment.num_target for moment in moments[:300]} == {17}
    assert max(moment.num_target for moment in moments) >= plant.enough(1000, RULES.max_busy)
    assert max(moment.behind_s for moment in moments[600:]) < 100_000
    assert moments[900].behind_s < RULES.target_behind_s * 100
    assert moments[-1].num_target == 17
    assert changes(moments) <= 8


def test_replicas_that_are_not_busy_are_not_added_to_however_far_behind() -> None:
    """Something else holds the work up: the consumers, the broker or the other deployment."""
    idle = Replicas(num_target=4, num_running=4, busy=1.0, num_min=1, num_max=40)
    assert decide(Load(1e6, 100, 50), idle, RULES, Memory(), 0)[0] == 4


def test_none_is_taken_away_while_it_is_behind() -> None:
    idle = Replicas(num_target=4, num_running=4, busy=0.1, num_min=1, num_max=40)
    memory = Memory()
    for now_s in range(1000):
        number, memory = decide(Load(2000, 100, 100), idle, RULES, memory, now_s)
        assert number == 4


def test_no_more_are_added_while_the_last_ones_start() -> None:
    memory = Memory()
    busy = Replicas(num_target=8, num_running=4, busy=4.0, num_min=1, num_max=400)
    for now_s in range(600):
        number, memory = decide(Load(1e6, 1000, 40), busy, RULES, memory, now_s)
        assert number == 8
    started = replace(busy, num_running=8, busy=8.0)
    assert decide(Load(1e6, 1000, 80), started, RULES, memory, 610)[0] == 8
    assert decide(Load(1e6, 1000, 80), started, RULES, memory, 640)[0] == 16


def test_down_to_the_most_that_was_needed_within_the_hold() -> None:
    memory, number = Memory(), 10
    for now_s in range(301):
        busy = 3.0 if now_s == 200 else 1.0
        replicas = Replicas(10, 10, busy, 1, 40)
        number, memory = decide(Load(0, 100, 100), replicas, RULES, memory, now_s)
        assert number == 10 or now_s == 300
    assert number == math.ceil(3.0 / RULES.target_busy)


def test_nothing_is_known_before_anything_is_answered() -> None:
    replicas = Replicas(4, 4, 4.0, 1, 40)
    assert decide(Load(500, 0, 0), replicas, RULES, Memory(), 0)[0] == 4


@pytest.mark.parametrize(
    "wrong", [{"target_busy": 0.8}, {"max_busy": 1.5}, {"hold_s": -1}, {"targt_behind_s": 5}]
)
def test_rules_that_cant_be_are_refused(wrong: dict[str, float]) -> None:
    with pytest.raises((ValidationError, ValueError), match=next(iter(wrong)).split("_")[0]):
        Rules(**wrong)
