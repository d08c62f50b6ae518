"""A broker that is away for a while, in the middle of what a producer does: every wait ends, and nothing is lost."""

import threading
from collections.abc import Callable, Iterator
from concurrent.futures import Future

import pytest
from kafka import TopicPartition
from kafka.errors import KafkaError
from kafka.structs import OffsetAndMetadata

from tests.conftest import skip_or_fail
from tests.kafka_broker import KafkaMissingError
from tests.kafka_cluster import KafkaCluster, running_cluster
from tests.topics import Topics, wait_until
from tests.workers.test_session import (
    Running,
    answer,
    assert_each_answered_once,
    numbered,
    settings,
)
from workers.config import KafkaConfig
from workers.kafka import open_producer
from workers.messages import Answer, Record

pytestmark = pytest.mark.kafka

AWAY_S = 3.0


@pytest.fixture(scope="module")
def cluster() -> Iterator[KafkaCluster]:
    """One node that can be killed and started again."""
    try:
        with running_cluster(1) as running:
            yield running
    except KafkaMissingError as error:
        skip_or_fail(str(error))


def make_topics(cluster: KafkaCluster, name: str, delivery: str) -> Topics:
    topics = {f"{kind}-{name}": number for kind, number in (("segments", 2), ("events", 2), ("letters", 1))}
    cluster.create_topics(topics)
    segments, events, letters = topics
    config = KafkaConfig(
        bootstrap_servers=cluster.bootstrap_servers,
        input_topic=segments,
        output_topic=events,
        dead_letter_topic=letters,
        group_id=name,
        delivery=delivery,  # type: ignore[arg-type]
        commit_interval_s=0.01,
    )
    return Topics(config, 2)


def die_and_come_back(cluster: KafkaCluster) -> threading.Timer:
    cluster.kill(1)
    timer = threading.Timer(AWAY_S, cluster.start, [1])
    timer.start()
    return timer


def within(seconds: float, act: Callable[[], object]) -> str:
    """How an act ended: "done" or the error's class; an act that goes on longer fails the test."""
    ended: list[str] = []

    def run() -> None:
        try:
            act()
        except KafkaError as error:
            ended.append(type(error).__name__)
        else:
            ended.append("done")

    thread = threading.Thread(target=run, daemon=True)
    thread.start()
    thread.join(seconds)
    assert ended, f"it still waits after {seconds:g} s"
    return ended[0]


@pytest.mark.parametrize("step", ["offsets", "commit"])
def test_a_transaction_whose_broker_dies_ends(cluster: KafkaCluster, step: str) -> None:
    config = make_topics(cluster, f"transaction-{step}", "exactly_once").config
    producer = open_producer(config, f"{config.group_id}.one")
    producer.init_transactions()
    producer.begin_transaction()
    producer.send(config.output_topic, value=b"an event").get(10)
    offsets = {TopicPartition(config.input_topic, 0): OffsetAndMetadata(1, "", -1)}
    if step == "commit":
        producer.send_offsets_to_transaction(offsets, config.group_id)
    back = die_and_come_back(cluster)
    act = {
        "offsets": lambda: producer.send_offsets_to_transaction(offsets, config.group_id),
        "commit": producer.commit_transaction,
    }[step]
    assert within(60, act) in ("done", "KafkaTimeoutError", "InvalidTxnStateError")
    back.join()
    producer.close(timeout=0)


@pytest.mark.parametrize("delivery", ["exactly_once", "at_least_once"])
def test_a_worker_outlives_an_outage(cluster: KafkaCluster, delivery: str) -> None:
    topics = make_topics(cluster, f"outage-{delivery}", delivery)
    topics.send(numbered(200, 2))
    is_away, is_over = threading.Event(), threading.Event()

    def submit(record: Record) -> "Future[Answer]":
        """Answered once the broker is away."""
        future: Future[Answer] = Future()

        def work() -> None:
            is_away.wait()
            future.set_result(answer(record))

        threading.Thread(target=work, daemon=True).start()
        return future

    sessions: list[Running] = []

    def serve() -> None:
        """As the application does: a session that can't go on is followed by another of the same identity."""
        while not is_over.is_set():
            try:
                sessions.append(Running(settings(topics), f"{topics.config.group_id}.one", submit))
            except KafkaError:
                is_over.wait(0.5)
                continue
            while sessions[-1].thread.is_alive() and not is_over.wait(0.05):
                pass
            sessions[-1].stopping.set()
            sessions[-1].thread.join(30)

    serving = threading.Thread(target=serve)
    serving.start()
    try:
        wait_until(
            lambda: bool(sessions) and sessions[0].session.progress.num_in_flight > 0, "segments in flight"
        )
        back = die_and_come_back(cluster)
        is_away.set()
        back.join()
        wait_until(lambda: topics.committed() == {0: 100, 1: 100}, "all answered and committed", 90)
    finally:
        is_over.set()
        serving.join(60)
    assert not serving.is_alive()
    if delivery == "exactly_once":
        assert_each_answered_once(topics, 200)
    assert {event.value for event in topics.events(200)} == {
        b"%d %d" % (partition, offset) for partition in range(2) for offset in range(100)
    }
