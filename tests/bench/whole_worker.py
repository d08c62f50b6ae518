"""The worker as it is shipped, on a real Kafka: a backlog, small arrivals, and what its processes cost.

Knows how the application is started and told apart into processes. Does not know what it is compared with.
"""

import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from unittest import mock

import psutil
from confluent_kafka import Consumer

from tests.bench.delivery import reading, received
from tests.bench.processes import Cpu, last_cores, ours, pin
from tests.bench.workload import NUM_PARTITIONS, Workload, steady_rate
from tests.kafka_broker import KafkaBroker
from tests.segments import configured
from tests.topics import Topics, make_topics
from workers import config_file
from workers.config import FlowConfig
from workers.run import running

NOT_OURS = ("broker", "driver", "other")
REPLICA = "FeatureExtractor"
"""Stands in the title that Ray gives a replica's process."""


@dataclass(frozen=True)
class Process:
    """One process of the application.

    Attributes:
        kind: As `tests.bench.processes` names it.
        begun_s: When it began, after the start of all.
        start_cpu_s: CPU time that it had used when all consumed; 0 where it was begun later.
        memory_mb: What would be free if it ended (USS), after a backlog.
    """

    kind: str
    begun_s: float
    start_cpu_s: float
    memory_mb: float


@dataclass(frozen=True)
class Backlog:
    """How a backlog was worked off.

    Attributes:
        segments_per_s: While all extractors were busy.
        cpu_ms: Of a segment, by kind of process, the broker's among them.
        event_bytes: Of an event's value, on average.
    """

    segments_per_s: float
    cpu_ms: dict[str, float]
    event_bytes: float


@dataclass(frozen=True)
class Worker:
    """The running application.

    Attributes:
        topics: Its topics.
        reader: Of its events.
        workload: The segments.
        num_extractors: Each on a core of its own.
        begun_at_s: When its start began, in seconds since 1970.
        consuming_s: From then until it consumed.
        start_cpu_s: CPU time of each process when it consumed, by pid.
    """

    topics: Topics
    reader: Consumer
    workload: Workload
    num_extractors: int
    begun_at_s: float
    consuming_s: float
    start_cpu_s: Mapping[int, float]

    def backlog(self, first: int, number: int) -> Backlog:
        """Work one off.

        Args:
            first: The number of its first segment.
            number: Segments that count; as many more as the extractors have places come before, and after.
        """
        ramp = self.num_extractors * FlowConfig().max_concurrent_extractions
        total = number + 2 * ramp
        cpu = Cpu()
        self.workload.send(self.topics, range(first, first + total))
        events = list(received(self.reader, total))
        times_s = sorted(event.timestamp()[1] / 1000 for event in events)
        event_bytes = sum(len(event.value()) for event in events) / total
        return Backlog(steady_rate(times_s, ramp, number), cpu.spent_ms(total, with_broker=True), event_bytes)

    def processes(self) -> list[Process]:
        """Each that still lives, now."""
        found = []
        for process, kind in application():
            with suppress(psutil.NoSuchProcess):  # Ray lets idle ones go
                begun_s = process.create_time() - self.begun_at_s
                memory_mb = process.memory_full_info().uss / 1e6
                found.append(Process(kind, begun_s, self.start_cpu_s.get(process.pid, 0.0), memory_mb))
        return found


@contextmanager
def whole_worker(
    broker: KafkaBroker,
    workload: Workload,
    num_extractors: int,
    settings: Mapping[str, Any],
    import_path: str = config_file.IMPORT_PATH,
) -> Iterator[Worker]:
    """The application, from when it consumes until the block is left.

    Args:
        broker: The broker.
        workload: The segments.
        num_extractors: Replicas.
        settings: Other than the shipped ones, by "group.name".
        import_path: Of the application.
    """
    topics = make_topics(broker, NUM_PARTITIONS)
    with tempfile.TemporaryDirectory() as place, mock.patch.object(config_file, "IMPORT_PATH", import_path):
        ours_too = {"media.allowed_roots": [str(workload.folder)], "telemetry.log_level": "ERROR", **settings}
        config = configured(topics, Path(place), ours_too, num_extractors)
        cores, begun_at_s = last_cores(num_extractors), time.time()
        with running(config):
            consuming_s = time.time() - begun_at_s
            start_cpu_s = {process.pid: sum(process.cpu_times()[:2]) for process, _ in application()}
            pin_extractors(cores)
            with reading(topics) as reader:
                yield Worker(topics, reader, workload, num_extractors, begun_at_s, consuming_s, start_cpu_s)


def application() -> Iterator[tuple[psutil.Process, str]]:
    """Each process of the application and its kind; those of the machinery around it are left out."""
    for pid, kind in ours().items():
        if kind not in NOT_OURS:
            with suppress(psutil.NoSuchProcess):
                yield psutil.Process(pid), kind


def pin_extractors(cores: Sequence[int]) -> None:
    """Each replica on a core, with the processes that it has for its segments, and will have."""
    replicas = [process for process, _ in application() if REPLICA in "".join(process.cmdline()[:1])]
    for replica, core in zip(replicas, cores, strict=True):
        for process in (replica, *replica.children(recursive=True)):
            pin(process.pid, {core})
