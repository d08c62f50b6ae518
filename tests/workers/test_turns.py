"""Turns: how many at a time, in which order, and what becomes of one that does not end."""

import threading
from concurrent.futures import ThreadPoolExecutor

import pytest

from tests.topics import wait_until
from workers.turns import Turns


class Room:
    """Who is in, and in which order they came; each stays until it is let go."""

    def __init__(self, turns: Turns, size: int) -> None:
        self.turns = turns
        self.came: list[int] = []
        self.go = [threading.Event() for _ in range(size)]

    def visit(self, number: int) -> None:
        with self.turns.turn():
            self.came.append(number)
            assert self.go[number].wait(30)


def num_waiting(turns: Turns) -> int:
    return len(turns._waiting)


def enter_one_by_one(room: Room, pool: ThreadPoolExecutor, num_cores: int) -> None:
    for number in range(len(room.go)):
        pool.submit(room.visit, number)
        settled = max(0, number + 1 - num_cores)
        wait_until(lambda settled=settled: num_waiting(room.turns) == settled, "it waits or is in")  # type: ignore[misc]


@pytest.mark.parametrize("num_cores", [1, 3])
def test_as_many_as_there_are_cores_in_the_order_in_which_they_asked(num_cores: int) -> None:
    room = Room(Turns(num_cores, longest_s=60), 6)
    with ThreadPoolExecutor(6) as pool:
        enter_one_by_one(room, pool, num_cores)
        for number in range(6):
            last = min(6, number + num_cores)
            wait_until(lambda last=last: len(room.came) == last, "each that may is in")  # type: ignore[misc]
            room.go[number].set()
    assert room.came == list(range(6))


def test_one_that_does_not_end_holds_the_next_up_for_a_turn_only() -> None:
    room = Room(Turns(1, longest_s=0.05), 3)
    with ThreadPoolExecutor(3) as pool:
        for number in range(3):
            pool.submit(room.visit, number)
        wait_until(lambda: len(room.came) == 3, "all are in beside each other")
        for one in room.go:
            one.set()
    with room.turns.turn():
        assert num_waiting(room.turns) == 0


def test_a_turn_that_ends_in_an_error_is_over() -> None:
    turns = Turns(1, longest_s=60)
    for _ in range(2):
        with pytest.raises(KeyError), turns.turn():
            raise KeyError
