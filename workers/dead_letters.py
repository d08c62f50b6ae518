"""Dead letters as the tools see them: what a message of the dead-letter topic says, and which are wanted.

The worker appends its own headers to the original ones, `dlq-stage` first (`workers.messages`); whatever comes
before them is the segment's message as its producer sent it, and what a replay puts back. A replay adds two
headers to it, and leaves a marker in the dead letter's own partition: an empty message whose header
`dlq-replayed-of` names the dead letter. So the marker lies behind the letter, and no retention deletes it first.

Knows headers. Does not know Kafka's client.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from pipelines.errors import ConfigError, SegmentError
from pipelines.events import Source
from pipelines.segment import Header, parse_segment
from workers.messages import Record
from workers.rfc3339 import parse_time, time_text

FIRST_HEADER = "dlq-stage"
"""Where the worker's own headers begin."""
MARKER_HEADER = "dlq-replayed-of"
REPLAY_OF_HEADER = "hctdmg-replay-of"
REPLAY_TIME_HEADER = "hctdmg-replay-time"


@dataclass(frozen=True)
class DeadLetter:
    """One dead letter.

    Attributes:
        place: Where it is on the dead-letter topic.
        time: When it was written.
        stage: Where the segment failed.
        error: Class of the error.
        message: What was wrong.
        num_attempts: How often the segment was tried.
        source: Where the segment was on the input topic.
        key: The segment's key.
        value: The segment's value.
        headers: The segment's headers, without the dead letter's own.
        dropped_bytes: Size of the value, when it was too large for the topic and was left out.
        stream_id: Stream of the segment; of one that can't be parsed, its key.
        segment_id: None when it can't be parsed.
    """

    place: Source
    time: datetime
    stage: str
    error: str
    message: str
    num_attempts: int
    source: Source
    key: bytes | None
    value: bytes | None
    headers: tuple[Header, ...]
    dropped_bytes: int | None
    stream_id: str | None
    segment_id: str | None

    @property
    def replay_of(self) -> str | None:
        """The dead letter whose replay failed and became this one."""
        found = dict(self.headers).get(REPLAY_OF_HEADER)
        return None if found is None else found.decode(errors="replace")

    def obstacle(self, input_topic: str) -> str | None:
        """Why it can't be replayed; None when it can.

        Args:
            input_topic: Where a replay would put it.
        """
        if self.dropped_bytes is not None:
            return f"its value ({self.dropped_bytes} bytes) was too large for the dead-letter topic"
        if self.source.topic != input_topic:
            return f"it came from {self.source.topic}, not from kafka.input_topic = {input_topic}"
        return None

    def replay_headers(self, time: datetime) -> list[Header]:
        """The segment's headers, and those of its replay; an earlier replay's stay, before them.

        Args:
            time: Now, with a time zone.
        """
        replay = [
            (REPLAY_OF_HEADER, place_text(self.place).encode()),
            (REPLAY_TIME_HEADER, time_text(time).encode()),
        ]
        return [*self.headers, *replay]


@dataclass(frozen=True)
class Wanted:
    """Which dead letters; an empty set asks for nothing.

    Attributes:
        stages: Stages, any of them.
        errors: Classes of errors, any of them.
        streams: Streams, any of them.
        since: Not older.
        until: Older.
    """

    stages: frozenset[str] = frozenset()
    errors: frozenset[str] = frozenset()
    streams: frozenset[str] = frozenset()
    since: datetime | None = None
    until: datetime | None = None

    def includes(self, letter: DeadLetter) -> bool:
        """Whether a dead letter is wanted."""
        return (
            (not self.stages or letter.stage in self.stages)
            and (not self.errors or letter.error in self.errors)
            and (not self.streams or letter.stream_id in self.streams)
            and (self.since is None or letter.time >= self.since)
            and (self.until is None or letter.time < self.until)
        )


def read_dead_letter(record: Record) -> DeadLetter | None:
    """The dead letter in a message; None when it is none."""
    names = [name for name, _ in record.headers]
    if FIRST_HEADER not in names:
        return None
    # The last one: a producer may have sent a dead letter's headers as its own.
    begin = len(names) - 1 - names[::-1].index(FIRST_HEADER)
    original = record.headers[:begin]
    said = {name: (value or b"").decode(errors="replace") for name, value in record.headers[begin:]}
    try:
        source = Source(
            topic=said["dlq-source-topic"],
            partition=int(said["dlq-source-partition"]),
            offset=int(said["dlq-source-offset"]),
        )
        dropped = said.get("dlq-value-bytes")
        stream_id, segment_id = _ids(record, original)
        return DeadLetter(
            place=record.source,
            time=parse_time(said["dlq-time"]),
            stage=said[FIRST_HEADER],
            error=said["dlq-error"],
            message=said["dlq-message"],
            num_attempts=int(said["dlq-attempts"]),
            source=source,
            key=record.key,
            value=record.value,
            headers=original,
            dropped_bytes=None if dropped is None else int(dropped),
            stream_id=stream_id,
            segment_id=segment_id,
        )
    except (KeyError, ValueError, ConfigError):
        return None


def read_marker(record: Record) -> tuple[int, int] | None:
    """Partition and offset of the dead letter that a marker says was replayed; None when it is no marker.

    A dead letter is none, whatever headers its segment came with; and a marker lies behind what it marks.
    """
    text = dict(record.headers).get(MARKER_HEADER)
    parts = (text or b"").decode(errors="replace").rsplit("/", 2)
    if len(parts) != 3 or not (parts[1].isdecimal() and parts[2].isdecimal()):
        return None
    topic, partition, offset = parts[0], int(parts[1]), int(parts[2])
    is_behind = topic == record.topic and partition == record.partition and offset < record.offset
    return (partition, offset) if is_behind and read_dead_letter(record) is None else None


def marker_headers(place: Source) -> list[Header]:
    """Headers of the message that says that a dead letter was replayed."""
    return [(MARKER_HEADER, place_text(place).encode())]


def place_text(place: Source) -> str:
    """A place on a topic as headers name it."""
    return f"{place.topic}/{place.partition}/{place.offset}"


def _ids(record: Record, headers: Sequence[Header]) -> tuple[str | None, str | None]:
    """Stream and segment, as far as the message tells."""
    try:
        segment = parse_segment(record.value or b"", headers).segment
    except SegmentError:
        return None if record.key is None else record.key.decode(errors="replace"), None
    return segment.stream_id, segment.segment_id
