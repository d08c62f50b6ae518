"""A segment: what a producer puts on the input topic, parsed and checked.

Knows the message's two forms (by reference, inline). Does not know Kafka's client, nor where media come from.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator, model_validator

from pipelines.errors import SegmentError

Header = tuple[str, bytes]

SEGMENT_HEADER = "hctdmg-segment"
"""Header that holds the fields of an inline segment as a JSON object."""

INLINE_CONTENT_TYPES = ("video/mp4", "video/mp2t", "video/mpeg", "video/webm", "video/x-matroska")
"""Content types whose value is the media itself; any "audio/..." is one too."""

MAX_STREAM_S = 1e12
"""Room for times counted from 1970 (1.8e9 s); a larger one is damage."""
MAX_SEGMENT_S = 86_400.0
"""A day: more than any transcript or segment spans, and little enough to reckon with safely."""
MAX_COUNT = 2**63 - 1
"""The largest whole number that every reader of JSON events can be expected to store."""
MAX_TRANSCRIPT_CHARACTERS = 100_000
"""Two hours of fast speech; a segment holds seconds."""

StreamSeconds = Annotated[float, Field(ge=0, le=MAX_STREAM_S, allow_inf_nan=False)]
Seconds = Annotated[float, Field(ge=0, le=MAX_SEGMENT_S, allow_inf_nan=False)]
Count = Annotated[int, Field(ge=0, le=MAX_COUNT)]
# Without control characters, which CloudEvents' attributes may not hold (an id becomes ce_subject).
Identifier = Annotated[str, Field(min_length=1, max_length=512, pattern=r"^[^\x00-\x1f\x7f-\x9f]+$")]


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
    sequence: Count = 0
    start_s: StreamSeconds = 0.0
    duration_s: Seconds | None = None
    uri: Annotated[str, Field(min_length=1, max_length=4096)] | None = None
    sha256: Annotated[str, Field(pattern="^[0-9a-f]{64}$")] | None = None
    size_bytes: Count | None = None
    language: Annotated[str, Field(max_length=64)] | None = None
    transcript: Transcript | str | None = None

    @field_validator("transcript")
    @classmethod
    def _is_of_a_segment(cls, given: Transcript | str | None) -> Transcript | str | None:
        text = given if isinstance(given, str | None) else "".join(word.word for word in given.words)
        if len(text or "") > MAX_TRANSCRIPT_CHARACTERS:
            raise ValueError(
                f"holds {len(text or '')} characters, limit {MAX_TRANSCRIPT_CHARACTERS}; "
                "send each segment with its own words only"
            )
        return given


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
    if value is None:
        raise SegmentError("parse", "the message has no value; send a segment, or nothing")
    # Kafka allows headers without a value; http's habit of writing names in capitals does no harm here.
    by_name = {name.lower(): content for name, content in headers if content is not None}
    content_type = _media_type(by_name.get("content-type", b"application/json"))
    if content_type == "application/json":
        segment = _segment_from_json(value, "value")
        if segment.uri is None:
            raise SegmentError(
                "parse", "uri: required in a segment by reference; send the media inline instead"
            )
        return IncomingSegment(segment)
    if content_type in INLINE_CONTENT_TYPES or content_type.startswith("audio/"):
        metadata = by_name.get(SEGMENT_HEADER)
        if metadata is None:
            raise SegmentError(
                "parse", f"inline segment without its {SEGMENT_HEADER!r} header; put the fields there as JSON"
            )
        return IncomingSegment(_segment_from_json(metadata, f"header {SEGMENT_HEADER!r}"), value)
    known = ", ".join(("application/json", *INLINE_CONTENT_TYPES, "audio/*"))
    raise SegmentError("parse", f"unknown content-type {content_type[:100]!r}; use one of {known}")


def _segment_from_json(text: bytes, where: str) -> Segment:
    try:
        return Segment.model_validate_json(text, strict=True)
    except ValidationError as error:
        raise SegmentError("parse", _explain(error.errors(include_url=False)[0], where)) from None


def _media_type(content_type: bytes) -> str:
    return content_type.decode("latin-1").split(";")[0].strip().lower()


def _explain(problem: Mapping[str, Any], where: str) -> str:
    """One line: the field, what is wrong with it, and the value where it is short and no secret."""
    path = ".".join(str(part) for part in problem["loc"] if part != "Transcript")
    message = problem["msg"].removeprefix("Value error, ")
    got = "" if path in ("", "uri") else _shown(problem["input"])
    return f"{path or where}: {message}{got}"[:500]


def _shown(value: object) -> str:
    if isinstance(value, int) and abs(value) > MAX_COUNT:
        return " (got a larger number)"  # Python refuses to write out thousands of digits
    if isinstance(value, str):
        return f" (got {value[:60]!r})"
    return f" (got {value!r})" if isinstance(value, int | float | None) else ""
