"""What it costs to be watched: CPU time per segment of metrics and of spans.

    python -m tests.bench.telemetry         # prints, writes docs/results/telemetry.json

Publishes batches of answered segments to a session's report, with Ray's metrics and with spans for a collector on this
machine, and sets the gauges of 16 partitions. Beside the consumer its CPU time is that of the node agent of Ray,
which takes the metrics in; what that takes while nothing happens is subtracted.
"""

import json
import os
import platform
import time
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from contextlib import contextmanager
from pathlib import Path

import psutil
import ray
from kafka import KafkaConsumer, TopicPartition

from tests.collector import collecting
from workers.config import KafkaConfig
from workers.embedded import API_VERSION, EmbeddedBroker
from workers.kafka import client_options
from workers.messages import Answer, Measured
from workers.ray_metrics import measure_with_ray
from workers.ray_start import start_ray
from workers.report import STATE_S, Report, Watch
from workers.tracing import Spans
from workers.window import Entry, Windows

TOPIC = "segments"
NUM_PARTITIONS = 16
BATCH_SIZE = 32
NUM_BATCHES = 3000
NUM_SPAN_BATCHES = 8
"""Some 1,800 spans: no more than wait at a time before they are dropped."""
NUM_STATES = 500
SETTLE_S = 10.0
"""Ten of Ray's reports, at the interval set below."""
RESULT = Path(__file__).parent.parent.parent / "docs" / "results" / "telemetry.json"


def main() -> None:
    """Measure, print, write."""
    os.environ["RAY_metrics_report_interval_ms"] = "1000"  # noqa: SIM112 - so Ray spells it
    start_ray(None, relay_logs=False)
    with consuming() as consumer, collecting() as collector:
        measure = measure_with_ray("bench", "bench")
        plain = Report(Watch(), consumer, TOPIC)
        measured = Report(Watch(measure), consumer, TOPIC)
        spans = Spans(collector.endpoint, "bench")
        drawn = Report(Watch(spans=spans), consumer, TOPIC)
        nothing_us = publish(plain, NUM_BATCHES)
        agent_us, metrics_us = publish_beside_the_agent(measured)
        spans_us = publish(drawn, NUM_SPAN_BATCHES)
        spans.close()
        record = {
            "machine": f"{platform.machine()}, {os.cpu_count()} cores",
            "ray": ray.__version__,
            "num_segments": NUM_BATCHES * BATCH_SIZE,
            "metrics_us_per_segment": round(metrics_us - nothing_us, 1),
            "metrics_in_rays_agent_us_per_segment": round(agent_us, 1),
            "spans_us_per_segment": round(spans_us - nothing_us, 1),
            "gauges_us_per_second": round(states(measured) / STATE_S, 1),
            "gauges_num_partitions": NUM_PARTITIONS,
        }
    ray.shutdown()
    RESULT.write_text(json.dumps(record, indent=1) + "\n")
    print(json.dumps(record, indent=1))


def publish(report: Report, num_batches: int) -> float:
    """Microseconds of CPU of this thread, each segment."""
    begun_s = time.thread_time()
    for _ in range(num_batches):
        report.published(batch(), 0.01)
    return (time.thread_time() - begun_s) / (num_batches * BATCH_SIZE) * 1e6


def publish_beside_the_agent(report: Report) -> tuple[float, float]:
    """The same, after that of Ray's agent."""
    (agent,) = [
        one
        for one in psutil.Process().children(recursive=True)
        if "dashboard/agent.py" in " ".join(one.cmdline())
    ]
    time.sleep(SETTLE_S)
    idle_s = cpu_s(agent, lambda: time.sleep(2 * SETTLE_S))
    costs_us: list[float] = []

    def work() -> None:
        begun_s = time.monotonic()
        costs_us.append(publish(report, NUM_BATCHES))
        time.sleep(2 * SETTLE_S - (time.monotonic() - begun_s))

    busy_s = cpu_s(agent, work)
    return (busy_s - idle_s) / (NUM_BATCHES * BATCH_SIZE) * 1e6, costs_us[0]


def cpu_s(process: psutil.Process, work: Callable[[], None]) -> float:
    """What another process works during this one's work."""
    before = process.cpu_times()
    work()
    after = process.cpu_times()
    return float(after.user + after.system - before.user - before.system)


def states(report: Report) -> float:
    """Microseconds of CPU of setting all gauges once."""
    windows: Windows[Answer] = Windows(64, 2**20)
    spent_s = 0.0
    for _ in range(NUM_STATES):
        report._state_at_s = 0.0
        begun_s = time.thread_time()
        report.state(range(NUM_PARTITIONS), windows, is_halted=False)
        spent_s += time.thread_time() - begun_s
    return spent_s / NUM_STATES * 1e6


def batch() -> dict[int, list[Entry[Answer]]]:
    """Answered segments of one partition."""
    timings_s = {"fetch": 0.001, "decode": 0.2, "extract": 0.2, "align": 0.001, "infer": 0.01}
    headers = (("traceparent", f"00-{7:032x}-{9:016x}-01".encode()),)
    future: Future[Answer] = Future()
    future.set_result(Answer(b"key", b"event", headers, measured=Measured(5.0, timings_s, time.time())))
    now_s = time.time()
    return {0: [Entry(number, 100, future, now_s, now_s) for number in range(BATCH_SIZE)]}


@contextmanager
def consuming() -> Iterator[KafkaConsumer]:
    """A consumer with a position in each partition."""
    with EmbeddedBroker({TOPIC: NUM_PARTITIONS}) as broker:
        config = KafkaConfig(bootstrap_servers=broker.bootstrap_servers, api_version=API_VERSION)
        consumer = KafkaConsumer(**client_options(config))
        places = [TopicPartition(TOPIC, number) for number in range(NUM_PARTITIONS)]
        consumer.assign(places)
        for place in places:
            consumer.position(place)
        yield consumer
        consumer.close()


if __name__ == "__main__":
    main()
