import json
import uuid
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import jsonschema
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipelines.events import (
    Affect,
    AffectEvent,
    Incongruity,
    ModalityReport,
    ModelInfo,
    Reading,
    Sentiment,
    Source,
    cloud_event_headers,
    event_id,
)
from pipelines.schemas import drifted, load_schema
from pipelines.segment import parse_segment

BASELINE = Path(__file__).parent / "baseline"

names = st.text(min_size=1, max_size=8)
probabilities = st.floats(0, 1)
scores = st.floats(-3, 3)
readings = st.none() | st.builds(Reading, score=scores, confidence=probabilities)
events = st.builds(
    AffectEvent,
    event_id=st.uuids().map(str),
    sequence=st.integers(0, 2**40),
    start_s=st.floats(0, 1e9),
    duration_s=st.floats(0, 1e6),
    affect=st.builds(
        Affect,
        sentiment=st.none() | st.builds(Sentiment, score=scores, lower=scores, upper=scores),
        emotions=st.none() | st.dictionaries(names, probabilities),
    ),
    incongruity=st.builds(
        Incongruity,
        score=st.none() | probabilities,
        threshold=probabilities,
        readings=st.dictionaries(names, readings),
    ),
    modalities=st.dictionaries(
        names,
        st.builds(
            ModalityReport, quality=probabilities, gate_weight=probabilities, num_steps=st.integers(0, 10**6)
        ),
    ),
    model=st.builds(ModelInfo),
    source=st.none() | st.builds(Source, partition=st.integers(0, 2**31), offset=st.integers(0, 2**63 - 1)),
    timings_s=st.dictionaries(names, st.floats(0, 1e6)),
)


def test_the_committed_schemas_are_those_of_the_models() -> None:
    assert drifted() == [], "run python -m pipelines.schemas"


@settings(max_examples=40, deadline=None)
@given(events)
def test_every_event_satisfies_its_schema_and_the_one_first_released(event: AffectEvent) -> None:
    message = json.loads(event.model_dump_json())
    jsonschema.validate(message, load_schema("affect-event-1.0.json"))
    jsonschema.validate(message, json.loads((BASELINE / "affect-event-1.0.schema.json").read_text()))
    assert AffectEvent.model_validate(message) == event


def test_an_event_of_the_first_release_is_still_read() -> None:
    text = (BASELINE / "affect-event-1.0.example.json").read_text()
    jsonschema.validate(json.loads(text), load_schema("affect-event-1.0.json"))
    assert AffectEvent.model_validate_json(text).incongruity.pair == ("text", "vision")


def test_a_segment_of_the_first_release_is_still_read() -> None:
    value = (BASELINE / "segment-1.0.example.json").read_bytes()
    jsonschema.validate(json.loads(value), load_schema("segment-1.0.json"))
    assert parse_segment(value, []).segment.segment_id == "cam-7/42"


def test_a_reader_with_the_schema_accepts_fields_of_a_later_1_x() -> None:
    message = _example()
    message["added"] = 1
    message["affect"]["added"] = {"more": 2}
    jsonschema.validate(message, load_schema("affect-event-1.0.json"))


@pytest.mark.parametrize(
    ("path", "value"),
    [
        (("affect", "sentiment", "score"), 3.5),
        (("incongruity", "status"), "unsure"),
        (("modalities", "text", "gate_weight"), -0.1),
        (("source", "offset"), -1),
        (("stream_id",), None),
        (("schema_version",), "2.0"),
    ],
)
def test_the_schema_refuses_what_the_model_refuses(path: tuple[str, ...], value: Any) -> None:
    message = _example()
    parent = message
    for key in path[:-1]:
        parent = parent[key]
    parent[path[-1]] = value
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.validate(message, load_schema("affect-event-1.0.json"))
    with pytest.raises(ValueError, match=path[-1]):
        AffectEvent.model_validate_json(json.dumps(message))


def test_the_event_id_is_fixed_by_stream_segment_and_checkpoint() -> None:
    # Written down once: another value would mean that replays no longer repeat the ids they had.
    assert event_id("cam-7", "cam-7/42", "0" * 64) == _example()["event_id"]
    assert uuid.UUID(event_id("a", "b", "c")).version == 5


@given(*[st.text(max_size=4)] * 6)
def test_different_segments_have_different_event_ids(a: str, b: str, c: str, d: str, e: str, f: str) -> None:
    assert (event_id(a, b, c) == event_id(d, e, f)) == ((a, b, c) == (d, e, f))


def test_headers_are_cloud_events_in_binary_mode_and_carry_the_trace() -> None:
    event = AffectEvent.model_validate(_example())
    time = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)
    headers = dict(cloud_event_headers(event, time, b"00-abc-def-01"))
    assert headers == {
        "ce_specversion": b"1.0",
        "ce_id": event.event_id.encode(),
        "ce_type": b"dev.hctdmg.affect.v1",
        "ce_source": b"/hctdmg/hct-dmg-starter",
        "ce_subject": b"cam-7/42",
        "ce_time": b"2026-01-02T03:04:05Z",
        "content-type": b"application/json",
        "traceparent": b"00-abc-def-01",
    }
    assert "traceparent" not in dict(cloud_event_headers(event, time, None))


def _example() -> dict[str, Any]:
    example: dict[str, Any] = json.loads((BASELINE / "affect-event-1.0.example.json").read_text())
    return example
