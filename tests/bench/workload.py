"""The segments of the benchmark: real faces in 720p30, by reference, each clip in turn and each partition in turn.

Every contender gets the same messages. Does not know who works them off.
"""

import json
import statistics
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from confluent_kafka import Consumer

from pipelines.segment import Header
from tests.bench.delivery import received
from tests.bench.stages import TRANSCRIPT
from tests.topics import Message, Topics

NUM_PARTITIONS = 4
HEADERS: tuple[Header, ...] = (("content-type", b"application/json"),)


@dataclass(frozen=True)
class Workload:
    """Any number of segments.

    Attributes:
        clips: Their media, all in one folder.
    """

    clips: tuple[Path, ...]

    @property
    def folder(self) -> Path:
        """The clips' folder, which `media.allowed_roots` must name."""
        return self.clips[0].parent

    def value(self, number: int) -> bytes:
        """A segment's message."""
        fields = {
            "stream_id": f"stream-{number % NUM_PARTITIONS}",
            "segment_id": f"bench/{number}",
            "sequence": number,
            "uri": self.clips[number % len(self.clips)].as_uri(),
            "transcript": TRANSCRIPT,
        }
        return json.dumps(fields).encode()

    def message(self, number: int) -> Message:
        """The same, for the input topic."""
        partition = number % NUM_PARTITIONS
        return Message(partition, f"stream-{partition}".encode(), self.value(number), HEADERS)

    def send(self, topics: Topics, numbers: range) -> None:
        """Publish them at once."""
        topics.send([self.message(number) for number in numbers])


def answered_s(reader: Consumer, number: int) -> list[float]:
    """When each of so many events was written, in seconds since 1970, the earliest first."""
    return sorted(message.timestamp()[1] / 1000 for message in received(reader, number))


def steady_rate(times_s: Sequence[float], ramp: int, number: int) -> float:
    """Events a second of a backlog while all are busy: by the line through their times.

    Answers come in clumps, as they are published together; a line through all of them depends less on where the first
    and the last clump end than the time between two events does.

    Args:
        times_s: When each came, in order.
        ramp: So many at the begin do not count; as many or more at the end do not, for want of work for all.
        number: Those between.
    """
    counted_s = times_s[ramp - 1 : ramp + number]
    return 1 / statistics.linear_regression(range(len(counted_s)), counted_s).slope


def in_lots(
    topics: Topics, reader: Consumer, workload: Workload, first: int, size: int, number: int
) -> list[float]:
    """Small arrivals for one who waits for them: the next lot comes when the last one is answered.

    Args:
        topics: Where they go.
        reader: Of the answers.
        workload: The segments.
        first: The first one's number.
        size: Segments of a lot.
        number: Lots.

    Returns:
        The seconds that each lot took.
    """
    seconds = []
    for begin in range(first, first + size * number, size):
        begun_s = time.monotonic()
        workload.send(topics, range(begin, begin + size))
        answered_s(reader, size)
        seconds.append(time.monotonic() - begun_s)
    return seconds
