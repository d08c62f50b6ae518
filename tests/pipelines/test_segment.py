import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipelines.errors import SegmentError
from pipelines.segment import (
    INLINE_CONTENT_TYPES,
    SEGMENT_HEADER,
    Header,
    IncomingSegment,
    Transcript,
    parse_segment,
)

FIELDS: dict[str, Any] = {"stream_id": "cam-7", "segment_id": "cam-7/42", "uri": "file:///media/cam-7/42.mp4"}


def value(**changed: Any) -> bytes:
    return json.dumps(FIELDS | changed).encode()


def without(name: str) -> bytes:
    return json.dumps({key: content for key, content in FIELDS.items() if key != name}).encode()


def refusal(message: bytes | None, headers: list[Header] | None = None) -> str:
    """The one line that says why a message is no segment."""
    with pytest.raises(SegmentError) as caught:
        parse_segment(message, headers or [])
    assert caught.value.stage == "parse"
    assert "\n" not in caught.value.message
    assert len(caught.value.message) <= 500
    return caught.value.message


def test_a_segment_by_reference_needs_three_fields() -> None:
    incoming = parse_segment(value(), [])
    assert incoming.inline is None
    assert incoming.segment.uri == FIELDS["uri"]
    assert (incoming.segment.sequence, incoming.segment.start_s, incoming.segment.duration_s) == (
        0,
        0.0,
        None,
    )
    assert incoming.segment.transcript is None
    for name in FIELDS:
        assert name in refusal(without(name))


def test_all_fields_are_read() -> None:
    words = {"words": [{"word": "hi", "start_s": 0, "end_s": 0.5}]}
    segment = parse_segment(
        value(
            sequence=42,
            start_s=1.7e9,
            duration_s=5,
            sha256="0" * 64,
            size_bytes=7,
            language="en",
            transcript=words,
        ),
        [("content-type", b"application/json; charset=utf-8"), ("traceparent", b"00-1-2-01")],
    ).segment
    assert (segment.sequence, segment.start_s, segment.duration_s) == (42, 1.7e9, 5.0)
    assert isinstance(segment.transcript, Transcript)
    assert segment.transcript.words[0].end_s == 0.5
    assert parse_segment(value(transcript="hi"), []).segment.transcript == "hi"


def test_fields_of_a_producer_s_own_are_ignored() -> None:
    assert parse_segment(value(room="kitchen", nested={"a": [1]}), []) == parse_segment(value(), [])


@pytest.mark.parametrize("content_type", [*INLINE_CONTENT_TYPES, "audio/wav", "VIDEO/MP4; codecs=avc1"])
def test_inline_media_come_with_their_fields_in_a_header(content_type: str) -> None:
    fields = json.dumps({"stream_id": "a", "segment_id": "a/0"}).encode()
    headers = [("content-type", content_type.encode()), (SEGMENT_HEADER, fields)]
    incoming = parse_segment(b"\x00media", headers)
    assert incoming.inline == b"\x00media"
    assert incoming.segment.segment_id == "a/0"
    capitals = [(name.title(), content) for name, content in headers]
    assert parse_segment(b"\x00media", capitals) == incoming


@pytest.mark.parametrize("header", [None, b"", b"\xff\xfe", b"[]", b'{"stream_id": "a"}'])
def test_inline_media_without_readable_fields_are_refused(header: bytes | None) -> None:
    headers: list[Any] = [("content-type", b"video/mp4"), (SEGMENT_HEADER, header)]
    message = refusal(b"media", headers)
    assert SEGMENT_HEADER in message or "segment_id" in message


def test_headers_without_a_value_count_as_absent() -> None:
    headers: list[Any] = [("content-type", None), ("traceparent", None)]
    assert parse_segment(value(), headers) == parse_segment(value(), [])


@pytest.mark.parametrize("content_type", [b"", b"text/plain", b"\xff\x00", b"video/quicktime", b"x" * 10_000])
def test_an_unknown_content_type_is_named_with_those_known(content_type: bytes) -> None:
    assert "use one of application/json, video/mp4" in refusal(value(), [("content-type", content_type)])


@pytest.mark.parametrize(
    "message",
    [
        b"",
        b"null",
        b"[]",
        b"1",
        b'"text"',
        b"{",
        b"not json",
        b"\x00\x01\x02",
        b"\xff\xfe{\x00}\x00",
        b"\xef\xbb\xbf" + value(),
        value() + b"{}",
        value()[:-1],
        value().replace(b"cam-7", b"\xff"),
        value().replace(b"cam-7", b"\\ud800"),
        b"[" * 1_000_000,
        b'{"stream_id":' * 100_000,
        value(nested=None).replace(b"null", b"[" * 5000 + b"]" * 5000),
    ],
    ids=lambda message: repr(message[:20]),
)
def test_what_is_no_json_object_is_refused(message: bytes) -> None:
    assert refusal(message).startswith("value: ")


def test_a_message_without_a_value_is_refused() -> None:
    assert "no value" in refusal(None)


WORD = {"word": "a", "start_s": 1.0, "end_s": 2.0}


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("stream_id", ""),
        ("stream_id", None),
        ("stream_id", 7),
        ("stream_id", "a\x00b"),
        ("segment_id", "two\nlines"),
        ("segment_id", "x" * 513),
        ("segment_id", ["a"]),
        ("sequence", -1),
        ("sequence", 1.5),
        ("sequence", "1"),
        ("sequence", True),
        ("sequence", 2**63),
        ("sequence", 10**4000),
        ("start_s", -0.1),
        ("start_s", float("nan")),
        ("start_s", float("inf")),
        ("start_s", "0"),
        ("start_s", 1e308),
        ("duration_s", -1),
        ("duration_s", float("nan")),
        ("duration_s", 1e308),
        ("uri", ""),
        ("uri", 5),
        ("uri", "file:///" + "x" * 5000),
        ("sha256", "0" * 63),
        ("sha256", "A" * 64),
        ("sha256", "0" * 64 + "\n"),
        ("size_bytes", -1),
        ("size_bytes", 2**70),
        ("language", "x" * 65),
        ("transcript", 5),
        ("transcript", ["a"]),
        ("transcript", {}),
        ("transcript", {"words": "a"}),
        ("transcript", {"words": [WORD], "more": 1}),
        ("transcript", {"words": [WORD | {"end_s": 0.5}]}),
        ("transcript", {"words": [WORD | {"end_s": float("inf")}]}),
        ("transcript", {"words": [WORD | {"start_s": None}]}),
        ("transcript", {"words": [WORD | {"word": 1}]}),
        ("transcript", "a" * 100_001),
        ("transcript", {"words": [WORD | {"word": "a" * 50_001}] * 2}),
    ],
)
def test_a_field_that_is_wrong_is_named(name: str, content: object) -> None:
    message = refusal(value(**{name: content}))
    assert message.startswith(name)


def test_a_message_shows_short_values_and_no_uri() -> None:
    assert "(got 1.5)" in refusal(value(sequence=1.5))
    assert "(got 'AB')" in refusal(value(sha256="AB"))
    assert "hunter2" not in refusal(value(uri="http://user:hunter2@host/" + "x" * 5000))
    assert len(refusal(value(language="x" * 100_000))) < 200


def test_blanks_and_any_script_are_welcome_in_ids() -> None:
    assert parse_segment(value(stream_id="Küche 本"), []).segment.stream_id == "Küche 本"


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=8,
)


@given(
    st.dictionaries(st.sampled_from([*FIELDS, "sequence", "start_s", "transcript", "sha256"]), json_values)
)
def test_any_fields_give_a_segment_or_a_segment_error(fields: dict[str, Any]) -> None:
    _outcome(json.dumps(FIELDS | fields).encode(), [])


@given(
    st.binary(max_size=200) | st.none(),
    st.lists(
        st.tuples(st.sampled_from(["content-type", SEGMENT_HEADER]), st.none() | st.binary(max_size=60))
    ),
)
def test_any_message_gives_a_segment_or_a_segment_error(
    message: bytes | None, headers: list[tuple[str, Any]]
) -> None:
    _outcome(message, headers)


def _outcome(message: bytes | None, headers: list[Header]) -> IncomingSegment | None:
    try:
        return parse_segment(message, headers)
    except SegmentError as error:
        if error.stage != "parse" or len(error.message) > 500:
            raise
        return None
