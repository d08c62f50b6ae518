"""An affect event: what a consumer reads from the output topic, and its CloudEvents headers.

Knows the message's shape and its identity. Does not know Kafka's client, nor how the numbers came about.
"""

import json
import uuid
from collections.abc import Mapping
from datetime import datetime
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field

from pipelines.segment import Header

SCHEMA_VERSION: Literal["1.0"] = "1.0"
EVENT_TYPE = "dev.hctdmg.affect.v1"
EVENT_NAMESPACE = uuid.uuid5(uuid.NAMESPACE_DNS, "affect.hctdmg.dev")
"""Namespace of every event_id. Fixed for ever: with another one, replays would no longer repeat their ids."""

Score = Annotated[float, Field(ge=-3, le=3, allow_inf_nan=False)]
Probability = Annotated[float, Field(ge=0, le=1, allow_inf_nan=False)]
Role = Literal["primary", "auxiliary", "absent"]
IncongruityStatus = Literal["congruent", "incongruent", "insufficient_evidence"]


class _Message(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class Sentiment(_Message):
    """Sentiment on CMU's scale: -3 strongly negative to 3 strongly positive, with a calibrated 80 % interval."""

    score: Score
    lower: Score
    upper: Score


class Affect(_Message):
    """The fused answer. All fields are null when no modality had anything to read.

    Attributes:
        label: "negative", "neutral" or "positive" for sentiment; the likeliest emotion for a checkpoint of emotions.
        emotions: Calibrated probability of each emotion.
    """

    label: str | None
    sentiment: Sentiment | None
    emotions: dict[str, Probability] | None


class Reading(_Message):
    """What one modality says on its own.

    Attributes:
        score: Sentiment; null for a checkpoint of emotions.
        label: The class it reads: "negative", "neutral" or "positive", or an emotion.
        confidence: Calibrated probability that the reading's class (negative, neutral, positive) is right.
    """

    score: Score | None
    confidence: Probability
    label: str | None = None


class Incongruity(_Message):
    """Whether the modalities contradict each other.

    Attributes:
        status: "insufficient_evidence" when fewer than two readings are confident; flag is then false, score null.
        score: Widest distance between two confident readings over the label range.
        threshold: The flag is set at this score and above.
        pair: The two modalities that are furthest apart, when incongruent.
        reason: The same in words, when incongruent.
        readings: Each modality's own reading; null for one that is absent.
    """

    status: IncongruityStatus
    flag: bool
    score: Probability | None
    threshold: Probability
    pair: tuple[str, str] | None
    reason: str | None
    readings: dict[str, Reading | None]


class ModalityReport(_Message):
    """What was there of one modality, and what the model made of it.

    Attributes:
        quality: 0 when absent, else the extractor's own estimate of how much there was to see or hear, up to 1.
        num_steps: Steps given to the model.
        gate_weight: The checkpoint's gate weight; the weights of all modalities sum to 1.
    """

    present: bool
    quality: Probability
    num_steps: Annotated[int, Field(ge=0)]
    gate_weight: Probability
    role: Role


class ModelInfo(_Message):
    """Which model answered; `checkpoint_sha256` covers weights and manifest."""

    name: str
    version: str
    checkpoint_sha256: str
    backend: Literal["local", "triton"]


class Source(_Message):
    """The input record that the event answers."""

    topic: str
    partition: Annotated[int, Field(ge=0)]
    offset: Annotated[int, Field(ge=0)]


class AffectEvent(_Message):
    """One segment's answer.

    Attributes:
        event_id: UUIDv5 of stream, segment and checkpoint: a replay with the same checkpoint repeats it.
        source: Null when the segment did not come from Kafka.
        timings_s: Seconds spent in each stage.
    """

    schema_version: Literal["1.0"] = SCHEMA_VERSION
    event_id: str
    stream_id: str
    segment_id: str
    sequence: Annotated[int, Field(ge=0)]
    start_s: Annotated[float, Field(ge=0)]
    duration_s: Annotated[float, Field(ge=0)]
    affect: Affect
    incongruity: Incongruity
    modalities: dict[str, ModalityReport]
    model: ModelInfo
    source: Source | None
    timings_s: dict[str, Annotated[float, Field(ge=0)]]


def event_id(stream_id: str, segment_id: str, checkpoint_sha256: str) -> str:
    """Identity of the answer that one checkpoint gives to one segment."""
    name = json.dumps([stream_id, segment_id, checkpoint_sha256], separators=(",", ":"), ensure_ascii=False)
    return str(uuid.uuid5(EVENT_NAMESPACE, name))


def cloud_event_headers(event: AffectEvent, time: datetime, traceparent: bytes | None) -> list[Header]:
    """CloudEvents 1.0 attributes in Kafka's binary mode.

    Args:
        event: The event that the message's value holds.
        time: When it was made, with a time zone.
        traceparent: The segment's W3C trace context, carried through unchanged.
    """
    attributes: Mapping[str, str] = {
        "ce_specversion": "1.0",
        "ce_id": event.event_id,
        "ce_type": EVENT_TYPE,
        "ce_source": f"/hctdmg/{event.model.name}",
        "ce_subject": event.segment_id,
        "ce_time": time.isoformat().replace("+00:00", "Z"),
        "content-type": "application/json",
    }
    headers = [(name, value.encode()) for name, value in attributes.items()]
    return headers if traceparent is None else [*headers, ("traceparent", traceparent)]
