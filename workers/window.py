"""What a consumer holds: for each partition a first-in-first-out window of records and their futures.

Work completes in any order, answers leave at the head only, so the output keeps the order of the input. The
windows share one budget of records and bytes; a partition without room is not polled. Pure bookkeeping: knows
neither Kafka nor clocks nor threads.

    oldest ──────────────────────────▶ newest
    [ 17 done ][ 18 done ][ 19 … ][ 20 done ]      finished: 17, 18      next_offset once they are out: 19
"""

from collections import deque
from collections.abc import Collection, Iterable
from dataclasses import dataclass, field
from itertools import takewhile
from typing import Generic, Protocol, TypeVar

T_co = TypeVar("T_co", covariant=True)

ASSUMED_RECORD_BYTES = 2**20
"""Kafka's default limit of a message (1 MiB); how large a record may be as long as none larger was seen."""


class BrokenInvariantError(RuntimeError):
    """The protocol's bookkeeping contradicts itself: going on could lose or double records."""


class Pending(Protocol[T_co]):
    """A future, as far as a window needs one."""

    def done(self) -> bool:
        """Whether there is a result."""
        ...

    def result(self) -> T_co:
        """The result."""
        ...

    def cancel(self) -> bool:
        """Tell whoever works on it that nobody waits any more."""
        ...


@dataclass(frozen=True)
class Entry(Generic[T_co]):
    """A record in flight.

    Attributes:
        offset: Its own.
        num_bytes: What it weighs.
        future: Its answer.
        written_s: When it was written, by its timestamp; seconds since 1970.
        polled_s: When it was polled; seconds since 1970.
    """

    offset: int
    num_bytes: int
    future: Pending[T_co]
    written_s: float = 0.0
    polled_s: float = 0.0

    @property
    def next_offset(self) -> int:
        """Where to go on once this record is answered: the offset to commit."""
        return self.offset + 1


@dataclass(frozen=True)
class Plan:
    """What may be polled next.

    Attributes:
        partitions: The partitions that have room; all others are to be paused.
        max_records: Most records to take; even if all are of one partition, there is room for them.
    """

    partitions: frozenset[int]
    max_records: int


@dataclass
class Windows(Generic[T_co]):
    """The windows of all partitions that one consumer owns.

    Attributes:
        max_records: Most records in flight.
        max_bytes: No more is polled while so many bytes are in flight. The last poll may exceed it by one
            record (by more only when its records are larger than any seen before).
    """

    max_records: int
    max_bytes: int
    _entries: dict[int, deque[Entry[T_co]]] = field(default_factory=dict)
    _num_records: int = 0
    _num_bytes: int = 0
    _largest_bytes: int = ASSUMED_RECORD_BYTES

    @property
    def num_records(self) -> int:
        """Records in flight."""
        return self._num_records

    @property
    def num_bytes(self) -> int:
        """Bytes in flight."""
        return self._num_bytes

    @property
    def partitions(self) -> list[int]:
        """The partitions that have records in flight."""
        return [partition for partition, window in self._entries.items() if window]

    def heads(self, partitions: Iterable[int] | None = None) -> list[Entry[T_co]]:
        """The oldest record of each partition that has any, or of each of the given ones."""
        wanted = self._entries if partitions is None else partitions
        return [self._entries[partition][0] for partition in wanted if self._entries.get(partition)]

    def next_offsets(self) -> dict[int, int]:
        """Where to go on in each partition that has records in flight: all before it is out."""
        return {partition: window[0].offset for partition, window in self._entries.items() if window}

    def plan(self, assigned: Collection[int]) -> Plan:
        """Decide what to poll.

        Each partition has an equal share of records and bytes, so that a slow one can't take the room of the
        others; a poll may exceed its share of bytes. It is polled again when a quarter of its share of records
        is free, not for each record that leaves.
        """
        share = max(1, self.max_records // max(1, len(assigned)))
        share_bytes = self.max_bytes // max(1, len(assigned))
        free = self.max_records - self._num_records
        rooms = {
            partition: min(share - len(window), free)
            for partition in assigned
            if not (window := self._entries.get(partition, ()))
            or sum(entry.num_bytes for entry in window) < share_bytes
        }
        polled = {partition: room for partition, room in rooms.items() if room >= max(1, share // 4)}
        free_bytes = self.max_bytes - self._num_bytes
        if not polled or free_bytes <= 0:
            return Plan(frozenset(), 0)
        return Plan(frozenset(polled), min(*polled.values(), max(1, free_bytes // self._largest_bytes), free))

    def trim(self, assigned: Collection[int]) -> dict[int, int]:
        """Give back what a partition holds beyond its share, the newest first, when there are more partitions now.

        Returns:
            For each partition that gave something back, the offset to go on at.
        """
        share = max(1, self.max_records // max(1, len(assigned)))
        byte_share = self.max_bytes // max(1, len(assigned))
        given_back: dict[int, int] = {}
        for partition in self.partitions:
            window = self._entries[partition]
            num_bytes = sum(entry.num_bytes for entry in window)
            while len(window) > 1 and (len(window) > share or num_bytes > byte_share):
                entry = window.pop()
                num_bytes -= entry.num_bytes
                self._forget(entry)
                entry.future.cancel()
                given_back[partition] = entry.offset
        return given_back

    def add(self, partition: int, entry: Entry[T_co]) -> None:
        """Take in a record.

        Raises:
            BrokenInvariantError: It is not newer than what is there.
        """
        window = self._entries.setdefault(partition, deque())
        if window and entry.offset <= window[-1].offset:
            raise BrokenInvariantError(
                f"partition {partition}: offset {entry.offset} came after {window[-1].offset}"
            )
        window.append(entry)
        self._num_records += 1
        self._num_bytes += entry.num_bytes
        self._largest_bytes = max(self._largest_bytes, entry.num_bytes)

    def finished(self) -> dict[int, list[Entry[T_co]]]:
        """The records at the head of each partition that have their answer, oldest first."""
        done = {
            partition: list(takewhile(lambda entry: entry.future.done(), window))
            for partition, window in self._entries.items()
        }
        return {partition: entries for partition, entries in done.items() if entries}

    def release(self, partition: int, next_offset: int) -> None:
        """Let go of the records before `next_offset`: their answers are out and their offsets committed.

        Raises:
            BrokenInvariantError: One of them has no answer, or none of them is here.
        """
        window = self._entries.get(partition, deque())
        if not window or window[0].offset >= next_offset:
            raise BrokenInvariantError(f"partition {partition}: nothing before {next_offset} is in flight")
        while window and window[0].offset < next_offset:
            if not window[0].future.done():
                raise BrokenInvariantError(
                    f"partition {partition}: {window[0].offset} was let go without an answer"
                )
            self._forget(window.popleft())

    def drop(self, partitions: Iterable[int]) -> int:
        """Give partitions back with all that is in flight; whoever owns them next begins there anew.

        Returns:
            How many records were given back.
        """
        dropped = [entry for partition in partitions for entry in self._entries.pop(partition, ())]
        for entry in dropped:
            self._forget(entry)
            entry.future.cancel()
        return len(dropped)

    def _forget(self, entry: Entry[T_co]) -> None:
        self._num_records -= 1
        self._num_bytes -= entry.num_bytes
