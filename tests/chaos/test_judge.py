"""The judge finds each way in which delivery can fail, and nothing where it did not."""

from collections.abc import Callable, Sequence
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.chaos.judge import Answer, Place, Verdict, judge

PUBLISHED: dict[Place, str] = {
    (partition, offset): f"seg/{partition}/{offset}" for partition in range(2) for offset in range(5)
}
POISON = {"seg/0/3", "seg/1/0"}


def answer(place: Place) -> Answer:
    name = PUBLISHED[place]
    return Answer(place, name, None if name in POISON else f"id of {name}", place[0])


EVENTS = [answer(place) for place, name in PUBLISHED.items() if name not in POISON]
LETTERS = [replace(answer(place), partition=0) for place, name in PUBLISHED.items() if name in POISON]


def judged(events: Sequence[Answer] = EVENTS, letters: Sequence[Answer] = LETTERS) -> Verdict:
    return judge(PUBLISHED, POISON, events, letters)


def broken(verdict: Verdict) -> set[str]:
    names = (
        "lost",
        "doubled",
        "doubled_differently",
        "out_of_order",
        "stray",
        "not_dead_lettered",
        "wrongly_dead_lettered",
    )
    return {name for name in names if getattr(verdict, name)}


def test_what_is_right_is_right() -> None:
    verdict = judged()
    assert (verdict.expected, verdict.distinct) == (10, 10)
    assert verdict.failures(may_double=False) == []


def without(place: Place) -> list[Answer]:
    return [one for one in EVENTS if one.place != place]


BREAKS: dict[str, tuple[Callable[[], Verdict], set[str]]] = {
    "an event is missing": (lambda: judged(without((0, 1))), {"lost"}),
    "a dead letter is missing": (lambda: judged(letters=LETTERS[1:]), {"lost", "not_dead_lettered"}),
    "an event comes twice": (lambda: judged([*EVENTS, EVENTS[-1]]), {"doubled"}),
    "a dead letter comes twice": (lambda: judged(letters=[*LETTERS, LETTERS[0]]), {"doubled"}),
    "an event comes again with another id": (
        lambda: judged([*EVENTS, replace(EVENTS[-1], event_id="other")]),
        {"doubled", "doubled_differently"},
    ),
    "an event and a dead letter": (
        lambda: judged(letters=[replace(answer((0, 1)), event_id=None), *LETTERS]),
        {"doubled", "doubled_differently", "wrongly_dead_lettered"},
    ),
    "a good one is dead": (
        lambda: judged(without((0, 1)), [*LETTERS[:1], replace(answer((0, 1)), event_id=None), LETTERS[1]]),
        {"wrongly_dead_lettered", "out_of_order"},
    ),
    "poison is answered": (
        lambda: judged([*EVENTS, answer((0, 3))], LETTERS[1:]),
        {"not_dead_lettered", "out_of_order"},
    ),
    "two change places": (lambda: judged([EVENTS[1], EVENTS[0], *EVENTS[2:]]), {"out_of_order"}),
    "the answer to nothing": (lambda: judged([*EVENTS, Answer((1, 9), "seg/1/9", "id", 1)]), {"stray"}),
    "the answer of another": (
        lambda: judged([replace(EVENTS[0], segment_id=EVENTS[1].segment_id), *EVENTS[1:]]),
        {"stray"},
    ),
    "in another partition": (lambda: judged([replace(EVENTS[0], partition=1), *EVENTS[1:]]), {"stray"}),
}


@pytest.mark.parametrize("name", BREAKS)
def test_each_break_is_found(name: str) -> None:
    make, wanted = BREAKS[name]
    verdict = make()
    assert broken(verdict) == wanted
    assert verdict.failures(may_double=False)


def test_at_least_once_may_repeat_the_same_and_nothing_else() -> None:
    repeated = [*EVENTS[:3], *EVENTS[:3], *EVENTS[3:]]
    assert judged(repeated).failures(may_double=True) == []
    assert judged(repeated).failures(may_double=False)
    assert judged([*EVENTS, replace(EVENTS[0], event_id="other")]).failures(may_double=True)


@given(st.permutations(EVENTS))
def test_any_order_but_the_partitions_own_is_out_of_order(events: list[Answer]) -> None:
    in_order = all(
        [one.place for one in events if one.place[0] == partition]
        == [one.place for one in EVENTS if one.place[0] == partition]
        for partition in range(2)
    )
    assert (not judged(events).out_of_order) == in_order
    assert not judged(events).lost


@given(st.lists(st.integers(0, len(EVENTS) - 1)))
def test_lost_and_doubled_are_counted_whatever_comes(indices: list[int]) -> None:
    verdict = judged([EVENTS[index] for index in indices])
    assert len(verdict.lost) == len(EVENTS) - len(set(indices))
    assert len(verdict.doubled) == sum(indices.count(index) > 1 for index in set(indices))
