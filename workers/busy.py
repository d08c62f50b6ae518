"""How busy a replica is, as the autoscaling asks: the share of its time, from 0 to 1.

Knows clocks. Does not know what the work is.
"""

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager


class Busy:
    """Counts the places that are taken; to be used on one thread.

    A replica with many places and few cores is busy when the cores are, however few of its places are taken; one that
    waits for media is when all its places are taken. So the larger of both shares counts.

    Args:
        num_places: How much it can do at a time.
        cpu_s: Processor time that the work has taken so far, of whichever processes do it; None where it says nothing,
            as of a model on a GPU.
        num_cores: Cores that the work may use.
    """

    def __init__(self, num_places: int, cpu_s: Callable[[], float] | None = None, num_cores: int = 1) -> None:
        self._num_places = num_places
        self._read_cpu_s = cpu_s
        self._num_cores = num_cores
        self._num_taken = 0
        self._taken_s = 0.0
        self._since_s = self._asked_s = time.monotonic()
        self._cpu_s = 0.0 if cpu_s is None else cpu_s()

    @contextmanager
    def place(self) -> Iterator[None]:
        """One place is taken while the body runs."""
        self._add_up()
        self._num_taken += 1
        try:
            yield
        finally:
            self._add_up()
            self._num_taken -= 1

    def share(self) -> float:
        """The share since this was asked before."""
        self._add_up()
        passed_s = max(1e-9, self._since_s - self._asked_s)
        shares = [self._taken_s / (self._num_places * passed_s)]
        if self._read_cpu_s is not None:
            cpu_s = self._read_cpu_s()
            shares.append((cpu_s - self._cpu_s) / (self._num_cores * passed_s))
            self._cpu_s = cpu_s
        self._asked_s, self._taken_s = self._since_s, 0.0
        return min(1.0, max(shares))

    def _add_up(self) -> None:
        now_s = time.monotonic()
        self._taken_s += self._num_taken * (now_s - self._since_s)
        self._since_s = now_s
