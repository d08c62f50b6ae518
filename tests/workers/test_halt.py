"""Too many dead letters halt a consumer, on a real Apache Kafka; answers are made here."""

import logging
from collections.abc import Callable
from concurrent.futures import Future
from datetime import UTC, datetime

import pytest

from tests.kafka_broker import KafkaBroker
from tests.topics import Message, make_topics, wait_until
from tests.workers.test_session import Running, answer, consuming, settings
from workers.brake import Brake, stream_of
from workers.messages import Answer, Failure, Record, dead_letter

BUG = Failure("extract", "KeyError", "a bug", "unexpected")
MAX_RUN = 11


def of_streams(num_messages: int, num_partitions: int, num_streams: int) -> list[Message]:
    """Streams in turn, each in one partition."""
    return [
        Message(number % num_streams % num_partitions, b"cam-%d" % (number % num_streams), b"%d" % number)
        for number in range(num_messages)
    ]


def answering(fails: Callable[[Record], bool]) -> Callable[[Record], "Future[Answer]"]:
    def submit(record: Record) -> "Future[Answer]":
        future: Future[Answer] = Future()
        is_dead = fails(record)
        future.set_result(dead_letter(record, BUG, 2, datetime.now(UTC)) if is_dead else answer(record))
        return future

    return submit


def wait_until_halted(running: Running) -> None:
    """Halted, and nothing in flight any more."""
    wait_until(lambda: running.session.progress.halted_by is not None, "halted")
    wait_until(lambda: running.session.progress.num_in_flight == 0, "all given back")


@pytest.mark.kafka
@pytest.mark.parametrize("delivery", ["exactly_once", "at_least_once"])
def test_a_bug_that_hits_every_segment_halts_the_consumer_until_it_is_released(
    kafka_broker: KafkaBroker, delivery: str, caplog: pytest.LogCaptureFixture
) -> None:
    topics = make_topics(kafka_broker, 4, delivery=delivery, commit_interval_s=0.01)
    flow = settings(topics, max_dead_letter_run=MAX_RUN, max_in_flight_segments=40)
    is_broken = False
    tried: list[Record] = []

    def fails(record: Record) -> bool:
        tried.append(record)
        return is_broken

    brake = Brake(flow.flow)
    with consuming(flow, answering(fails), brake=brake) as running:
        topics.send(of_streams(48, 4, 12))
        wait_until(lambda: running.session.progress.num_events == 48, "all well")
        is_broken = True
        topics.send(of_streams(480, 4, 12))
        wait_until_halted(running)
        assert "flow.max_dead_letter_run = 11 is passed" in str(running.session.progress.halted_by)
        (line,) = [
            one for one in caplog.records if one.levelno == logging.ERROR and one.name == "workers.brake"
        ]
        assert "max_dead_letter_run = 11" in line.getMessage()
        assert "12 dead letters" in line.getMessage()
        assert "hctdmg resume" in line.getMessage()

        letters = topics.dead_letters(1)
        assert len(letters) == MAX_RUN
        committed = topics.committed()
        assert sum(offset or 0 for offset in committed.values()) == 48 + MAX_RUN
        num_tried = len(tried)
        topics.send(of_streams(48, 4, 12))  # nothing of it is read, though the membership is kept
        is_polling = [running.session.progress]
        wait_until(lambda: running.session.progress is not is_polling[0], "it polls on")
        assert running.session.progress.is_member
        assert len(running.session.progress.partitions) == 4
        assert (len(tried), topics.committed()) == (num_tried, committed)

        is_broken = False
        brake.release()
        wait_until(lambda: running.session.progress.num_events == 576 - MAX_RUN, "it goes on where it was")
        assert running.session.progress.halted_by is None
    assert running.error is None
    dead = {(letter.partition, dlq_place(letter.headers)) for letter in letters}
    events = [tuple(map(int, event.value.split())) for event in topics.events(576 - MAX_RUN)]
    places = sorted([*events, *(place for _, place in dead)])
    assert places == [(number, offset) for number in range(4) for offset in range(144)]
    assert events == sorted(events)


def dlq_place(headers: list[tuple[str, bytes]]) -> tuple[int, int]:
    found = dict(headers)
    return int(found["dlq-source-partition"]), int(found["dlq-source-offset"])


@pytest.mark.kafka
def test_a_broken_camera_halts_nothing(kafka_broker: KafkaBroker) -> None:
    topics = make_topics(kafka_broker, 2)
    flow = settings(topics, max_dead_letter_run=5, max_dead_letter_share=0.1, dead_letter_window=20)
    with consuming(flow, answering(lambda record: record.key == b"cam-1")) as running:
        topics.send([*of_streams(100, 2, 4), *(Message(1, b"cam-1", b"more") for _ in range(100))])
        wait_until(lambda: running.session.progress.num_dead_letters == 125, "all of the broken one")
        wait_until(lambda: running.session.progress.num_events == 75, "all of the others")
        assert running.session.progress.halted_by is None


@pytest.mark.kafka
def test_a_halted_consumer_leaves_at_once_and_its_successor_begins_where_it_stopped(
    kafka_broker: KafkaBroker,
) -> None:
    topics = make_topics(kafka_broker, 2)
    flow = settings(topics, max_dead_letter_run=MAX_RUN)
    topics.send(of_streams(60, 2, 6))
    with consuming(flow, answering(lambda _: True)) as halted:
        wait_until_halted(halted)
    assert halted.error is None
    assert len(topics.dead_letters(1)) == MAX_RUN
    with consuming(flow, answering(lambda _: False)) as mended:
        wait_until(lambda: mended.session.progress.num_events == 60 - MAX_RUN, "the rest")


def test_a_stream_is_told_by_key_then_by_the_segment_then_by_the_partition() -> None:
    value = b'{"stream_id": "cam-7", "segment_id": "cam-7/1", "uri": "file:///a.mp4"}'

    def stream(key: bytes | None, value: bytes) -> bytes:
        return stream_of(dead_letter(Record("s", 3, 0, key, value, ()), BUG, 1, datetime.now(UTC)), 3)

    assert stream(b"key", value) == b"key"
    assert stream(None, value) == b"cam-7"
    assert stream(None, b"no json") == b"3"
