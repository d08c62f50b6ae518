"""Whose turn it is to compute: as many at a time as there are cores, in the order in which they ask.

Segments that share a core all end late; one after another, the first ends early and the last no later. A turn does not
last for ever: the next begins beside one that takes long, so that what hangs holds up nobody for more than that.

Knows threads. Does not know what is computed.
"""

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager

TURN_S = 2.0
"""Several times what a segment of 5 s takes on a core (0.3 to 0.7 s, docs/results.md), and no more than it must be, for
one that hangs has its neighbours wait for so long, once."""


class Turns:
    """Shared by threads.

    Args:
        num_cores: Turns at a time.
        longest_s: How long a turn lasts at most; who has it goes on, but no longer counts.
    """

    def __init__(self, num_cores: int, longest_s: float = TURN_S) -> None:
        self._num_cores = num_cores
        self._longest_s = longest_s
        self._changed = threading.Condition()
        self._waiting: list[object] = []
        self._until_s: dict[object, float] = {}

    @contextmanager
    def turn(self) -> Iterator[None]:
        """Wait for a turn, and have it while the body runs."""
        one = object()
        with self._changed:
            self._waiting.append(one)
            while (wait_s := self._wait_s(one)) > 0:
                self._changed.wait(wait_s)
            self._waiting.pop(0)
            self._until_s[one] = time.monotonic() + self._longest_s
            self._changed.notify_all()  # there may be a turn for the next one too
        try:
            yield
        finally:
            with self._changed:
                del self._until_s[one]
                self._changed.notify_all()

    def _wait_s(self, one: object) -> float:
        """How long until it is worth looking again, if nobody says so before; 0 when it may begin."""
        now_s = time.monotonic()
        left_s = [until_s - now_s for until_s in self._until_s.values() if until_s > now_s]
        if self._waiting[0] is one and len(left_s) < self._num_cores:
            return 0.0
        return min(left_s, default=self._longest_s)
