"""The protocol on a real Apache Kafka, with answers made by threads: no Ray, no model."""

import random
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from datetime import UTC, datetime

import pytest
from kafka import KafkaAdminClient
from kafka.admin import MemberToRemove
from kafka.errors import KafkaError

from pipelines.segment import Header
from tests.kafka_broker import KafkaBroker
from tests.topics import Message, Topics, make_topics, wait_until
from workers.brake import Brake
from workers.config import FlowConfig, Settings
from workers.kafka import client_options
from workers.memory import Memory
from workers.messages import Answer, Failure, Record, dead_letter
from workers.session import Session

pytestmark = pytest.mark.kafka

NO_VALUE: Header = ("empty", None)  # type: ignore[assignment]  # Kafka allows it
Submit = Callable[[Record], "Future[Answer]"]


def answer(record: Record) -> Answer:
    return Answer(record.key, b"%d %d" % (record.partition, record.offset), (("of", record.value or b""),))


@pytest.fixture
def submit() -> Iterator[Submit]:
    """Answers in any order, each within some milliseconds."""
    chance = random.Random(1)
    with ThreadPoolExecutor(8) as threads:

        def work(record: Record, delay_s: float) -> Answer:
            time.sleep(delay_s)
            return answer(record)

        yield lambda record: threads.submit(work, record, chance.uniform(0, 0.01))


def settings(topics: Topics, **flow: float) -> Settings:
    return Settings(kafka=topics.config, flow=FlowConfig.model_validate({"drain_timeout_s": 5.0, **flow}))


def numbered(num_messages: int, num_partitions: int) -> list[Message]:
    return [Message(number % num_partitions, b"key", b"%d" % number) for number in range(num_messages)]


class Running:
    """A session on its thread, until it is told to stop or breaks."""

    def __init__(
        self,
        settings: Settings,
        identity: str,
        submit: Submit,
        brake: Brake | None = None,
        memory: Memory | None = None,
    ) -> None:
        self.session = Session(settings, identity, submit, brake, memory)
        self.stopping = threading.Event()
        self.abandoned = threading.Event()
        self.error: Exception | None = None
        self.thread = threading.Thread(target=self._run)
        self.thread.start()

    def _run(self) -> None:
        try:
            self.session.run(self._is_over)
            self.session.leave()
        except Exception as error:  # noqa: BLE001 - looked at by the test
            self.error = error

    def _is_over(self) -> bool:
        if self.abandoned.is_set():
            raise ConnectionAbortedError("killed")
        return self.stopping.is_set()

    def kill(self) -> None:
        """As a killed process leaves it: nothing is finished, nobody is told."""
        self.abandoned.set()
        self.thread.join(20)
        self.session._consumer._client.close()
        self.session._publisher._producer._sender.force_close()


@contextmanager
def consuming(
    settings: Settings,
    submit: Submit,
    identity: str = "worker-0",
    brake: Brake | None = None,
    memory: Memory | None = None,
) -> Iterator[Running]:
    running = Running(settings, identity, submit, brake, memory)
    try:
        yield running
    finally:
        running.stopping.set()
        running.thread.join(30)
        assert not running.thread.is_alive()


def wait_for_events(running: Running, number: int) -> None:
    wait_until(lambda: running.session.progress.num_events >= number, f"{number} events")


def assert_each_answered_once(topics: Topics, num_messages: int) -> None:
    events = topics.events(num_messages)
    places = [tuple(map(int, event.value.split())) for event in events]
    assert Counter(places) == Counter(
        (number % topics.num_partitions, number // topics.num_partitions) for number in range(num_messages)
    )
    for partition in range(topics.num_partitions):
        offsets = [offset for place, offset in places if place == partition]
        assert offsets == sorted(offsets)
    assert all(event.partition == place[0] for event, place in zip(events, places, strict=True))


def test_answers_come_out_once_in_order_with_their_offsets(kafka_broker: KafkaBroker, submit: Submit) -> None:
    topics = make_topics(kafka_broker, 3)
    topics.send(numbered(300, 3))
    with consuming(settings(topics), submit) as running:
        assert_each_answered_once(topics, 300)
        wait_until(lambda: running.session.progress.num_events == 300, "all counted")
    assert running.error is None
    assert topics.committed() == {0: 100, 1: 100, 2: 100}


def test_a_killed_consumer_is_followed_by_one_that_goes_on_where_it_was(
    kafka_broker: KafkaBroker, submit: Submit
) -> None:
    topics = make_topics(kafka_broker, 4, commit_interval_s=0.01)
    topics.send(numbered(400, 4))
    for _ in range(3):
        killed = Running(settings(topics), "worker-0", submit)
        wait_for_events(killed, 16)
        killed.kill()
    with consuming(settings(topics), submit):
        assert_each_answered_once(topics, 400)


def test_what_was_sent_in_an_open_transaction_is_never_seen(
    kafka_broker: KafkaBroker, submit: Submit, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Killed between sending and committing: the successor's first act is to abort."""
    topics = make_topics(kafka_broker, 1)
    topics.send(numbered(20, 1))
    killed = Running(settings(topics), "worker-0", submit)
    producer = killed.session._publisher._producer
    reached = threading.Event()

    def never_commit() -> None:
        producer.flush()
        reached.set()
        killed.abandoned.wait()
        raise ConnectionAbortedError("killed")

    monkeypatch.setattr(producer, "commit_transaction", never_commit)
    assert reached.wait(30)
    killed.kill()
    with consuming(settings(topics), submit):
        assert_each_answered_once(topics, 20)


def test_at_least_once_answers_each_and_commits(kafka_broker: KafkaBroker, submit: Submit) -> None:
    topics = make_topics(kafka_broker, 2, delivery="at_least_once")
    topics.send(numbered(100, 2))
    with consuming(settings(topics), submit):
        assert_each_answered_once(topics, 100)
        wait_until(lambda: topics.committed() == {0: 50, 1: 50}, "offsets committed")


@pytest.mark.parametrize("delivery", ["exactly_once", "at_least_once"])
def test_partitions_move_to_a_new_member_and_back_without_loss(
    kafka_broker: KafkaBroker, submit: Submit, delivery: str
) -> None:
    topics = make_topics(kafka_broker, 4, delivery=delivery, commit_interval_s=0.01)
    topics.send(numbered(200, 4))
    with consuming(settings(topics), submit, "worker-0") as first:
        wait_for_events(first, 10)
        with consuming(settings(topics), submit, "worker-1") as second:
            wait_until(lambda: len(second.session.progress.partitions) == 2, "the second has its share")
            topics.send(numbered(200, 4))
            wait_for_events(second, 10)
        assert second.error is None
        # It left for good: nobody waits for its session to time out.
        wait_until(lambda: len(first.session.progress.partitions) == 4, "the first has all again", 10)
        topics.send(numbered(200, 4))
        assert_each_answered_once(topics, 600)
    assert first.error is None


def test_a_zombie_can_not_publish(kafka_broker: KafkaBroker, submit: Submit) -> None:
    topics = make_topics(kafka_broker, 1)
    gate = threading.Event()

    def slow(record: Record) -> "Future[Answer]":
        gate.wait()
        return submit(record)

    zombie = Running(settings(topics), "worker-0", slow)
    wait_until(lambda: zombie.session.progress.partitions == (0,), "assigned")
    topics.send(numbered(10, 1))
    with consuming(settings(topics), submit):
        assert_each_answered_once(topics, 10)
        gate.set()
        zombie.thread.join(30)
        assert isinstance(zombie.error, KafkaError)
        zombie.kill()
        topics.send(numbered(10, 1))
        assert_each_answered_once(topics, 20)


def test_a_member_that_was_thrown_out_joins_again(kafka_broker: KafkaBroker, submit: Submit) -> None:
    topics = make_topics(kafka_broker, 2)
    topics.send(numbered(100, 2))
    with consuming(settings(topics), submit) as running:
        wait_for_events(running, 10)
        admin = KafkaAdminClient(**client_options(topics.config))
        admin.remove_group_members(topics.config.group_id, [MemberToRemove(group_instance_id="worker-0")])
        admin.close()
        topics.send(numbered(100, 2))
        assert_each_answered_once(topics, 200)
    assert running.error is None


def test_partitions_that_a_killed_member_was_giving_back_find_an_owner(
    kafka_broker: KafkaBroker, submit: Submit, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its successor has the same static name, so that the broker sees no reason to rebalance."""
    topics = make_topics(kafka_broker, 4)
    killed = Running(settings(topics), "worker-0", lambda _: Future())
    giving_back = threading.Event()

    def never_done(*_: object) -> int:
        giving_back.set()
        killed.abandoned.wait()
        raise ConnectionAbortedError("killed")

    monkeypatch.setattr(killed.session, "_finish", never_done)
    wait_until(lambda: len(killed.session.progress.partitions) == 4, "it has all")
    topics.send(numbered(40, 4))
    with consuming(settings(topics), submit, "worker-1"):
        assert giving_back.wait(30)
        killed.kill()
        with consuming(settings(topics), submit, "worker-0"):
            assert_each_answered_once(topics, 40)


def test_a_drain_finishes_what_it_can_and_gives_the_rest_back(
    kafka_broker: KafkaBroker, submit: Submit
) -> None:
    topics = make_topics(kafka_broker, 1)
    topics.send(numbered(10, 1))
    seen: list[int] = []

    def stuck_at_six(record: Record) -> "Future[Answer]":
        seen.append(record.offset)
        return Future() if record.offset == 6 else submit(record)

    with consuming(settings(topics, drain_timeout_s=1.0), stuck_at_six) as running:
        wait_until(lambda: len(seen) == 10, "all polled")
    assert running.error is None
    assert topics.committed() == {0: 6}
    with consuming(settings(topics), submit):
        assert_each_answered_once(topics, 10)


def test_a_partition_that_is_stuck_holds_neither_the_others_nor_memory(
    kafka_broker: KafkaBroker, submit: Submit
) -> None:
    topics = make_topics(kafka_broker, 2)
    topics.send(numbered(200, 2))
    release = threading.Event()
    held: list[Future[Answer]] = []

    def stuck(record: Record) -> "Future[Answer]":
        if record.partition == 1 or release.is_set():
            return submit(record)
        held.append(Future())
        return held[-1]

    with consuming(settings(topics, max_in_flight_segments=16), stuck) as running:
        wait_for_events(running, 100)
        assert running.session.progress.num_in_flight == len(held) == 8
        release.set()
        for offset, future in enumerate(held):
            future.set_result(Answer(b"key", b"0 %d" % offset, ()))
        assert_each_answered_once(topics, 200)


def test_stuck_partitions_make_room_for_partitions_that_come_later(
    kafka_broker: KafkaBroker, submit: Submit
) -> None:
    """They hold all that may be held; another member has died, and its partitions come."""
    topics = make_topics(kafka_broker, 4, session_timeout_s=3.0)
    topics.send(numbered(400, 4))
    has_died = threading.Event()
    held: set[int] = set()

    def stuck(record: Record) -> "Future[Answer]":
        if not has_died.is_set():
            held.add(record.partition)
        return Future() if record.partition in held else submit(record)

    with consuming(settings(topics), lambda _: Future(), "other") as other:
        wait_until(lambda: other.session.progress.partitions == (0, 1, 2, 3), "the other has all")
        with consuming(settings(topics, max_in_flight_segments=8, drain_timeout_s=0.1), stuck) as running:
            wait_until(lambda: running.session.progress.num_in_flight == 8, "two partitions hold all")
            has_died.set()
            other.kill()
            wait_for_events(running, 200)
            assert len(held) == 2


def test_dead_letters_keep_key_value_and_headers(kafka_broker: KafkaBroker) -> None:
    topics = make_topics(kafka_broker, 2)
    messages = [
        Message(0, b"key", b"value", (("traceparent", b"00-1"), ("traceparent", b"00-2"), NO_VALUE)),
        Message(0, None, b"no key"),
        Message(0, b"no value", None),
    ]
    topics.send(messages)

    def refuse(record: Record) -> "Future[Answer]":
        future: Future[Answer] = Future()
        failure = Failure("parse", "SegmentError", "no segment", "segment")
        future.set_result(dead_letter(record, failure, 1, datetime.now(UTC)))
        return future

    with consuming(settings(topics), refuse):
        letters = topics.dead_letters(3)
    assert [(one.key, one.value) for one in letters] == [(one.key, one.value) for one in messages]
    assert letters[0].headers[:2] == list(messages[0].headers[:2])
    assert letters[0].headers[2] == ("empty", b"")  # the client can't send one without a value
    headers = dict(letters[1].headers)
    assert headers["dlq-stage"] == b"parse"
    assert headers["dlq-error"] == b"SegmentError"
    assert headers["dlq-message"] == b"no segment"
    assert headers["dlq-source-topic"] == topics.config.input_topic.encode()
    assert (headers["dlq-source-partition"], headers["dlq-source-offset"]) == (b"0", b"1")
    assert headers["dlq-attempts"] == b"1"
    assert datetime.fromisoformat(headers["dlq-time"].decode()).tzinfo is not None


def test_a_dead_letter_that_its_topic_does_not_take_does_not_stop_the_partition(
    kafka_broker: KafkaBroker,
) -> None:
    topics = make_topics(kafka_broker, 1, max_message_bytes={"segments": 4_000_000})
    wordy = Message(0, b"key", b"value", (("words", bytes(2_000_000)),))
    topics.send([Message(0, b"key", bytes(2_000_000)), wordy, Message(0, b"key", b"small")])

    def refuse(record: Record) -> "Future[Answer]":
        future: Future[Answer] = Future()
        failure = Failure("decode", "SegmentError", "no video", "segment")
        future.set_result(dead_letter(record, failure, 1, datetime.now(UTC)))
        return future

    with consuming(settings(topics), refuse):
        large, headless, small = topics.dead_letters(3)
    assert (large.value, dict(large.headers)["dlq-value-bytes"]) == (None, b"2000000")
    assert (headless.key, headless.value) == (None, b"")
    assert "words" not in dict(headless.headers)
    assert dict(headless.headers)["dlq-source-offset"] == b"1"
    assert dict(headless.headers)["dlq-value-bytes"] == b"5"
    assert small.value == b"small"
