"""How many dead letters are too many: a run of them, or a share of the latest answers.

A bug that hits every segment would turn the whole input into dead letters; a broken camera only its own. So no
stream counts for more than its n-th part of a cap, n being `flow.min_dead_letter_streams`: it takes at least
n streams to pass one, however many dead letters fewer of them have.

Knows counts. Does not know what an answer is, nor what happens past a cap.
"""

from collections import Counter, deque
from collections.abc import Hashable
from dataclasses import dataclass, field
from math import floor
from typing import Self

from workers.config import FlowConfig


@dataclass(frozen=True)
class Breach:
    """A cap that is passed.

    Attributes:
        setting: The cap.
        limit: Its value.
        num_dead_letters: How many there would be, the one that passes it included.
        num_answers: Among so many answers.
        num_streams: Of so many streams.
    """

    setting: str
    limit: float
    num_dead_letters: int
    num_answers: int
    num_streams: int

    def __str__(self) -> str:
        """One line: cap, value, limit."""
        return (
            f"{self.setting} = {self.limit:g} is passed: {self.num_dead_letters} dead letters "
            f"among the last {self.num_answers} answers, of {self.num_streams} streams"
        )


@dataclass
class Caps:
    """What was counted so far.

    Attributes:
        flow: The limits.
    """

    flow: FlowConfig
    _run: Counter[Hashable] = field(default_factory=Counter)
    """Dead letters of each stream since the last event."""
    _latest: deque[Hashable | None] = field(default_factory=deque)
    """The latest answers, `flow.dead_letter_window` at most: the stream of a dead letter, None for an event."""
    _dead: Counter[Hashable] = field(default_factory=Counter)
    """Dead letters of each stream among the latest."""

    def copy(self) -> Self:
        """The same counts, to go on counting without changing these."""
        return type(self)(self.flow, self._run.copy(), self._latest.copy(), self._dead.copy())

    def event(self) -> None:
        """Count an event."""
        self._run.clear()
        self._add(None)

    def dead_letter(self, stream: Hashable) -> Breach | None:
        """Count a dead letter of a stream (anything but None).

        Returns:
            The cap that it passes, if any.
        """
        self._run[stream] += 1
        self._add(stream)
        self._dead[stream] += 1
        longest, share = self.flow.max_dead_letter_run, self.flow.max_dead_letter_share
        if self._is_past(self._run, longest):
            return _breach("flow.max_dead_letter_run", longest, self._run, self._run.total())
        if self._is_past(self._dead, floor(share * self.flow.dead_letter_window)):
            return _breach("flow.max_dead_letter_share", share, self._dead, len(self._latest))
        return None

    def _add(self, stream: Hashable | None) -> None:
        self._latest.append(stream)
        if len(self._latest) <= self.flow.dead_letter_window:
            return
        oldest = self._latest.popleft()
        if oldest is not None:
            self._dead[oldest] -= 1
            if not self._dead[oldest]:
                del self._dead[oldest]

    def _is_past(self, of_streams: Counter[Hashable], limit: int) -> bool:
        """Whether there are more than `limit`, no stream counting for more than its part of that."""
        num_parts, needed = self.flow.min_dead_letter_streams, limit + 1
        # Times `num_parts`, so that a part is a whole number.
        return sum(min(number * num_parts, needed) for number in of_streams.values()) >= needed * num_parts


def _breach(setting: str, limit: float, of_streams: Counter[Hashable], num_answers: int) -> Breach:
    return Breach(setting, limit, of_streams.total(), num_answers, len(of_streams))
