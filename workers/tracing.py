"""OpenTelemetry spans of each answered record, sent to a collector when `telemetry.otlp_endpoint` is set.

    video.segments process ─────────────────────────────   from poll to commit; its parent is the producer's span
             fetch ─── decode ──────── extract ─ align infer      publish ─

Fetch to infer are drawn end to end up to when the event was made: their lengths are measured, the waits between
them are not, and show as the gap before them. OpenTelemetry is imported only here, and only when it is used.
"""

import importlib.util
import threading
from dataclasses import dataclass
from typing import TYPE_CHECKING

from pipelines.errors import ConfigError
from workers.config import TelemetryConfig
from workers.messages import Answer

if TYPE_CHECKING:
    from opentelemetry.context import Context

EXPORTER = "opentelemetry.exporter.otlp.proto.http"
TRACES_PATH = "/v1/traces"
"""Where OTLP over HTTP takes spans, below the collector's address."""
FLUSH_S = 2.0
"""How long a consumer that stops may wait for its last spans to be sent; part of `app.SHUTDOWN_MARGIN_S`."""


@dataclass(frozen=True)
class Journey:
    """One answered record's way; times in seconds since 1970.

    Attributes:
        topic: Where it was read.
        partition: Its partition.
        offset: Its offset.
        polled_s: When it was polled.
        publishing_s: When its batch began to be published.
        published_s: When its offset was committed.
        answer: Its answer.
    """

    topic: str
    partition: int
    offset: int
    polled_s: float
    publishing_s: float
    published_s: float
    answer: Answer


def check_tracing(config: TelemetryConfig) -> None:
    """Find out whether spans can be sent as the settings want.

    Raises:
        ConfigError: The exporter is not installed.
    """
    if config.otlp_endpoint is not None and not _is_installed(EXPORTER):
        raise ConfigError(
            f"telemetry.otlp_endpoint is {config.otlp_endpoint}, but OpenTelemetry's exporter is not installed: "
            "pip install 'hctdmg[telemetry]', or set it to null"
        )


def open_spans(config: TelemetryConfig, instance: str) -> "Spans | None":
    """What sends spans, if the settings name where.

    Args:
        config: The settings.
        instance: This process's name, as `service.instance.id`.

    Raises:
        ConfigError: The exporter is not installed.
    """
    check_tracing(config)
    return None if config.otlp_endpoint is None else Spans(config.otlp_endpoint, instance)


class Spans:
    """Sends spans in the background; what a collector does not take in time is dropped.

    Args:
        endpoint: The collector's address.
        instance: This process's name.
    """

    def __init__(self, endpoint: str, instance: str) -> None:
        from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
        from opentelemetry.sdk.resources import Resource
        from opentelemetry.sdk.trace import TracerProvider
        from opentelemetry.sdk.trace.export import BatchSpanProcessor

        resource = Resource.create({"service.name": "hctdmg", "service.instance.id": instance})
        # A provider of our own, not the process's: that one is Ray's or the user's.
        self._provider = TracerProvider(resource=resource, shutdown_on_exit=False)
        exporter = OTLPSpanExporter(endpoint=endpoint.rstrip("/") + TRACES_PATH)
        self._provider.add_span_processor(BatchSpanProcessor(exporter))
        self._tracer = self._provider.get_tracer("hctdmg")

    def draw(self, journey: Journey) -> None:
        """The spans of one record."""
        from opentelemetry.trace import SpanKind, Status, StatusCode, set_span_in_context

        span = self._tracer.start_span(
            f"{journey.topic} process",
            _parent(journey.answer.traceparent),
            SpanKind.CONSUMER,
            {
                "messaging.system": "kafka",
                "messaging.destination.name": journey.topic,
                "messaging.destination.partition.id": str(journey.partition),
                "messaging.kafka.offset": journey.offset,
            },
            start_time=_ns(journey.polled_s),
        )
        inside = set_span_in_context(span)
        for name, begin_s, end_s in _stages(journey):
            self._tracer.start_span(name, inside, start_time=_ns(begin_s)).end(_ns(end_s))
        failure = journey.answer.failure
        if failure is not None:
            span.set_attributes({"error.type": failure.error, "hctdmg.stage": failure.stage})
            span.set_status(Status(StatusCode.ERROR, failure.message[:500]))
        span.end(_ns(journey.published_s))

    def close(self) -> None:
        """Send what is left, within `FLUSH_S`; the exporter itself keeps to no limit when the collector is away."""
        flush = threading.Thread(target=self._provider.force_flush, name="spans", daemon=True)
        flush.start()
        flush.join(FLUSH_S)


def _stages(journey: Journey) -> list[tuple[str, float, float]]:
    """Name, begin and end of each stage."""
    found = [("publish", journey.publishing_s, journey.published_s)]
    measured = journey.answer.measured
    if measured is None:
        return found
    # Another machine's clock made `made_s`: it may not lie outside of what this one saw.
    end_s = min(max(measured.made_s, journey.polled_s), journey.publishing_s)
    for name, took_s in reversed(list(measured.timings_s.items())):
        found.append((name, end_s - took_s, end_s))
        end_s -= took_s
    return found[::-1]


def _parent(traceparent: bytes | None) -> "Context | None":
    """The producer's span; what is no trace context starts a trace of its own."""
    if traceparent is None:
        return None
    from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

    return TraceContextTextMapPropagator().extract({"traceparent": traceparent.decode(errors="replace")})


def _ns(seconds: float) -> int:
    return int(seconds * 1e9)


def _is_installed(module: str) -> bool:
    try:
        return importlib.util.find_spec(module) is not None
    except ModuleNotFoundError:
        return False
