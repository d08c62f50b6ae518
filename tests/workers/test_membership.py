"""A member that the group has thrown out publishes nothing of what it had: another may have done so by then."""

import threading
from collections.abc import Iterator
from concurrent.futures import Future
from contextlib import contextmanager

import pytest
from confluent_kafka import ConsumerGroupTopicPartitions, TopicPartition
from confluent_kafka.admin import AdminClient
from kafka import KafkaAdminClient
from kafka.admin import MemberToRemove

import workers.kafka
from tests.kafka_broker import KafkaBroker
from tests.topics import Topics, make_topics, wait_until
from tests.workers.test_session import Running, answer, consuming, numbered, settings
from workers.kafka import client_options
from workers.messages import Answer, Record

pytestmark = pytest.mark.kafka


class Held:
    """Ten records, polled and not answered yet."""

    def __init__(self) -> None:
        self.answers: list[tuple[Future[Answer], Record]] = []

    def submit(self, record: Record) -> "Future[Answer]":
        future: Future[Answer] = Future()
        self.answers.append((future, record))
        return future

    def release(self) -> None:
        for future, record in self.answers:
            if not future.done():
                future.set_result(answer(record))


@pytest.fixture
def held() -> Held:
    return Held()


@contextmanager
def holding(topics: Topics, held: Held) -> Iterator[Running]:
    """A session that has ten records in flight."""
    topics.send(numbered(10, 1))
    with consuming(settings(topics, drain_timeout_s=10.0), held.submit) as running:
        wait_until(lambda: len(held.answers) == 10, "all in flight")
        yield running


def throw_out_and_let_another_answer(topics: Topics) -> None:
    """What the group sees when a member was gone, and others have answered what it had and have left."""
    admin = KafkaAdminClient(**client_options(topics.config))
    admin.remove_group_members(topics.config.group_id, [MemberToRemove(group_instance_id="worker-0")])
    admin.close()
    next_offset = TopicPartition(topics.config.input_topic, 0, 10)
    group = ConsumerGroupTopicPartitions(topics.config.group_id, [next_offset])
    confluent = AdminClient({"bootstrap.servers": topics.config.bootstrap_servers})
    for future in confluent.alter_consumer_group_offsets([group]).values():
        future.result(10)


def generation(running: Running) -> int:
    return int(running.session._consumer.group_metadata().generation_id)


def test_who_is_no_member_any_more_publishes_nothing(kafka_broker: KafkaBroker, held: Held) -> None:
    """The broker would take it: to an empty group anyone may commit who names no generation."""
    topics = make_topics(kafka_broker, 1)
    with holding(topics, held) as running:
        running.stopping.set()  # a drain does not poll, and so does not join again
        throw_out_and_let_another_answer(topics)
        wait_until(lambda: generation(running) < 0, "it knows")
        held.release()
        running.thread.join(30)
    assert topics.events(0) == []
    assert topics.committed() == {0: 10}


def test_who_learns_while_it_joins_that_it_was_thrown_out_forgets_what_it_had(
    kafka_broker: KafkaBroker, held: Held, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Between heartbeats: the group says so in answer to the request to join."""
    monkeypatch.setattr(workers.kafka, "HEARTBEAT_S", 20.0)
    topics = make_topics(kafka_broker, 1, session_timeout_s=60.0)
    with holding(topics, held) as running:
        before = running.session._consumer.group_metadata().member_id
        throw_out_and_let_another_answer(topics)
        running.session._consumer._coordinator.request_rejoin()
        wait_until(
            lambda: (
                running.session.progress.is_member
                and running.session._consumer.group_metadata().member_id not in ("", before)
            ),
            "it is a member again",
        )
        held.release()
        topics.send(numbered(1, 1))
        wait_until(lambda: len(held.answers) > 10, "it reads on")
        assert [record.offset for _, record in held.answers[10:]] == [10]
        held.release()
        wait_until(lambda: topics.committed() == {0: 11}, "the new one is answered")
    assert [event.value for event in topics.events(1)] == [b"0 10"]


def test_who_was_thrown_out_does_not_put_its_successor_out(
    kafka_broker: KafkaBroker, held: Held, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It leaves late, under the name that is its successor's by then."""
    topics = make_topics(kafka_broker, 1)
    with holding(topics, held) as running:
        may_close = threading.Event()
        close = running.session._consumer.close

        def close_late(**options: bool) -> None:
            assert may_close.wait(30)
            close(**options)

        monkeypatch.setattr(running.session._consumer, "close", close_late)
        running.stopping.set()
        throw_out_and_let_another_answer(topics)
        wait_until(lambda: generation(running) < 0, "it knows")
        with consuming(settings(topics), held.submit) as successor:
            wait_until(lambda: successor.session.progress.partitions == (0,), "the successor has its place")
            (member,) = topics.members()
            may_close.set()
            running.thread.join(30)
            assert topics.members() == [member]
