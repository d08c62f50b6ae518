"""What one session tells operators: its metrics, and a span of each record when spans are wanted.

Knows what the numbers mean. Does not know Ray, nor who collects them.
"""

import time
from collections.abc import Collection
from dataclasses import dataclass
from typing import Any

from kafka import KafkaConsumer

from workers import metrics
from workers.lag import Lag
from workers.metrics import Change, Measure
from workers.pace import Video
from workers.publisher import Batch
from workers.tracing import Journey, Spans
from workers.window import Windows

STATE_S = 1.0
"""How often gauges are set. Ray forgets a gauge that is not set between two of its reports (10 s)."""


@dataclass(frozen=True)
class Watch:
    """Who is told.

    Attributes:
        measure: Takes measurements.
        spans: Draws spans; None where none are wanted.
    """

    measure: Measure = metrics.unmeasured
    spans: Spans | None = None


class Report:
    """Of one session; called by the thread that owns it, and by its rebalance handlers.

    Args:
        watch: Who is told.
        consumer: The session's consumer.
        topic: The input topic.
    """

    def __init__(self, watch: Watch, consumer: KafkaConsumer, topic: str) -> None:
        self._measure = watch.measure
        self._spans = watch.spans
        self._consumer = consumer
        self._topic = topic
        self._lag = Lag(consumer, topic)
        self._state_at_s = 0.0

    @property
    def video(self) -> Video:
        """How much of it there is to do, and was done, as of the latest `state`."""
        return self._lag.video

    def rebalanced(self, change: Change, partitions: Collection[int]) -> None:
        """Partitions have come or gone; a rebalance that moves none is not told."""
        if partitions:
            self._measure(metrics.REBALANCES, 1, change=change)

    def refused(self) -> None:
        """The broker refused a batch."""
        self._measure(metrics.REFUSED_PUBLISHES, 1)

    def published(self, batch: Batch, took_s: float) -> None:
        """A batch is published and its offsets are committed."""
        now_s = time.time()
        self._measure(metrics.PUBLISH_SECONDS, took_s)
        for partition, entries in batch.items():
            for entry in entries:
                answer = entry.future.result()
                if answer.failure is not None:
                    self._measure(metrics.DEAD_LETTERS, 1, stage=answer.failure.stage)
                else:
                    self._measure(metrics.EVENTS, 1)
                self._measure(metrics.SEGMENT_SECONDS, max(0.0, now_s - entry.polled_s))
                measured = answer.measured
                self._lag.answered(partition, None if measured is None else measured.duration_s)
                if measured is not None:
                    for stage, stage_s in measured.timings_s.items():
                        self._measure(metrics.STAGE_SECONDS, stage_s, stage=stage)
                if self._spans is not None:
                    times_s = (entry.polled_s, now_s - took_s, now_s)
                    self._spans.draw(Journey(self._topic, partition, entry.offset, *times_s, answer))

    def state(self, partitions: Collection[int], windows: Windows[Any], is_halted: bool) -> None:
        """Set the gauges, at most once in `STATE_S`."""
        if time.monotonic() < self._state_at_s:
            return
        self._state_at_s = time.monotonic() + STATE_S
        self._measure(metrics.HALTED, float(is_halted))
        self._measure(metrics.ASSIGNED_PARTITIONS, len(partitions))
        self._measure(metrics.PAUSED_PARTITIONS, len(self._consumer.paused()))
        self._measure(metrics.IN_FLIGHT_SEGMENTS, windows.num_records)
        self._measure(metrics.IN_FLIGHT_BYTES, windows.num_bytes)
        for partition, behind in self._lag.look(partitions, windows).items():
            label = str(partition)
            self._measure(metrics.LAG_SEGMENTS, behind.num_segments, partition=label)
            self._measure(metrics.OLDEST_AGE_SECONDS, behind.oldest_age_s, partition=label)
            if behind.video_s is not None:
                self._measure(metrics.LAG_VIDEO_SECONDS, behind.video_s, partition=label)
