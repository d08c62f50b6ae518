"""What Prometheus gets of the running application, and what a collector gets: the documented names, right values."""

import re
import socket
import urllib.request
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace

import pytest
from prometheus_client.parser import text_string_to_metric_families
from prometheus_client.samples import Sample

from tests.checkpoints import save_random_checkpoint
from tests.collector import Collector, collecting
from tests.conftest import REPO
from tests.kafka_broker import KafkaBroker
from tests.segments import configured, inline
from tests.topics import Message, Topics, make_topics, wait_until
from workers import config_file
from workers.metrics import COMMON_LABELS, METRICS, PREFIX, REPLICA_HEALTHY, Metric
from workers.ray_start import metrics_urls
from workers.run import running

pytestmark = [pytest.mark.kafka, pytest.mark.e2e]

NUM_EVENTS = 40
SUFFIXES = {"counter": [""], "gauge": [""], "histogram": ["_bucket", "_count", "_sum"]}
RAYS_LABELS = {"Component", "NodeAddress", "SessionName", "Version", "WorkerId"}


@dataclass(frozen=True)
class Worker:
    """The running application."""

    topics: Topics
    port: int
    collector: Collector


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("", 0))
        return int(probe.getsockname()[1])


@pytest.fixture(scope="module")
def worker(kafka_broker: KafkaBroker, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Worker]:
    folder = tmp_path_factory.mktemp("metrics")
    topics, port = make_topics(kafka_broker, 2), free_port()
    with pytest.MonkeyPatch.context() as patch, collecting() as collector:
        patch.setattr(config_file, "IMPORT_PATH", "tests.poison:build_app")
        patch.setenv("RAY_metrics_report_interval_ms", "1000")
        settings = {
            "model.checkpoint": str(save_random_checkpoint(folder / "checkpoint")),
            "telemetry.metrics_port": port,
            "telemetry.otlp_endpoint": collector.endpoint,
        }
        with running(configured(topics, folder, settings)):
            good = [inline(number % 2, f"good/{number}", number) for number in range(NUM_EVENTS)]
            bad = [inline(0, "bad/1", media=b"garbage"), inline(0, "bug/1")]
            topics.send([traced(message, number) for number, message in enumerate([*good, *bad], start=1)])
            topics.events(NUM_EVENTS)
            topics.dead_letters(2)
            yield Worker(topics, port, collector)


def traced(message: Message, number: int) -> Message:
    """With a span of its producer's."""
    others = tuple(header for header in message.headers if header[0] != "traceparent")
    traceparent = f"00-{number:032x}-{number:016x}-01"
    return replace(message, headers=(*others, ("traceparent", traceparent.encode())))


def scraped(worker: Worker) -> list[Sample]:
    with urllib.request.urlopen(f"http://127.0.0.1:{worker.port}/metrics", timeout=10) as page:
        text = page.read().decode()
    return [sample for family in text_string_to_metric_families(text) for sample in family.samples]


def value(samples: list[Sample], name: str, **labels: str) -> float:
    """Of all series that have these labels, together."""
    return sum(one.value for one in samples if one.name == name and labels.items() <= one.labels.items())


def until(worker: Worker, is_so: Callable[[list[Sample]], bool], what: str) -> list[Sample]:
    """The page, once it says what is awaited."""
    pages: list[list[Sample]] = []

    def look() -> bool:
        pages.append(scraped(worker))
        return is_so(pages[-1])

    wait_until(look, what)
    return pages[-1]


def test_the_documented_metrics_are_those_that_are_scraped(worker: Worker) -> None:
    documented = {
        name
        for name in re.findall(r"^\| `(\w+)` \|", (REPO / "docs" / "operations.md").read_text(), re.MULTILINE)
        if name.startswith("ray_hctdmg_")
    }
    assert documented == {PREFIX + metric.name for metric in METRICS}
    expected = {PREFIX + metric.name + suffix for metric in METRICS for suffix in SUFFIXES[metric.kind]}

    def ours(samples: list[Sample]) -> set[str]:
        return {sample.name for sample in samples if sample.name.startswith("ray_hctdmg_")}

    samples = until(worker, lambda samples: ours(samples) >= expected, "every documented metric")
    assert ours(samples) == expected
    for metric in METRICS:
        labels = {label.name for label in (*metric.labels, *COMMON_LABELS)}
        for sample in of(samples, metric):
            found = {name for name in sample.labels if not name.startswith("otel_")}
            assert found - RAYS_LABELS - {"le"} == labels


def test_ray_s_own_metric_is_as_documented(worker: Worker) -> None:
    name = PREFIX + REPLICA_HEALTHY.name
    deployments, _ = REPLICA_HEALTHY.labels
    for deployment in deployments.values:
        labels = {"deployment": deployment, "application": "hctdmg"}
        until(worker, lambda samples: value(samples, name, **labels) >= 1, f"{labels} healthy")  # noqa: B023


def of(samples: list[Sample], metric: Metric) -> list[Sample]:
    found = [one for one in samples if one.name in {PREFIX + metric.name + s for s in SUFFIXES[metric.kind]}]
    assert found
    return found


def test_their_values_are_those_of_what_happened(worker: Worker) -> None:
    def is_told(samples: list[Sample]) -> bool:
        answered = value(samples, "ray_hctdmg_events_total") + value(samples, "ray_hctdmg_dead_letters_total")
        lag = [one.value for one in samples if one.name == "ray_hctdmg_lag_segments"]
        return answered == NUM_EVENTS + 2 and lag == [0, 0]

    samples = until(worker, is_told, "all answered, no lag")
    assert value(samples, "ray_hctdmg_events_total", application="hctdmg") == NUM_EVENTS
    assert value(samples, "ray_hctdmg_dead_letters_total", stage="decode") == 1
    assert value(samples, "ray_hctdmg_dead_letters_total", stage="extract") == 1
    # There from the start, so that their first step is seen.
    assert [one.value for one in samples if one.labels.get("stage") == "align" and "dead" in one.name] == [0]
    assert value(samples, "ray_hctdmg_retries_total", kind="unexpected") == 1
    assert value(samples, "ray_hctdmg_rebalances_total", change="assigned") == 1
    assert value(samples, "ray_hctdmg_assigned_partitions", group=worker.topics.config.group_id) == 2
    assert {one.labels["partition"] for one in samples if one.name == "ray_hctdmg_lag_segments"} == {"0", "1"}
    assert value(samples, "ray_hctdmg_oldest_unanswered_age_seconds") == 0
    assert value(samples, "ray_hctdmg_in_flight_segments") == 0
    assert value(samples, "ray_hctdmg_publish_seconds_count") > 0
    assert value(samples, "ray_hctdmg_segment_seconds_count") == NUM_EVENTS + 2
    for stage in ("fetch", "decode", "extract", "align", "infer"):
        assert value(samples, "ray_hctdmg_stage_seconds_count", stage=stage) == NUM_EVENTS
    assert [url.rsplit(":", 1)[1] for url in metrics_urls()] == [f"{worker.port}/metrics"]


def test_spans_hang_on_the_producers_spans_as_the_answers_do(worker: Worker) -> None:
    collector = worker.collector
    num_spans = NUM_EVENTS * 7 + 2 * 2
    wait_until(lambda: len(collector.spans) == num_spans, f"{num_spans} spans")
    parents = {f"00-{one.trace_id.hex()}-{one.parent_span_id.hex()}-01" for one in collector.wholes()}
    answers = [*worker.topics.events(NUM_EVENTS), *worker.topics.dead_letters(2)]
    assert parents == {dict(answer.headers)["traceparent"].decode() for answer in answers}
    assert len(parents) == NUM_EVENTS + 2
