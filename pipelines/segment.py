"""A segment: what a producer puts on the input topic, parsed and checked.

Knows the message's two forms (by reference, inline). Does not know Kafka's client, nor where media come from.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from pipelines.errors import SegmentError

Header = tuple[str, bytes]

SEGMENT_HEADER = "hctdmg-segment"
"""Header that holds the fields of an inline segment as a JSON object."""

INLINE_CONTENT_TYPES = ("video/mp4", "video/mp2t", "video/mpeg", "video/webm", "video/x-matroska")
"""Content types whose value is the media itself; any "audio/..." is one too."""

Seconds = Annotated[float, Field(ge=0, allow_inf_nan=False)]
Identifier = Annotated[str, Field(min_length=1, max_length=512)]


class Word(BaseModel):
    """A word with its times in seconds from the segment's start."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    word: str
    start_s: Seconds
    end_s: Seconds

    @model_validator(mode="after")
    def _ends_after_start(self) -> "Word":
        if self.end_s < self.start_s:
            raise ValueError(
                f"word {self.word!r} ends at {self.end_s} s, before its start at {self.start_s} s"
            )
        return self


class Transcript(BaseModel):
    """Words with times."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    words: tuple[Word, ...]


class Segment(BaseModel):
    """One short piece of a stream.

    Attributes:
        stream_id: The stream; also the message's key.
        segment_id: Unique within the stream.
        sequence: Running number within the stream.
        start_s: Where the segment begins in its stream, seconds.
        duration_s: Its length in seconds; None means whatever the media says.
        uri: Where the media are; None for an inline segment.
        sha256: Expected digest of the media, lower-case hex.
        size_bytes: Expected size of the media.
        language: BCP 47 tag of the spoken language.
        transcript: None when not known, plain text, or words with times.
    """

    # Producers may add fields of their own; a reader of version 1.0 ignores them.
    model_config = ConfigDict(frozen=True, extra="ignore")

    stream_id: Identifier
    segment_id: Identifier
    sequence: Annotated[int, Field(ge=0)] = 0
    start_s: Seconds = 0.0
    duration_s: Seconds | None = None
    uri: Annotated[str, Field(min_length=1, max_length=4096)] | None = None
    sha256: Annotated[str, Field(pattern="^[0-9a-f]{64}$")] | None = None
    size_bytes: Annotated[int, Field(ge=0)] | None = None
    language: Annotated[str, Field(max_length=64)] | None = None
    transcript: Transcript | str | None = None


@dataclass(frozen=True)
class IncomingSegment:
    """A parsed message: the segment, and its media when they came inline."""

    segment: Segment
    inline: bytes | None = None


def parse_segment(value: bytes | None, headers: Sequence[Header]) -> IncomingSegment:
    """Read a Kafka message's value and headers.

    Raises:
        SegmentError: Stage "parse"; the message names the field and what is wrong with it.
    """
    by_name = dict(headers)
    content_type = (
        by_name.get("content-type", b"application/json").decode("latin-1").split(";")[0].strip().lower()
    )
    if value is None:
        raise SegmentError("parse", "the message has no value")
    if content_type == "application/json":
        segment = _segment_from_json(value, "value")
        if segment.uri is None:
            raise SegmentError("parse", "uri: required in a segment by reference")
        return IncomingSegment(segment)
    if content_type in INLINE_CONTENT_TYPES or content_type.startswith("audio/"):
        metadata = by_name.get(SEGMENT_HEADER)
        if metadata is None:
            raise SegmentError("parse", f"inline segment without its {SEGMENT_HEADER!r} header")
        return IncomingSegment(_segment_from_json(metadata, f"header {SEGMENT_HEADER!r}"), value)
    known = ", ".join(("application/json", *INLINE_CONTENT_TYPES, "audio/*"))
    raise SegmentError("parse", f"unknown content-type {content_type[:100]!r}; use one of {known}")


def _segment_from_json(text: bytes, where: str) -> Segment:
    try:
        return Segment.model_validate_json(text, strict=True)
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False)[0]
        path = ".".join(str(part) for part in first["loc"]) or where
        raise SegmentError("parse", f"{path}: {first['msg']}"[:500]) from None
