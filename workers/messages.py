"""What is read from the input topic and what is written for it: an event or a dead letter, never neither.

Knows the headers of INTERFACES section 3. Does not know Kafka's client, nor how an answer came about.
"""

import traceback
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Literal

from pipelines.errors import RetryableError, SegmentError, Stage
from pipelines.events import AffectEvent, Source, cloud_event_headers
from pipelines.segment import Header, IncomingSegment

FailureKind = Literal["segment", "transient", "unexpected", "displaced", "death"]

MAX_REASON_BYTES = 8192
"""Longest `dlq-message`, its end kept: a traceback says most in its last lines."""


@dataclass(frozen=True)
class Record:
    """A message of the input topic."""

    topic: str
    partition: int
    offset: int
    key: bytes | None
    value: bytes | None
    headers: tuple[Header, ...]

    @property
    def place(self) -> str:
        """Where it is, as every log line names it."""
        return f"{self.topic}[{self.partition}] {self.offset}"

    @property
    def source(self) -> Source:
        """Where it is, as its event names it."""
        return Source(topic=self.topic, partition=self.partition, offset=self.offset)

    @property
    def num_bytes(self) -> int:
        """What it weighs against `flow.max_in_flight_bytes`."""
        headers = sum(len(name) + len(value) for name, value in self.headers)
        return len(self.key or b"") + len(self.value or b"") + headers

    @property
    def traceparent(self) -> bytes | None:
        """The producer's W3C trace context, if it sent one."""
        return dict(self.headers).get("traceparent")


@dataclass(frozen=True)
class Work:
    """What a try at one segment needs to know.

    Attributes:
        incoming: The segment.
        source: Where it was read.
        traceparent: The trace context to carry through.
        budget_s: How long it may still be worked on.
    """

    incoming: IncomingSegment
    source: Source
    traceparent: bytes | None
    budget_s: float


@dataclass(frozen=True)
class Failure:
    """Why one try did not lead to an event. Data, because it crosses process borders as a result.

    Attributes:
        stage: Where it failed.
        error: Class of the error.
        message: What is wrong, or the traceback of what should not have happened.
        kind: What it means. "segment": the segment is at fault, no retry helps. "transient": it may pass.
            "unexpected": a bug. "displaced": nothing is wrong with this segment, it was not even begun.
            "death": a process died while it had the segment, maybe because of another one.
        elapsed_s: How long the segment was worked on.
        replica_died: Whether the process was a whole replica, which takes some seconds to come back.
    """

    stage: Stage
    error: str
    message: str
    kind: FailureKind
    elapsed_s: float = 0.0
    replica_died: bool = False


def failure_of(error: Exception, stage: Stage, elapsed_s: float = 0.0) -> Failure:
    """What an exception means for the segment.

    Args:
        error: Caught while working on it.
        stage: Where, unless the error says so itself.
        elapsed_s: How long the segment was worked on.
    """
    name = type(error).__name__
    match error:
        case SegmentError():
            return Failure(error.stage, name, error.message, "segment", elapsed_s)
        case RetryableError():
            return Failure(error.stage, name, error.message, "transient", elapsed_s)
    text = "".join(traceback.format_exception(error))
    return Failure(stage, name, text, "unexpected", elapsed_s)


@dataclass(frozen=True)
class Measured:
    """What is told about the making of an event beside its message.

    Attributes:
        duration_s: Length of the segment, as video.
        timings_s: Time of each stage.
        made_s: When it was made; seconds since 1970.
    """

    duration_s: float
    timings_s: Mapping[str, float]
    made_s: float


@dataclass(frozen=True)
class Answer:
    """A record's one answer, ready to be published.

    Attributes:
        key: The key of the message.
        value: Its value.
        headers: Its headers.
        failure: None for an event; for a dead letter why it is one.
        measured: Of an event; None for a dead letter.
    """

    key: bytes | None
    value: bytes | None
    headers: tuple[Header, ...]
    failure: Failure | None = None
    measured: Measured | None = None

    @property
    def traceparent(self) -> bytes | None:
        """The producer's W3C trace context, carried through."""
        return dict(self.headers).get("traceparent")


def event_answer(event: AffectEvent, time: datetime, traceparent: bytes | None) -> Answer:
    """An event as its message.

    Args:
        event: The event.
        time: When it was made, with a time zone.
        traceparent: The segment's trace context, carried through.
    """
    headers = cloud_event_headers(event, time, traceparent)
    value = event.model_dump_json().encode()
    measured = Measured(event.duration_s, event.timings_s, time.timestamp())
    return Answer(event.stream_id.encode(), value, tuple(headers), measured=measured)


def dead_letter(record: Record, failure: Failure, num_attempts: int, time: datetime) -> Answer:
    """A record as its dead letter: key, value and headers untouched, and why.

    Args:
        record: The record.
        failure: What went wrong, the last time.
        num_attempts: How often it was tried.
        time: Now, with a time zone.
    """
    reason = failure.message.encode()[-MAX_REASON_BYTES:].decode(errors="ignore")
    explanation = {
        "dlq-stage": failure.stage,
        "dlq-error": failure.error,
        "dlq-message": reason,
        "dlq-source-topic": record.topic,
        "dlq-source-partition": str(record.partition),
        "dlq-source-offset": str(record.offset),
        "dlq-attempts": str(num_attempts),
        "dlq-time": time.isoformat().replace("+00:00", "Z"),
    }
    headers = tuple((name, text.encode()) for name, text in explanation.items())
    return Answer(record.key, record.value, record.headers + headers, failure)
