"""Spans as a collector gets them."""

import subprocess
import sys
import time
from dataclasses import replace

import pytest
from opentelemetry.proto.trace.v1.trace_pb2 import Span, Status

from pipelines.errors import ConfigError
from tests.collector import Collector, collecting
from tests.topics import wait_until
from workers import app, tracing
from workers.config import Settings, TelemetryConfig
from workers.messages import Answer, Failure, Measured
from workers.tracing import Journey, Spans, open_spans

TRACE = "0af7651916cd43dd8448eb211c80319c"
PRODUCER = "b7ad6b7169203331"
TRACEPARENT = f"00-{TRACE}-{PRODUCER}-01".encode()

STAGES_S = {"fetch": 0.01, "decode": 0.2, "extract": 0.3, "align": 0.04, "infer": 0.05}
BEGAN_S = 1_750_000_000.0
EVENT = Answer(b"cam", b"event", (("traceparent", TRACEPARENT),), measured=Measured(5, STAGES_S, BEGAN_S + 1))
JOURNEY = Journey("video.segments", 3, 17, BEGAN_S, BEGAN_S + 1.5, BEGAN_S + 1.6, EVENT)


def drawn(journey: Journey) -> Collector:
    with collecting() as collector:
        spans = open_spans(TelemetryConfig(otlp_endpoint=collector.endpoint), "group.app.0")
        assert spans is not None
        spans.draw(journey)
        spans.close()
        wait_until(lambda: bool(collector.spans), "spans")
    return collector


def seconds(span: Span) -> tuple[float, float]:
    """Begin and end, from when the record was polled."""
    return span.start_time_unix_nano / 1e9 - BEGAN_S, span.end_time_unix_nano / 1e9 - BEGAN_S


def test_an_event_s_stages_hang_on_the_producer_s_span() -> None:
    collector = drawn(JOURNEY)
    whole = collector.wholes()[0]
    assert (whole.trace_id.hex(), whole.parent_span_id.hex()) == (TRACE, PRODUCER)
    assert whole.kind == Span.SPAN_KIND_CONSUMER
    assert seconds(whole) == pytest.approx((0, 1.6), abs=1e-5)
    assert {one.key: one.value for one in whole.attributes}["messaging.kafka.offset"].int_value == 17
    stages = [span for span in collector.spans if span is not whole]
    assert [span.name for span in stages] == [*STAGES_S, "publish"]
    assert {(span.trace_id.hex(), span.parent_span_id) for span in stages} == {(TRACE, whole.span_id)}
    for span in stages[:-1]:
        begin_s, end_s = seconds(span)
        assert end_s - begin_s == pytest.approx(STAGES_S[span.name], abs=1e-5)
    ends = [seconds(span) for span in stages]
    assert [end_s for _, end_s in ends[:4]] == pytest.approx([begin_s for begin_s, _ in ends[1:5]], abs=1e-5)
    assert ends[4][1] == pytest.approx(1.0, abs=1e-5)
    assert ends[5] == pytest.approx((1.5, 1.6), abs=1e-5)
    assert collector.services == ["hctdmg group.app.0"]


def test_a_dead_letter_is_an_error_in_the_producer_s_trace() -> None:
    failure = Failure("decode", "SegmentError", "no video", "segment")
    letter = Answer(b"cam", b"value", (("traceparent", TRACEPARENT), ("dlq-stage", b"decode")), failure)
    collector = drawn(replace(JOURNEY, answer=letter))
    whole = collector.wholes()[0]
    assert (whole.trace_id.hex(), whole.parent_span_id.hex()) == (TRACE, PRODUCER)
    assert (whole.status.code, whole.status.message) == (Status.STATUS_CODE_ERROR, "no video")
    attributes = {one.key: one.value.string_value for one in whole.attributes}
    assert (attributes["error.type"], attributes["hctdmg.stage"]) == ("SegmentError", "decode")
    assert [span.name for span in collector.spans] == ["publish", "video.segments process"]


@pytest.mark.parametrize("header", [None, b"", b"no context", b"\xff\xfe", b"00-" + b"0" * 32 + b"-1-01"])
def test_what_is_no_trace_context_begins_a_trace(header: bytes | None) -> None:
    headers = () if header is None else (("traceparent", header),)
    collector = drawn(replace(JOURNEY, answer=replace(EVENT, headers=headers)))
    assert len(collector.spans) == 7
    assert collector.wholes()[0].parent_span_id == b""


def test_a_producer_that_does_not_sample_is_followed() -> None:
    unsampled = replace(EVENT, headers=(("traceparent", TRACEPARENT[:-2] + b"00"),))
    with collecting() as collector:
        spans = Spans(collector.endpoint, "group.app.0")
        spans.draw(replace(JOURNEY, answer=unsampled))
        spans.draw(JOURNEY)
        spans.close()
        wait_until(lambda: bool(collector.spans), "spans")
    assert len(collector.spans) == 7


def test_another_machine_s_clock_does_not_put_stages_outside() -> None:
    ahead = replace(EVENT, measured=Measured(5, STAGES_S, BEGAN_S + 100))
    collector = drawn(replace(JOURNEY, answer=ahead))
    assert seconds(collector.named("infer"))[1] == pytest.approx(1.5, abs=1e-5)


def test_a_collector_that_is_away_holds_nothing_up() -> None:
    spans = Spans("http://127.0.0.1:9", "group.app.0")
    spans.draw(JOURNEY)
    begun_s = time.monotonic()
    spans.close()
    assert time.monotonic() - begun_s < tracing.FLUSH_S + 1


def test_off_imports_nothing() -> None:
    program = (
        "import sys; from workers.config import TelemetryConfig; from workers.tracing import open_spans; "
        "import workers.session; assert open_spans(TelemetryConfig(), 'x') is None; "
        "print([name for name in sys.modules if name.startswith('opentelemetry')])"
    )
    told = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert told.stdout == "[]\n"


def test_without_the_extra_nothing_starts(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, tracing.EXPORTER, None)  # as if it were not there
    telemetry = TelemetryConfig(otlp_endpoint="http://collector:4318")
    with pytest.raises(ConfigError, match=r"http://collector:4318.*pip install 'hctdmg\[telemetry\]'"):
        app.preflight(Settings(telemetry=telemetry))
