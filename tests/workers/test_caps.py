from collections import Counter
from math import floor

from hypothesis import given
from hypothesis import strategies as st

from workers.caps import Breach, Caps
from workers.config import FlowConfig

STREAMS = ("a", "b", "c", "d", "e")

flows = st.builds(
    FlowConfig,
    max_dead_letter_run=st.integers(1, 12),
    max_dead_letter_share=st.floats(0.05, 1.0),
    dead_letter_window=st.integers(1, 30),
    min_dead_letter_streams=st.integers(1, 4),
)
histories = st.lists(st.none() | st.sampled_from(STREAMS), max_size=120)
"""Answers: None is an event, else a dead letter of that stream."""


def count(caps: Caps, answer: str | None) -> Breach | None:
    if answer is not None:
        return caps.dead_letter(answer)
    caps.event()
    return None


def first_breach(flow: FlowConfig, history: list[str | None]) -> int | None:
    """How many answers there were when a cap was passed."""
    caps = Caps(flow)
    return next((n for n, answer in enumerate(history, 1) if count(caps, answer)), None)


def is_past(history: list[str | None], flow: FlowConfig) -> bool:
    """The definition, in fractions: each stream counts for at most its part of what passes a cap."""
    since_event = history[len(history) - history[::-1].index(None) :] if None in history else history
    latest = history[-flow.dead_letter_window :]
    limits = (
        (since_event, flow.max_dead_letter_run),
        (latest, floor(flow.max_dead_letter_share * flow.dead_letter_window)),
    )
    return any(
        sum(min(number * flow.min_dead_letter_streams, limit + 1) for number in numbers)
        >= (limit + 1) * flow.min_dead_letter_streams
        for answers, limit in limits
        for numbers in [Counter(answer for answer in answers if answer).values()]
    )


@given(flows, histories)
def test_a_cap_is_passed_when_the_definition_says_so(flow: FlowConfig, history: list[str | None]) -> None:
    prefixes = (history[:number] for number in range(1, len(history) + 1))
    expected = next((len(prefix) for prefix in prefixes if prefix[-1] and is_past(prefix, flow)), None)
    assert first_breach(flow, history) == expected


@given(flows, histories, st.sets(st.sampled_from(STREAMS)))
def test_fewer_streams_than_demanded_never_pass_one(
    flow: FlowConfig, history: list[str | None], broken: set[str]
) -> None:
    few = set(sorted(broken)[: flow.min_dead_letter_streams - 1])
    assert first_breach(flow, [answer if answer in few else None for answer in history] * 5) is None


@given(st.integers(1, 5), st.integers(1, 9), st.integers(0, 50))
def test_a_bug_that_hits_every_segment_passes_the_run_at_the_first_one_too_many(
    num_streams: int, num_each: int, num_events: int
) -> None:
    one_too_many = num_streams * num_each
    flow = FlowConfig(
        max_dead_letter_run=max(1, one_too_many - 1),
        dead_letter_window=1000,
        min_dead_letter_streams=num_streams,
    )
    all_fail = [STREAMS[number % num_streams] for number in range(200)]
    assert first_breach(flow, [*[None] * num_events, *all_fail]) == num_events + max(2, one_too_many)


@given(flows, histories, histories)
def test_a_copy_counts_on_its_own(
    flow: FlowConfig, before: list[str | None], after: list[str | None]
) -> None:
    caps = Caps(flow)
    for answer in before:
        count(caps, answer)
    same = caps.copy()
    for answer in after:
        count(caps.copy(), answer)
    assert [count(caps, answer) for answer in after] == [count(same, answer) for answer in after]


def test_a_broken_camera_and_some_bad_luck_of_others_are_not_enough() -> None:
    flow = FlowConfig(max_dead_letter_run=9, dead_letter_window=20)
    assert first_breach(flow, [*["broken"] * 1000, "a", "b"]) is None


def test_the_share_finds_what_events_between_hide_from_the_run() -> None:
    flow = FlowConfig(max_dead_letter_share=0.5, dead_letter_window=20)
    history = ["a", "b", None, "c", "d", None] * 10
    caps = Caps(flow)
    breaches = [breach for answer in history if (breach := count(caps, answer))]
    assert breaches[0] == Breach("flow.max_dead_letter_share", 0.5, 11, 16, 4)
    assert str(breaches[0]) == (
        "flow.max_dead_letter_share = 0.5 is passed: 11 dead letters among the last 16 answers, of 4 streams"
    )
