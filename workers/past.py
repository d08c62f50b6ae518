"""What was tried with the records in flight, kept where it outlives the consumer: in the commit metadata.

Kafka stores up to 4,096 bytes beside each committed offset. There goes, as JSON, what is known of the records
from that offset on, if there is anything to know: most records are answered at the first try.

    {"hctdmg": 1, "tried": {"1187": [3, 0, 1, true, 2.5]}}      the fields of `Past`, in their order

Knows how it is written. Knows neither Kafka's client nor the rules of trying.
"""

from collections.abc import Mapping
from dataclasses import astuple, dataclass, replace
from typing import Annotated, Literal, NamedTuple

from pydantic import BaseModel, ConfigDict, Field, ValidationError

MAX_METADATA_BYTES = 4096
"""The broker's default of `offset.metadata.max.bytes`."""

Number = Annotated[int, Field(ge=0)]


@dataclass(frozen=True)
class Past:
    """What was tried with one segment so far.

    Attributes:
        num_attempts: How often it was tried.
        num_transient: How often that failed by something outside that may pass.
        num_deaths: How many processes died of it while they had it alone.
        is_suspect: Whether it may be tried only alone.
        spent_s: How long it was worked on, waits between tries included.
    """

    num_attempts: int = 0
    num_transient: int = 0
    num_deaths: int = 0
    is_suspect: bool = False
    spent_s: float = 0.0


NOTHING = Past()

Pasts = Mapping[int, Past]
"""What is known of the records of one partition, by offset."""


class _Fields(NamedTuple):
    """`Past` as written."""

    num_attempts: Number
    num_transient: Number
    num_deaths: Number
    is_suspect: bool
    spent_s: Annotated[float, Field(ge=0, allow_inf_nan=False)]


class _Document(BaseModel):
    """The commit metadata."""

    model_config = ConfigDict(extra="forbid")

    hctdmg: Literal[1] = 1
    tried: dict[Number, _Fields]


class ForeignMetadataError(ValueError):
    """The commit metadata are not ours, or damaged."""


def write_pasts(pasts: Pasts) -> str:
    """As commit metadata; empty when there is nothing to know.

    When it would be too long, the newest records are left out: the oldest hold back their partition.
    """
    known = {
        offset: replace(past, spent_s=round(past.spent_s, 3))
        for offset, past in sorted(pasts.items())
        if past != NOTHING
    }
    while known:
        fields = {offset: _Fields(*astuple(past)) for offset, past in known.items()}
        text = _Document(tried=fields).model_dump_json()
        if len(text) <= MAX_METADATA_BYTES:
            return text
        num_kept = min(len(known) - 1, len(known) * MAX_METADATA_BYTES // len(text))
        known = dict(list(known.items())[:num_kept])
    return ""


def read_pasts(text: str | None) -> dict[int, Past]:
    """From commit metadata.

    Raises:
        ForeignMetadataError: They say something else.
    """
    if not text:
        return {}
    try:
        tried = _Document.model_validate_json(text).tried
    except ValidationError as error:
        raise ForeignMetadataError(f"{text[:100]!r}: {error.errors()[0]['msg']}") from None
    return {offset: Past(*fields) for offset, fields in tried.items()}
