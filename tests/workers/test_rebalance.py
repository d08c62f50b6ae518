"""Members that come, go and die, and answers that are too slow: on a real Apache Kafka, without Ray."""

import threading
from collections import defaultdict
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest

from tests.kafka_broker import KafkaBroker
from tests.topics import Topics, make_topics, wait_until
from tests.workers.test_session import (
    Running,
    Submit,
    answer,
    assert_each_answered_once,
    consuming,
    numbered,
    settings,
    wait_for_events,
)
from workers.kafka import MAX_FETCH_SHARE, open_producer
from workers.messages import Answer, Record

pytestmark = pytest.mark.kafka

MAX_BACKLOG = 300
NUM_SLOW = 800


class Gates:
    """Answers records at once, except those of partitions that are shut."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._shut: set[int] = set()
        self._held: dict[int, list[tuple[Record, Future[Answer]]]] = defaultdict(list)
        self._threads = ThreadPoolExecutor(4)

    def submit(self, record: Record) -> "Future[Answer]":
        with self._lock:
            if record.partition not in self._shut:
                return self._threads.submit(answer, record)
            future: Future[Answer] = Future()
            self._held[record.partition].append((record, future))
            return future

    def shut(self, *partitions: int) -> None:
        with self._lock:
            self._shut.update(partitions)

    def open(self, *partitions: int) -> None:
        with self._lock:
            self._shut.difference_update(partitions)
            for partition in partitions:
                for record, future in self._held.pop(partition, ()):
                    if future.set_running_or_notify_cancel():
                        future.set_result(answer(record))

    @property
    def held(self) -> dict[int, list[Record]]:
        with self._lock:
            return {partition: [record for record, _ in held] for partition, held in self._held.items()}


@pytest.fixture
def gates() -> Gates:
    return Gates()


@pytest.fixture
def submit() -> Iterator[Submit]:
    with ThreadPoolExecutor(8) as threads:
        yield lambda record: threads.submit(answer, record)


def num_partitions_of(running: Running) -> int:
    return len(running.session.progress.partitions)


def num_events(topics: Topics, partitions: set[int]) -> int:
    return sum(event.partition in partitions for event in topics.events(0))


def test_one_two_three_members_and_back_to_another_one_under_load(
    kafka_broker: KafkaBroker, submit: Submit
) -> None:
    topics = make_topics(kafka_broker, 6, commit_interval_s=0.01)
    over = threading.Event()
    num_sent = 0
    members: list[Running] = []

    def feed() -> None:
        nonlocal num_sent
        while not over.is_set():
            if num_sent - sum(one.session.progress.num_events for one in members) < MAX_BACKLOG:
                topics.send(numbered(60, 6))
                num_sent += 60
            over.wait(0.01)

    feeder = threading.Thread(target=feed)
    with ExitStack() as last:
        with ExitStack() as first_two:
            members.append(first_two.enter_context(consuming(settings(topics), submit, "worker-0")))
            feeder.start()
            wait_for_events(members[0], 100)
            members.append(first_two.enter_context(consuming(settings(topics), submit, "worker-1")))
            members.append(last.enter_context(consuming(settings(topics), submit, "worker-2")))
            third = members[2]
            wait_until(lambda: list(map(num_partitions_of, members)) == [2, 2, 2], "three share")
            wait_for_events(third, 50)
        wait_until(lambda: num_partitions_of(third) == 6, "the third has all, at once", 10)
        over.set()
        feeder.join()
        assert num_sent > 200
        assert_each_answered_once(topics, num_sent)
    assert [one.error for one in members] == [None] * 3


def test_partitions_that_stay_go_on_while_others_are_finished(
    kafka_broker: KafkaBroker, gates: Gates
) -> None:
    """With two old members: one is slow to give a partition back, the other waits for it to join again."""
    topics = make_topics(kafka_broker, 6, commit_interval_s=0.01)
    partitions = set(range(6))
    options = settings(topics, drain_timeout_s=60, max_in_flight_segments=12)
    with ExitStack() as stack:
        members = [stack.enter_context(consuming(options, gates.submit, f"worker-{n}")) for n in range(2)]
        wait_until(lambda: [num_partitions_of(one) for one in members] == [3, 3], "two share")
        gates.shut(*partitions)
        topics.send(numbered(600, 6))
        wait_until(lambda: set(gates.held) == partitions, "all have work")
        stack.callback(gates.open, *partitions)
        new = stack.enter_context(consuming(options, gates.submit, "worker-2"))

        def kept() -> list[set[int]]:
            return [{place.partition for place in one.session._consumer.assignment()} for one in members]

        before = [set(one.session.progress.partitions) for one in members]
        wait_until(lambda: list(map(len, kept())) == [2, 2], "one of each is revoked")
        stay = kept()[0] | kept()[1]
        (slow,) = before[0] - kept()[0]
        gates.open(*(partitions - {slow}))
        wait_until(lambda: num_events(topics, stay) == 400, "those that stay are read to their end")
        assert num_partitions_of(new) == 0
        assert num_events(topics, {slow}) == 0
        gates.open(slow)
        assert_each_answered_once(topics, 600)
        wait_until(lambda: num_partitions_of(new) == 2, "the new one has its share")
    assert [one.error for one in (*members, new)] == [None] * 3


def test_a_revoked_partition_finishes_its_head_and_gives_the_rest_back(
    kafka_broker: KafkaBroker, gates: Gates, caplog: pytest.LogCaptureFixture
) -> None:
    """It takes no longer than the group's patience allows, whatever the drain's budget is."""
    topics = make_topics(kafka_broker, 2, commit_interval_s=0.01, max_poll_interval_s=6.0)
    stuck: dict[int, Future[Answer]] = {}

    def some_stuck(record: Record) -> "Future[Answer]":
        if record.offset == 6 and record.partition not in stuck:
            stuck[record.partition] = Future()
            return stuck[record.partition]
        return gates.submit(record)

    options = settings(topics, drain_timeout_s=60.0)
    gates.shut(0, 1)
    topics.send(numbered(40, 2))
    with consuming(options, some_stuck, "worker-0") as first:
        wait_until(lambda: set(stuck) == {0, 1}, "polled")
        with consuming(options, gates.submit, "worker-1") as second:
            wait_until(lambda: len(first.session._consumer.assignment()) == 1, "one is revoked")
            gates.open(0, 1)
            wait_until(lambda: num_partitions_of(second) == 1, "it has gone over")
            (moved,) = second.session.progress.partitions
            wait_until(lambda: topics.committed() == {moved: 20, 1 - moved: 6}, "the new owner finishes it")
            assert second.session.progress.num_events == 14  # those before were finished by the first
            stuck[1 - moved].set_result(Answer(b"key", b"%d 6" % (1 - moved), ()))
            assert_each_answered_once(topics, 40)
    assert " lost, " not in caplog.text  # the group threw nobody out
    assert (first.error, second.error) == (None, None)


def test_a_killed_member_that_is_back_changes_nothing_for_the_others(
    kafka_broker: KafkaBroker, submit: Submit
) -> None:
    topics = make_topics(kafka_broker, 4, commit_interval_s=0.01)
    with consuming(settings(topics), submit, "worker-1") as other:
        killed = Running(settings(topics), "worker-0", submit)
        wait_until(lambda: num_partitions_of(other) == num_partitions_of(killed) == 2, "both share")
        before = other.session.progress.partitions, killed.session.progress.partitions
        generation = killed.session._consumer.group_metadata().generation_id
        topics.send(numbered(200, 4))
        wait_for_events(killed, 10)
        killed.kill()
        with consuming(settings(topics), submit, "worker-0") as successor:
            topics.send(numbered(200, 4))
            assert_each_answered_once(topics, 400)
            assert (other.session.progress.partitions, successor.session.progress.partitions) == before
            for one in (other, successor):
                assert one.session._consumer.group_metadata().generation_id == generation


def test_two_applications_overlap_and_the_old_one_drains(kafka_broker: KafkaBroker, submit: Submit) -> None:
    """As in a blue-green upgrade: one group, two values of `kafka.instance`."""
    topics = make_topics(kafka_broker, 4, commit_interval_s=0.01)
    with consuming(settings(topics), submit, "group.green.hctdmg.0") as green:
        with consuming(settings(topics), submit, "group.blue.hctdmg.0") as blue:
            wait_until(lambda: num_partitions_of(green) == num_partitions_of(blue) == 2, "both share")
            topics.send(numbered(400, 4))
            wait_for_events(blue, 10)
            wait_for_events(green, 10)
        topics.send(numbered(200, 4))
        wait_until(lambda: num_partitions_of(green) == 4, "the old one's partitions are taken at once", 10)
        assert_each_answered_once(topics, 600)
    assert (green.error, blue.error) == (None, None)


def test_answers_that_are_too_slow_hold_neither_memory_nor_membership(
    kafka_broker: KafkaBroker, gates: Gates, monkeypatch: pytest.MonkeyPatch
) -> None:
    num_partitions, size, budget_bytes = 4, 20_000, 2**20
    topics = make_topics(kafka_broker, num_partitions, max_poll_interval_s=2.0)
    body = bytes(size)
    gates.shut(*range(num_partitions))
    options = settings(topics, max_in_flight_bytes=budget_bytes, max_in_flight_segments=1000)
    with consuming(options, gates.submit) as running:
        consumer = running.session._consumer
        wait_until(lambda: num_partitions_of(running) == num_partitions, "assigned")
        generation = consumer.group_metadata().generation_id
        fetched: list[int] = []  # bytes of each fetch; the client holds one of each partition at most
        parse = consumer._fetcher._parse_fetched_data

        def parse_and_note(fetch: Any) -> Any:
            fetched.append(len(fetch.partition_data.records))
            return parse(fetch)

        monkeypatch.setattr(consumer._fetcher, "_parse_fetched_data", parse_and_note)
        producer = open_producer(topics.config, None)  # each message is a batch of its own
        for number in range(NUM_SLOW):
            producer.send(topics.config.input_topic, b"%d" % number + body, partition=number % num_partitions)
        producer.close()
        wait_until(lambda: len(consumer.paused()) == num_partitions, "all partitions are paused")
        held = running.session.progress.num_in_flight
        rss_bytes = resident_bytes()
        over = threading.Event()
        threading.Timer(2.5 * topics.config.max_poll_interval_s, over.set).start()
        while not over.wait(0.05):
            progress = running.session.progress
            assert progress.num_bytes_in_flight < budget_bytes + size + 10
            assert progress.num_in_flight == held == sum(map(len, gates.held.values()))
        assert resident_bytes() - rss_bytes < 4 * 2**20
        assert consumer.group_metadata().generation_id == generation
        assert len(topics.members()) == 1
        gates.open(*range(num_partitions))
        assert len(topics.events(NUM_SLOW)) == NUM_SLOW
        wait_until(lambda: not consumer.paused(), "all partitions are resumed")
        assert size < max(fetched) <= budget_bytes * MAX_FETCH_SHARE
    assert running.error is None
    assert topics.committed() == dict.fromkeys(range(num_partitions), NUM_SLOW // num_partitions)


def resident_bytes() -> int:
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * 4096
