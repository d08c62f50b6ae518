"""Slots, claimed by real actors of a real Ray."""

from collections.abc import Callable, Iterator
from itertools import count
from typing import Any

import pytest
import ray

from tests.topics import wait_until
from workers.ray_start import start_ray
from workers.slots import SERVE_NAMESPACE, Slot, claim

pytestmark = pytest.mark.e2e

_number = count()


@pytest.fixture(scope="module", autouse=True)
def _ray() -> Iterator[None]:
    start_ray(None, relay_logs=False)
    yield
    ray.shutdown()


class Holder:
    """A process that holds a slot."""

    def __init__(self, stem: str) -> None:
        self._stem = stem
        self._slot: Slot | None = None

    def claim(self) -> int:
        self._slot = claim(self._stem)
        return self._slot.number

    def leave(self) -> None:
        assert self._slot is not None
        self._slot.leave()


New = Callable[[int], dict[int, Any]]


@pytest.fixture
def new() -> New:
    """Starts so many processes that claim a slot at the same time; which one got which."""
    stem = f"stem-{next(_number)}"
    remote = ray.remote(num_cpus=0)(Holder)
    alive: list[Any] = []  # an actor without a handle ends

    def start(number: int) -> dict[int, Any]:
        holders = [remote.options(name=f"{stem}/{next(_number)}").remote(stem) for _ in range(number)]
        alive.extend(holders)
        claimed = ray.get([holder.claim.remote() for holder in holders])
        assert len(set(claimed)) == number, "two hold the same slot"
        return dict(zip(claimed, holders, strict=True))

    return start


def end(holder: Any) -> None:
    """As SIGKILL; Serve starts a successor only once Ray knows of a death."""
    names = {one["name"] for one in ray.util.list_named_actors(all_namespaces=True)}
    ray.kill(holder)
    wait_until(
        lambda: len({one["name"] for one in ray.util.list_named_actors(all_namespaces=True)}) < len(names),
        "dead",
    )


def test_many_at_the_same_time_get_one_each(new: New) -> None:
    assert set(new(6)) == set(range(6))


def test_successors_take_the_slots_of_the_dead(new: New) -> None:
    holders = new(4)
    end(holders[1])
    end(holders[3])
    assert set(new(2)) == {1, 3}
    assert set(new(1)) == {4}


def test_the_dead_come_before_those_that_left(new: New) -> None:
    holders = new(3)
    ray.get(holders[0].leave.remote())
    end(holders[0])
    end(holders[2])
    assert set(new(1)) == {2}
    again = new(1)
    assert set(again) == {0}
    end(again[0])
    assert set(new(1)) == {0}


def test_one_that_left_keeps_its_slot_as_long_as_it_lives(new: New) -> None:
    holders = new(1)
    ray.get(holders[0].leave.remote())
    assert set(new(1)) == {1}


def test_who_is_not_seen_to_live_gets_none() -> None:
    holder = ray.remote(num_cpus=0)(Holder).options(name="elsewhere", namespace="elsewhere").remote("stem")
    with pytest.raises(RuntimeError, match=SERVE_NAMESPACE):
        ray.get(holder.claim.remote())
