"""How busy a replica is, as the autoscaling asks: the share of its time, from 0 to 1.

Knows clocks. Does not know what the work is.
"""

import time
from collections.abc import Iterator
from contextlib import contextmanager


class Busy:
    """Counts the places that are taken; to be used on one thread.

    A replica with many places and one core is busy when the core is, however few of its places are taken; one that
    waits for media is when all its places are taken. So the larger of both shares counts.

    Args:
        num_places: How much it can do at a time.
        counts_cpu: Whether the work is on one core; not so of a model on several or on a GPU. Others' processes do it
            and tell what it took (`spend`).
    """

    def __init__(self, num_places: int, counts_cpu: bool) -> None:
        self._num_places = num_places
        self._counts_cpu = counts_cpu
        self._num_taken = 0
        self._taken_s = 0.0
        self._since_s = self._asked_s = time.monotonic()
        self._cpu_s = 0.0

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

    def spend(self, cpu_s: float) -> None:
        """A processor has worked for so long."""
        self._cpu_s += cpu_s

    def share(self) -> float:
        """The share since this was asked before."""
        self._add_up()
        passed_s = max(1e-9, self._since_s - self._asked_s)
        shares = [self._taken_s / (self._num_places * passed_s)]
        if self._counts_cpu:
            shares.append(self._cpu_s / passed_s)
        self._asked_s, self._taken_s, self._cpu_s = self._since_s, 0.0, 0.0
        return min(1.0, max(shares))

    def _add_up(self) -> None:
        now_s = time.monotonic()
        self._taken_s += self._num_taken * (now_s - self._since_s)
        self._since_s = now_s
