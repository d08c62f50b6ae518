"""Consumers that scale, die and are updated in place, on a real Ray Serve and a real Apache Kafka, under load.

One Ray for all tests of this file, which build on each other: they run in their order.
"""

import copy
import os
import signal
import threading
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import pytest
from ray import serve
from ray.serve._private import api as serve_api
from ray.serve.schema import ServeDeploySchema

from pipelines.events import AffectEvent
from tests.checkpoints import save_random_checkpoint
from tests.kafka_broker import KafkaBroker
from tests.segments import configured, inline
from tests.topics import Topics, make_topics, wait_until
from workers.config_file import ConfigFile
from workers.consumer import Status
from workers.run import CONSUMER, Application, running

pytestmark = [pytest.mark.kafka, pytest.mark.e2e]

NUM_PARTITIONS = 6
MAX_BACKLOG = 120
START_S = 120


@dataclass
class Worker:
    """The running application, its config as deployed last, and how much was sent."""

    application: Application
    topics: Topics
    document: dict[str, Any]
    sent: Counter[int] = field(default_factory=Counter)

    def deploy(self, num_consumers: int, **kafka: float) -> None:
        """As `serve deploy` does with a changed file."""
        application = self.document["applications"][0]
        application["deployments"][0]["num_replicas"] = num_consumers
        application["args"]["kafka"].update(kafka)
        client = serve_api.serve_start()
        client.deploy_apps(ServeDeploySchema.model_validate(copy.deepcopy(self.document)))

    def consumers(self, number: int) -> list[Status]:
        """The consumers, once there are so many, each with its share, and no other is left."""
        found: list[Status] = []

        def share() -> list[int]:
            return sorted(len(one.progress.partitions) for one in found if one.progress)

        def is_shared() -> bool:
            found[:] = self.application.statuses()
            deployment = serve.status().applications[self.application.name].deployments.get(CONSUMER)
            return (
                deployment is not None
                and deployment.replica_states == {"RUNNING": number}
                and share() == [NUM_PARTITIONS // number] * number
            )

        wait_until(is_shared, f"{number} consumers share the partitions", START_S)
        return found

    def send(self, number: int) -> None:
        for _ in range(number):
            partition = self.sent.total() % NUM_PARTITIONS
            sequence = self.sent[partition]
            self.topics.send([inline(partition, f"scale-{partition}/{sequence}", sequence)])
            self.sent[partition] += 1

    def num_committed(self) -> int:
        return sum(offset or 0 for offset in self.topics.committed().values())

    @contextmanager
    def load(self) -> Iterator[None]:
        """Segments come while the body runs; afterwards each has one event, in order."""
        over = threading.Event()

        def feed() -> None:
            while not over.wait(0.2):
                if self.sent.total() - self.num_committed() < MAX_BACKLOG:
                    self.send(30)

        feeder = threading.Thread(target=feed)
        feeder.start()
        try:
            yield
        finally:
            over.set()
            feeder.join()
        wait_until(lambda: self.num_committed() == self.sent.total(), "all committed", 90)
        self.assert_each_answered_once()

    def assert_each_answered_once(self) -> None:
        events = [AffectEvent.model_validate_json(one.value) for one in self.topics.events(0)]
        sources = [(event.source.partition, event.source.offset) for event in events if event.source]
        committed = self.topics.committed()
        assert sources == [(p, offset) for p in range(NUM_PARTITIONS) for offset in range(committed[p] or 0)]


@pytest.fixture(scope="module")
def worker(kafka_broker: KafkaBroker, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Worker]:
    folder = tmp_path_factory.mktemp("scaling")
    # Longer than any wait in here: whoever waits for it fails.
    topics = make_topics(kafka_broker, NUM_PARTITIONS, session_timeout_s=300.0)
    settings = {
        "model.checkpoint": str(save_random_checkpoint(folder / "checkpoint")),
        "kafka.session_timeout_s": topics.config.session_timeout_s,
    }
    config = configured(topics, folder, settings)
    document: dict[str, Any] = copy.deepcopy(dict(config.document))
    document["applications"][0]["deployments"][1]["num_replicas"] = 1  # all this fits into two cores
    config = ConfigFile(config.path, document, config.settings)
    with running(config) as application:
        yield Worker(application, topics, document)


def slots(consumers: list[Status]) -> list[int]:
    return sorted(int(one.identity.rpartition(".")[2]) for one in consumers)


def test_one_to_three_to_one_and_rank_zero_leaves(worker: Worker) -> None:
    with worker.load():
        (first,) = worker.consumers(1)
        worker.deploy(3)
        three = worker.consumers(3)
        assert slots(three) == [0, 1, 2]
        assert first.pid in {one.pid for one in three}
        # Its successor is the youngest, and Serve stops the youngest first: ranks 0 and 2 leave, 1 stays.
        os.kill(first.pid, signal.SIGKILL)
        wait_until(lambda: first.pid not in {one.pid for one in worker.application.statuses()}, "it is gone")
        again = worker.consumers(3)
        assert slots(again) == [0, 1, 2]
        stayed = {one.pid: one for one in again if one.pid in {other.pid for other in three}}
        assert len(stayed) == 2
        (successor,) = [one for one in again if one.pid not in stayed]
        assert successor.identity == first.identity
        worker.deploy(1)
        (last,) = worker.consumers(1)
        # It is what it was: neither restarted nor renamed, although Serve gave it rank 0.
        assert last.identity == stayed[last.pid].identity != first.identity
        worker.deploy(2)
        two = worker.consumers(2)
        assert last.identity in {one.identity for one in two}
        assert last.pid in {one.pid for one in two}
        assert 0 in slots(two)
        worker.deploy(1)
        worker.consumers(1)


def test_a_changed_setting_rolls_through_without_loss(worker: Worker) -> None:
    with worker.load():
        (before,) = worker.consumers(1)
        worker.deploy(1, commit_interval_s=0.05)
        wait_until(lambda: before.pid not in {one.pid for one in worker.application.statuses()}, "replaced")
        (after,) = worker.consumers(1)
        # The old one still held its slot when the new one came, and the new one keeps its own.
        assert after.identity != before.identity
    assert len(worker.topics.members()) == 1


def test_serve_shutdown_drains(worker: Worker) -> None:
    worker.send(120)
    wait_until(lambda: worker.num_committed() > worker.sent.total() - 110, "mid-stream")
    serve.shutdown()
    worker.assert_each_answered_once()
    assert worker.topics.members() == []
