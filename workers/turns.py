"""Whose turn it is to compute: as many at a time as there are cores, in the order in which they ask.

Segments that share a core all end late; one after another, the first ends early and the last no later. So that a group
whose work is slow, or hangs, does not hold up others, one whose group computes already goes after one whose group does
not, and a turn ends when it has lasted much longer than others did: the next begins beside it.

Knows threads. Does not know what is computed.
"""

import statistics
import threading
import time
from collections import deque
from collections.abc import Hashable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

TURN_S = 2.0
"""Longest turn: several times what a segment of 5 s takes on a core (0.4 to 0.5 s, docs/results.md)."""
SHORTEST_TURN_S = 0.1
"""So much a process may be kept from a core that others use too."""
PATIENCE = 3.0
"""A turn may last so many times as long as half of the recent ones did: then something is wrong."""
NUM_RECENT = 15


@dataclass(eq=False)
class _Turn:
    """One that waits, or computes; for ever, until its turn begins."""

    group: Hashable
    until_s: float = float("inf")


class Turns:
    """Shared by threads.

    Args:
        num_cores: Turns at a time.
        longest_s: No turn lasts longer; who has it goes on, but no longer counts.
    """

    def __init__(self, num_cores: int, longest_s: float = TURN_S) -> None:
        self._num_cores = num_cores
        self._longest_s = longest_s
        self._changed = threading.Condition()
        self._waiting: list[_Turn] = []
        self._begun: list[_Turn] = []
        self._recent_s: deque[float] = deque(maxlen=NUM_RECENT)

    @contextmanager
    def turn(self, group: Hashable) -> Iterator[float]:
        """Wait for a turn, and have it while the body runs.

        Yields:
            The seconds that it waited.
        """
        asked_s = time.monotonic()
        one = _Turn(group)
        with self._changed:
            self._waiting.append(one)
            while (wait_s := self._wait_s(one)) > 0:
                self._changed.wait(wait_s)
            self._waiting.remove(one)
            self._begun.append(one)
            begun_s = time.monotonic()
            one.until_s = begun_s + self._length_s()
            self._changed.notify_all()  # there may be a turn for the next one too
        try:
            yield begun_s - asked_s
        finally:
            with self._changed:
                self._begun.remove(one)
                self._recent_s.append(time.monotonic() - begun_s)
                self._changed.notify_all()

    def _wait_s(self, one: _Turn) -> float:
        """How long until it is worth looking again, if nobody says so before; 0 when it may begin."""
        now_s = time.monotonic()
        left_s = [other.until_s - now_s for other in self._begun if other.until_s > now_s]
        if len(left_s) < self._num_cores and one is self._next():
            return 0.0
        return min(left_s, default=self._longest_s)

    def _length_s(self) -> float:
        """How long a turn lasts that begins now."""
        if not self._recent_s:
            return self._longest_s
        return min(self._longest_s, max(SHORTEST_TURN_S, PATIENCE * statistics.median(self._recent_s)))

    def _next(self) -> _Turn:
        """The first whose group computes nothing now; if there is none, the first."""
        groups = {other.group for other in self._begun}
        return next((other for other in self._waiting if other.group not in groups), self._waiting[0])
