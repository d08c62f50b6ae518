"""How far each partition is behind: in records, in seconds of video, and by the age of the oldest record.

    committed ─▶ [ in flight ][ not yet polled ] ◀─ end
                 └──────────── lag ────────────┘

The end is asked for every few seconds. What comes along with fetched records is not enough: it stands still
while records of an earlier fetch are used up, and while a partition is paused, which is when lag grows.

Knows the consumer's positions. Does not know where the numbers go.
"""

import time
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Any

from kafka import KafkaConsumer, TopicPartition
from kafka.protocol.consumer import OffsetSpec

from workers.pace import Video
from workers.window import Windows

ASK_S = 5.0
"""How often ends are asked for: one request to each broker. Ray reports metrics every 10 s."""
NUM_REMEMBERED = 32
"""Segments that a partition's mean length goes back: at 5 s each, the last 3 minutes of one stream."""


@dataclass(frozen=True)
class Behind:
    """One partition.

    Attributes:
        num_segments: Records that are not answered yet.
        video_s: Estimate of their length as video; None when no segment's length is known yet.
        oldest_age_s: Age of the oldest of them; 0 when there is none.
    """

    num_segments: int
    video_s: float | None
    oldest_age_s: float


@dataclass
class Mean:
    """A mean that forgets: exact for the first `NUM_REMEMBERED` values, then exponential."""

    value: float = 0.0
    num_values: int = 0

    def add(self, value: float) -> None:
        """Take in a value."""
        self.num_values += 1
        self.value += (value - self.value) / min(self.num_values, NUM_REMEMBERED)


class Ends:
    """Where partitions end, asked for without ever waiting for the answer.

    Args:
        consumer: On whose connection it is asked.
    """

    def __init__(self, consumer: KafkaConsumer) -> None:
        self._consumer = consumer
        self._asked: Any = None
        self._ask_at_s = 0.0
        self._known: dict[TopicPartition, int] = {}

    def known(self, places: Collection[TopicPartition]) -> dict[TopicPartition, int]:
        """The latest answer; asks again when it is time."""
        if self._asked is not None and self._asked.is_done:
            if self._asked.succeeded():
                self._known = {place: found.offset for place, found in self._asked.value.items()}
            self._asked = None
        if self._asked is None and places and time.monotonic() >= self._ask_at_s:
            self._ask_at_s = time.monotonic() + ASK_S
            # `end_offsets` would wait, and this thread must not: it owns the membership.
            self._asked = self._consumer._manager.call_soon(
                self._consumer._fetcher._fetch_offsets_by_times_async,
                dict.fromkeys(places, OffsetSpec.LATEST),
                int(ASK_S * 1000),
            )
        return self._known


class Lag:
    """Lag of the partitions of one session.

    Args:
        consumer: Its consumer.
        topic: The input topic.
    """

    def __init__(self, consumer: KafkaConsumer, topic: str) -> None:
        self._consumer = consumer
        self._topic = topic
        self._ends = Ends(consumer)
        self._mean_s = Mean()
        self._means_s: dict[int, Mean] = {}
        self._since_s: dict[int, float] = {}
        self._ends_before: dict[int, int] = {}
        self._arrived_s = self._answered_s = 0.0
        self.video = Video()

    def answered(self, partition: int, duration_s: float | None) -> None:
        """A segment of this length was answered; of a dead letter it may not be known."""
        if duration_s is None:
            self._answered_s += self._length_s(partition)
            return
        self._answered_s += duration_s
        self._mean_s.add(duration_s)
        self._means_s.setdefault(partition, Mean()).add(duration_s)

    def look(self, partitions: Collection[int], windows: Windows[Any]) -> dict[int, Behind]:
        """Each partition, as soon as its position and its end are known."""
        places = {partition: TopicPartition(self._topic, partition) for partition in partitions}
        ends = self._ends.known(places.values())
        self._since_s = {one: since_s for one, since_s in self._since_s.items() if one in places}
        found = {}
        for partition, place in places.items():
            position, end = self._position(place), ends.get(place)
            if position is not None and end is not None:
                found[partition] = self._behind(partition, position, end, windows)
        self._add_up(ends, places, found)
        return found

    def _add_up(
        self,
        ends: Mapping[TopicPartition, int],
        places: Mapping[int, TopicPartition],
        found: Mapping[int, Behind],
    ) -> None:
        """What came is how far the ends moved; a partition that has just come to this consumer moved nothing."""
        now = {one: end for one, place in places.items() if (end := ends.get(place)) is not None}
        for partition, end in now.items():
            num_arrived = end - self._ends_before.get(partition, end)
            self._arrived_s += num_arrived * self._length_s(partition)
        self._ends_before = now
        lengths_s = [0.0 if one.num_segments == 0 else one.video_s for one in found.values()]
        is_known = len(found) == len(places) and None not in lengths_s
        behind_s = sum(length_s or 0.0 for length_s in lengths_s) if is_known else None
        self.video = Video(behind_s, self._arrived_s, self._answered_s)

    def _length_s(self, partition: int) -> float:
        """Mean length of its latest segments, else of all; 0 before any is known."""
        return self._means_s.get(partition, self._mean_s).value

    def _position(self, place: TopicPartition) -> int | None:
        """Which record comes next from the broker; `position` would ask it, and wait."""
        state = self._consumer._subscription.assignment.get(place)
        return None if state is None or state.position is None else int(state.position.offset)

    def _behind(self, partition: int, position: int, end: int, windows: Windows[Any]) -> Behind:
        head = next(iter(windows.heads([partition])), None)
        # Without a window all before the position is answered; it also steps over the marks of transactions.
        num_segments = max(0, end - (position if head is None else head.offset))
        now_s = time.time()
        if head is not None:
            self._since_s[partition] = head.written_s
        elif num_segments:
            self._since_s.setdefault(partition, now_s)
        else:
            self._since_s.pop(partition, None)
        age_s = max(0.0, now_s - self._since_s.get(partition, now_s))
        video_s = self._length_s(partition) * num_segments if self._mean_s.num_values else None
        return Behind(num_segments, video_s, age_s)
