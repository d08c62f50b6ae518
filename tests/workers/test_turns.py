"""Turns: how many at a time, in which order, and what becomes of one that does not end."""

import math
import threading
import time
from collections.abc import Sequence
from concurrent.futures import Future, ThreadPoolExecutor

import pytest

from tests.topics import wait_until
from workers.turns import SHORTEST_TURN_S, Turns

LONG_S = 60.0
SHORT_S = 0.2


class Room:
    """Who is in, in the order in which they came; each stays until it is let go."""

    def __init__(self, turns: Turns, pool: ThreadPoolExecutor) -> None:
        self.turns = turns
        self.came: list[str] = []
        self.waited_s: dict[str, float] = {}
        self._pool = pool
        self._go: dict[str, threading.Event] = {}
        self._visits: list[Future[None]] = []

    def ask(self, name: str) -> None:
        """One more asks, of the group that its first letter names; returns when it waits or is in."""
        self._go[name] = threading.Event()
        before = self._num_there()
        self._visits.append(self._pool.submit(self._visit, name))
        wait_until(lambda: self._num_there() > before, "it waits or is in")

    def end(self, name: str) -> None:
        self._go[name].set()

    def end_all(self) -> None:
        for one in self._go.values():
            one.set()
        for visit in self._visits:
            visit.result(30)

    def wait_for(self, names: Sequence[str]) -> None:
        wait_until(lambda: len(self.came) >= len(names), f"{names} are in")
        assert self.came == list(names)

    def _num_there(self) -> int:
        return len(self.came) + len(self.turns._waiting)

    def _visit(self, name: str) -> None:
        with self.turns.turn(name[0]) as waited_s:
            self.waited_s[name] = waited_s
            self.came.append(name)
            assert self._go[name].wait(30)


@pytest.mark.parametrize("num_cores", [1, 3])
def test_as_many_as_there_are_cores_in_the_order_in_which_they_asked(num_cores: int) -> None:
    names = list("abcdef")
    with ThreadPoolExecutor(6) as pool:
        room = Room(Turns(num_cores, LONG_S), pool)
        for name in names:
            room.ask(name)
        for ended, name in enumerate(names):
            room.wait_for(names[: ended + num_cores])
            room.end(name)
        room.end_all()


def test_one_that_does_not_end_holds_the_next_up_for_one_turn() -> None:
    with ThreadPoolExecutor(3) as pool:
        room = Room(Turns(1, SHORT_S), pool)
        for name in "abc":
            room.ask(name)
        room.wait_for("abc")
        room.end_all()
    assert room.waited_s["a"] < SHORT_S
    assert SHORT_S / 2 < room.waited_s["b"] < room.waited_s["c"]


def test_who_asks_goes_before_one_whose_group_computes_already() -> None:
    with ThreadPoolExecutor(4) as pool:
        room = Room(Turns(1, LONG_S), pool)
        for name in ("a1", "a2", "b1", "a3"):
            room.ask(name)
        room.end("a1")
        room.wait_for(["a1", "a2"])  # nothing computes when it goes: in the order in which they asked
        room.end("a2")
        room.wait_for(["a1", "a2", "b1"])
        room.end_all()
    with ThreadPoolExecutor(4) as pool:
        room = Room(Turns(2, LONG_S), pool)
        for name in ("a1", "b1", "a2", "c1"):
            room.ask(name)
        room.end("b1")
        room.wait_for(["a1", "b1", "c1"])
        room.end_all()


def test_of_a_group_that_hangs_one_at_most_goes_before_others() -> None:
    with ThreadPoolExecutor(3) as pool:
        room = Room(Turns(1, SHORT_S), pool)
        for name in ("a1", "a2", "b1"):
            room.ask(name)
        room.wait_for(["a1", "b1", "a2"])  # a1 has had its turn, and goes on
        room.end_all()


def test_beside_short_ones_a_turn_is_short() -> None:
    turns = Turns(1, LONG_S)
    for _ in range(3):
        with turns.turn("a"):
            pass
    with ThreadPoolExecutor(2) as pool:
        room = Room(turns, pool)
        for name in "ab":
            room.ask(name)
        room.wait_for("ab")
        room.end_all()
    assert SHORTEST_TURN_S / 2 < room.waited_s["b"] < LONG_S / 2


def test_a_turn_that_ends_in_an_error_is_over() -> None:
    turns = Turns(1, math.inf)
    with pytest.raises(KeyError), turns.turn("a"):
        raise KeyError
    begun_s = time.monotonic()
    with turns.turn("a") as waited_s:
        assert waited_s <= time.monotonic() - begun_s
