"""The names of what is measured, each said once: kind, labels, meaning.

`docs/operations.md` has them as a table, generated from here. Names follow Prometheus: base units spelled out
at the end (`_seconds`, `_bytes`), `_total` on counters; what is counted stands before. Ray puts `ray_` in front.

Knows names. Does not know who measures, nor how the numbers leave the process.
"""

from dataclasses import dataclass
from typing import Literal, Protocol, get_args

from pipelines.errors import STAGES
from workers.messages import FailureKind

Kind = Literal["counter", "gauge", "histogram"]
Change = Literal["assigned", "revoked", "lost"]

PREFIX = "ray_"
"""What Ray puts before every name."""

PUBLISH_BUCKETS_S = (0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0, 2.0, 5.0, 10.0, 30.0)
"""From a broker on the same machine (some 5 ms) to `kafka.request_timeout_s` (30 s)."""
STAGE_BUCKETS_S = (0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0, 2.0, 5.0, 10.0, 30.0, 60.0)
"""From aligning a few steps (1 ms) to `flow.segment_deadline_s` (60 s)."""
SEGMENT_BUCKETS_S = (0.02, 0.05, 0.1, 0.2, 0.5, 1.0, 2.0, 5.0, 10.0, 20.0, 60.0, 120.0, 300.0)
"""From one commit interval to several deadlines, for segments that wait for others of their partition."""


@dataclass(frozen=True)
class Label:
    """A label.

    Attributes:
        name: Its name.
        values: All values that it takes; empty where they are numbers or names of the deployment's own.
    """

    name: str
    values: tuple[str, ...] = ()


@dataclass(frozen=True)
class Metric:
    """One metric.

    Attributes:
        name: Without Ray's prefix.
        kind: What it is to Prometheus.
        meaning: For the table.
        labels: Its labels, beside those of every metric.
        buckets: Upper ends of a histogram's buckets.
    """

    name: str
    kind: Kind
    meaning: str
    labels: tuple[Label, ...] = ()
    buckets: tuple[float, ...] = ()


class Measure(Protocol):
    """Takes a measurement: adds to a counter, sets a gauge, or puts a value into a histogram."""

    def __call__(self, metric: Metric, value: float, **labels: str) -> None:
        """Take one.

        Args:
            metric: What is measured.
            value: Above 0 for a counter.
            labels: A value of each of the metric's labels.
        """
        ...


def unmeasured(metric: Metric, value: float, **labels: str) -> None:
    """Measure nothing: where there is no Ray."""


APPLICATION, GROUP = Label("application"), Label("group")
COMMON_LABELS = (APPLICATION, GROUP)
"""On every metric: the application's name in Serve, and `kafka.group_id`. Ray adds labels of its own."""

_PARTITION = Label("partition")

LAG_SEGMENTS = Metric(
    "hctdmg_lag_segments",
    "gauge",
    "Records between the first that is not answered and the end of the partition.",
    (_PARTITION,),
)
LAG_VIDEO_SECONDS = Metric(
    "hctdmg_lag_video_seconds",
    "gauge",
    "The same in seconds of video, estimated: `hctdmg_lag_segments` times the mean length of the latest segments"
    " answered on this partition (before there is one, on all partitions of this consumer; before that, none"
    " is reported), because a record's length is not known before it is read.",
    (_PARTITION,),
)
OLDEST_AGE_SECONDS = Metric(
    "hctdmg_oldest_unanswered_age_seconds",
    "gauge",
    "Age of the oldest unanswered record by its Kafka timestamp; 0 when all are answered. Of a record that is not"
    " yet polled: since when the partition has been behind.",
    (_PARTITION,),
)
IN_FLIGHT_SEGMENTS = Metric(
    "hctdmg_in_flight_segments",
    "gauge",
    "Records polled and not yet committed; limit `flow.max_in_flight_segments`.",
)
IN_FLIGHT_BYTES = Metric(
    "hctdmg_in_flight_bytes", "gauge", "Their bytes as messages; limit `flow.max_in_flight_bytes`."
)
ASSIGNED_PARTITIONS = Metric(
    "hctdmg_assigned_partitions",
    "gauge",
    "Partitions that the consumer owns; reported even when it owns none.",
)
PAUSED_PARTITIONS = Metric(
    "hctdmg_paused_partitions", "gauge", "Owned partitions that are not polled because their window is full."
)
HALTED = Metric("hctdmg_halted", "gauge", "1 while the consumer is halted by a cap on dead letters, else 0.")
EVENTS = Metric("hctdmg_events_total", "counter", "Events published and committed.")
DEAD_LETTERS = Metric(
    "hctdmg_dead_letters_total",
    "counter",
    "Dead letters published and committed, by the stage that failed.",
    (Label("stage", STAGES),),
)
RETRIES = Metric(
    "hctdmg_retries_total",
    "counter",
    "Further tries of a segment, by what went wrong: something outside (transient), an exception that nobody"
    " foresaw (unexpected), a process that was gone before it began (displaced) or died (death).",
    (Label("kind", tuple(kind for kind in get_args(FailureKind) if kind != "segment")),),
)
PUBLISH_SECONDS = Metric(
    "hctdmg_publish_seconds",
    "histogram",
    "Time to publish and commit one batch of answers: a transaction, or sends and a commit.",
    buckets=PUBLISH_BUCKETS_S,
)
REFUSED_PUBLISHES = Metric(
    "hctdmg_refused_publishes_total",
    "counter",
    "Batches that the broker refused and that are tried again; each is an aborted transaction with"
    " `exactly_once`.",
)
REBALANCES = Metric(
    "hctdmg_rebalances_total",
    "counter",
    "Times that partitions came (assigned), went to another member (revoked) or were taken away (lost).",
    (Label("change", get_args(Change)),),
)
STAGE_SECONDS = Metric(
    "hctdmg_stage_seconds",
    "histogram",
    "Time of each stage of answered segments; `infer` is that of its whole batch.",
    (Label("stage", ("fetch", "decode", "extract", "align", "infer")),),
    STAGE_BUCKETS_S,
)
SEGMENT_SECONDS = Metric(
    "hctdmg_segment_seconds",
    "histogram",
    "Time from when a record was polled until its answer was committed, waits and retries included.",
    buckets=SEGMENT_BUCKETS_S,
)

METRICS = (
    LAG_SEGMENTS,
    LAG_VIDEO_SECONDS,
    OLDEST_AGE_SECONDS,
    IN_FLIGHT_SEGMENTS,
    IN_FLIGHT_BYTES,
    ASSIGNED_PARTITIONS,
    PAUSED_PARTITIONS,
    HALTED,
    EVENTS,
    DEAD_LETTERS,
    RETRIES,
    PUBLISH_SECONDS,
    REFUSED_PUBLISHES,
    REBALANCES,
    STAGE_SECONDS,
    SEGMENT_SECONDS,
)
"""Ours, in the table's order."""

REPLICA_HEALTHY = Metric(
    "serve_deployment_replica_healthy",
    "gauge",
    "Ray Serve's own: 1 while a replica passes its health checks, else 0.",
    (Label("deployment", ("SegmentConsumer", "FeatureExtractor", "HctDmgReplica")), APPLICATION),
)
RAYS_OWN = (REPLICA_HEALTHY,)
"""Those of Ray that our dashboard and alerts use."""
