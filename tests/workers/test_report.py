"""What operators watch, of sessions on a real Apache Kafka: no Ray, no model."""

import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from contextlib import contextmanager
from datetime import UTC, datetime

import pytest
from kafka import KafkaAdminClient, KafkaProducer
from kafka.admin import MemberToRemove

from tests.collector import collecting
from tests.kafka_broker import KafkaBroker
from tests.measured import Measured
from tests.topics import Message, Topics, make_topics, wait_until
from workers import metrics
from workers.config import FlowConfig, Settings
from workers.kafka import client_options
from workers.messages import Answer, Failure, Record, dead_letter
from workers.messages import Measured as Making
from workers.report import Watch
from workers.session import Session
from workers.tracing import Spans

pytestmark = pytest.mark.kafka

SEGMENT_S = 5.0
STAGES_S = {"fetch": 0.01, "decode": 0.2, "extract": 0.3, "align": 0.001, "infer": 0.02}

Submit = Callable[[Record], "Future[Answer]"]


def event(record: Record) -> Answer:
    return Answer(record.key, b"event", (), measured=Making(SEGMENT_S, STAGES_S, time.time()))


def done(answer: Answer) -> "Future[Answer]":
    future: Future[Answer] = Future()
    future.set_result(answer)
    return future


def answers(record: Record) -> "Future[Answer]":
    return done(event(record))


def refuses(record: Record) -> "Future[Answer]":
    failure = Failure("decode", "SegmentError", "no video", "segment")
    return done(dead_letter(record, failure, 1, datetime.now(UTC)))


def numbered(num_messages: int, partition: int) -> list[Message]:
    return [Message(partition, b"key", b"%d" % number) for number in range(num_messages)]


@contextmanager
def watched(
    topics: Topics,
    submit: Submit,
    identity: str = "worker-0",
    spans: Spans | None = None,
    sessions: list[Session] | None = None,
    **flow: float,
) -> Iterator[Measured]:
    """A session on its thread, and what it measures; the session is added to `sessions`."""
    settings = Settings(kafka=topics.config, flow=FlowConfig.model_validate({"drain_timeout_s": 2.0, **flow}))
    measured, stopping = Measured(), threading.Event()
    session = Session(settings, identity, submit, watch=Watch(measured, spans))

    if sessions is not None:
        sessions.append(session)

    def run() -> None:
        session.run(stopping.is_set)
        session.leave()

    thread = threading.Thread(target=run)
    thread.start()
    try:
        yield measured
    finally:
        stopping.set()
        thread.join(30)
        assert not thread.is_alive()


def test_lag_of_a_partition_that_stands_still_is_seen_to_grow(kafka_broker: KafkaBroker) -> None:
    """Also what came after its last fetch: it is paused, and nothing is fetched of it."""
    topics = make_topics(kafka_broker, 2)
    topics.send([*numbered(40, 0), *numbered(40, 1)])
    held: list[tuple[Record, Future[Answer]]] = []
    release = threading.Event()

    def stuck_at_0(record: Record) -> "Future[Answer]":
        if record.partition == 1 or release.is_set():
            return answers(record)
        held.append((record, Future()))
        return held[-1][1]

    def gauge(metric: metrics.Metric, partition: int) -> float | None:
        return measured.latest(metric, partition=str(partition))

    with watched(topics, stuck_at_0, max_in_flight_segments=16) as measured:
        wait_until(lambda: gauge(metrics.LAG_SEGMENTS, 0) == 40, "lag of the stuck partition")
        wait_until(lambda: gauge(metrics.LAG_SEGMENTS, 1) == 0, "no lag of the other")
        wait_until(lambda: gauge(metrics.LAG_VIDEO_SECONDS, 0) == 40 * SEGMENT_S, "lag as video")
        assert gauge(metrics.LAG_VIDEO_SECONDS, 1) == 0
        assert gauge(metrics.OLDEST_AGE_SECONDS, 1) == 0
        assert measured.latest(metrics.ASSIGNED_PARTITIONS) == 2
        wait_until(lambda: measured.latest(metrics.PAUSED_PARTITIONS) == 1, "one is paused")
        assert measured.latest(metrics.IN_FLIGHT_SEGMENTS) == len(held) == 8
        assert measured.latest(metrics.IN_FLIGHT_BYTES) == sum(record.num_bytes for record, _ in held)
        topics.send(numbered(25, 0))
        wait_until(lambda: gauge(metrics.LAG_SEGMENTS, 0) == 65, "the lag has grown")
        ages = measured.all(metrics.OLDEST_AGE_SECONDS, partition="0")
        assert ages == sorted(ages)
        assert ages[-1] > 4
        release.set()
        for record, future in held:
            future.set_result(event(record))
        wait_until(lambda: gauge(metrics.LAG_SEGMENTS, 0) == 0, "caught up")
        wait_until(lambda: gauge(metrics.LAG_VIDEO_SECONDS, 0) == 0, "caught up")
        wait_until(lambda: gauge(metrics.OLDEST_AGE_SECONDS, 0) == 0, "caught up")
    assert measured.total(metrics.EVENTS) == 105
    assert len(measured.all(metrics.SEGMENT_SECONDS)) == 105
    for stage, stage_s in STAGES_S.items():
        assert measured.all(metrics.STAGE_SECONDS, stage=stage) == [stage_s] * 105
    assert 0 < len(measured.all(metrics.PUBLISH_SECONDS)) < 105


def test_what_arrived_is_answered_or_behind(kafka_broker: KafkaBroker) -> None:
    """What the autoscaling goes by: dead letters are done too, and a partition that comes has not arrived."""
    topics = make_topics(kafka_broker, 2)
    topics.send([*numbered(10, 0), *numbered(10, 1)])
    held: list[tuple[Record, Future[Answer]]] = []

    def submit(record: Record) -> "Future[Answer]":
        if record.partition == 0:
            return refuses(record) if record.value == b"7" else answers(record)
        held.append((record, Future()))
        return held[-1][1]

    sessions: list[Session] = []
    with watched(topics, submit, sessions=sessions):

        def video() -> tuple[float | None, float, float]:
            now = sessions[0].progress.video
            return now.behind_s, now.arrived_s, now.answered_s

        wait_until(lambda: video() == (50, 0, 50), "one partition is behind", 15)
        topics.send([*numbered(4, 0), *numbered(3, 1)])
        wait_until(lambda: video() == (65, 35, 70), "more has come", 15)
        for record, future in held:
            future.set_result(event(record))
        wait_until(lambda: video()[0] == 0, "all is answered", 15)
        assert video() == (0, 35, 135)


def test_age_is_by_the_record_s_own_timestamp(kafka_broker: KafkaBroker) -> None:
    topics = make_topics(kafka_broker, 1)
    producer = KafkaProducer(**client_options(topics.config))
    producer.send(topics.config.input_topic, b"old", timestamp_ms=int((time.time() - 3600) * 1000))
    producer.flush()
    producer.close()
    waiting: Future[Answer] = Future()
    with watched(topics, lambda _: waiting) as measured:
        wait_until(lambda: bool(measured.latest(metrics.OLDEST_AGE_SECONDS, partition="0")), "an age")
        assert 3600 <= (measured.latest(metrics.OLDEST_AGE_SECONDS, partition="0") or 0) < 3700
        assert measured.latest(metrics.LAG_VIDEO_SECONDS, partition="0") is None
        waiting.set_result(Answer(b"key", b"event", ()))


def test_dead_letters_and_refused_publishes_are_counted(kafka_broker: KafkaBroker) -> None:
    topics = make_topics(kafka_broker, 1, max_message_bytes={"segments": 4_000_000})
    topics.send([Message(0, b"key", bytes(2_000_000)), *numbered(3, 0)])
    with watched(topics, refuses) as measured:
        wait_until(lambda: measured.total(metrics.DEAD_LETTERS, stage="decode") == 4, "dead letters")
    assert measured.total(metrics.REFUSED_PUBLISHES) == 1
    assert measured.total(metrics.EVENTS) == 0


def test_partitions_that_come_go_and_are_taken_away_are_counted(kafka_broker: KafkaBroker) -> None:
    topics = make_topics(kafka_broker, 2)
    with watched(topics, answers) as first:
        wait_until(lambda: first.latest(metrics.ASSIGNED_PARTITIONS) == 2, "all partitions")
        assert first.total(metrics.REBALANCES, change="assigned") == 1
        with watched(topics, answers, "worker-1") as second:
            wait_until(lambda: second.latest(metrics.ASSIGNED_PARTITIONS) == 1, "its share")
            wait_until(lambda: first.latest(metrics.ASSIGNED_PARTITIONS) == 1, "the rest")
            assert first.total(metrics.REBALANCES, change="revoked") == 1
        wait_until(lambda: first.latest(metrics.ASSIGNED_PARTITIONS) == 2, "all partitions again")
        assert first.total(metrics.REBALANCES, change="lost") == 0
        admin = KafkaAdminClient(**client_options(topics.config))
        admin.remove_group_members(topics.config.group_id, [MemberToRemove(group_instance_id="worker-0")])
        admin.close()
        wait_until(lambda: first.total(metrics.REBALANCES, change="lost") == 1, "taken away")


def test_a_dead_letter_and_its_span_keep_the_producer_s_trace(kafka_broker: KafkaBroker) -> None:
    topics = make_topics(kafka_broker, 1)
    traceparent = f"00-{7:032x}-{9:016x}-01"
    topics.send([Message(0, b"key", b"value", (("traceparent", traceparent.encode()),))])
    with collecting() as collector:
        spans = Spans(collector.endpoint, "worker-0")
        before_s = time.time()
        with watched(topics, refuses, spans=spans):
            (letter,) = topics.dead_letters(1)
            wait_until(lambda: topics.committed() == {0: 1}, "committed")
        spans.close()
        wait_until(lambda: bool(collector.spans), "spans")
    assert dict(letter.headers)["traceparent"].decode() == traceparent
    (whole,) = collector.wholes()
    assert f"00-{whole.trace_id.hex()}-{whole.parent_span_id.hex()}-01" == traceparent
    publish = collector.named("publish")
    assert before_s < whole.start_time_unix_nano / 1e9 <= publish.start_time_unix_nano / 1e9
    assert publish.start_time_unix_nano < publish.end_time_unix_nano == whole.end_time_unix_nano


def test_a_halt_is_seen_and_the_lag_behind_it_ages(kafka_broker: KafkaBroker) -> None:
    topics = make_topics(kafka_broker, 1)
    topics.send([Message(0, b"stream-%d" % (number % 5), b"%d" % number) for number in range(60)])
    with watched(topics, refuses, max_dead_letter_run=10, min_dead_letter_streams=3) as measured:
        wait_until(lambda: measured.latest(metrics.HALTED) == 1, "halted")
        wait_until(lambda: (measured.latest(metrics.OLDEST_AGE_SECONDS, partition="0") or 0) > 2, "it ages")
        num_published = measured.total(metrics.DEAD_LETTERS, stage="decode")
        assert 0 < num_published < 60
        assert measured.latest(metrics.LAG_SEGMENTS, partition="0") == 60 - num_published
        assert measured.latest(metrics.IN_FLIGHT_SEGMENTS) == 0
        ages = measured.all(metrics.OLDEST_AGE_SECONDS, partition="0")
        assert ages == sorted(ages)
    assert measured.all(metrics.HALTED)[-1] == 1
