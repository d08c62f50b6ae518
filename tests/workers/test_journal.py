"""What was tried with a segment outlives the consumer, on a real Apache Kafka; the tries fail as written down."""

import asyncio
import json
import logging
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

import pytest
from kafka import KafkaConsumer, TopicPartition
from kafka.consumer.fetcher import ConsumerRecord
from kafka.structs import OffsetAndMetadata

from tests.answering import answering
from tests.kafka_broker import KafkaBroker
from tests.topics import Message, Topics, make_topics, wait_until
from tests.workers.test_session import Running, consuming, settings
from workers.config import Settings
from workers.kafka import client_options
from workers.messages import Answer, Failure, FailureKind, Work
from workers.past import Past, read_pasts, write_pasts

pytestmark = pytest.mark.kafka

NEVER = "never"


@dataclass
class Scripted:
    """Each try of a segment whose id begins with "bad" takes the next of the outcomes; then it is answered.

    Attributes:
        outcomes: A kind of failure, or NEVER for a try that does not end.
        calls: How the bad one was tried.
    """

    outcomes: list[str]
    calls: list[str] = field(default_factory=list)

    async def together(self, work: Work) -> Answer | Failure:
        return await self._next("together", work)

    async def alone(self, work: Work) -> Answer | Failure:
        return await self._next("alone", work)

    async def _next(self, how: str, work: Work) -> Answer | Failure:
        segment_id = work.incoming.segment.segment_id
        if segment_id.startswith("bad"):
            self.calls.append(how)
            outcome = self.outcomes.pop(0) if self.outcomes else None
            if outcome == NEVER:
                await asyncio.Event().wait()
            if outcome is not None:
                kind: FailureKind = outcome  # type: ignore[assignment]
                return Failure("extract", "SomeError", "what happened", kind, 0.5)
        return Answer(b"cam", segment_id.encode(), ())


def segment(segment_id: str, partition: int = 0) -> Message:
    fields = {"stream_id": "cam", "segment_id": segment_id, "uri": "file:///a.mp4"}
    return Message(partition, b"cam", json.dumps(fields).encode(), (("content-type", b"application/json"),))


@contextmanager
def killed(config: Settings, backend: Scripted) -> Iterator[Running]:
    """A consumer that is killed when the block is left."""
    with answering(config.flow, backend) as made:
        running = Running(config, "worker-0", made.submit, memory=made.memory)
        try:
            yield running
        finally:
            running.kill()


def finish(config: Settings, backend: Scripted, is_done: Callable[[Running], bool]) -> None:
    """A consumer that lives until all is done."""
    with (
        answering(config.flow, backend) as made,
        consuming(config, made.submit, memory=made.memory) as running,
    ):
        wait_until(lambda: is_done(running), "all done")
    assert running.error is None


def committed(topics: Topics, partition: int = 0) -> OffsetAndMetadata | None:
    consumer = KafkaConsumer(
        **client_options(topics.config),
        group_id=topics.config.group_id,
        enable_auto_commit=False,
        isolation_level="read_committed",
    )
    found = consumer.committed(TopicPartition(topics.config.input_topic, partition), metadata=True)
    consumer.close()
    return found


def known(topics: Topics) -> dict[int, Past]:
    found = committed(topics)
    return {} if found is None else read_pasts(found.metadata)


def dlq(record: ConsumerRecord) -> dict[str, str]:
    return {name: value.decode() for name, value in record.headers if name.startswith("dlq-")}


@pytest.mark.parametrize("delivery", ["exactly_once", "at_least_once"])
def test_a_segment_that_kills_its_extractor_is_found_out_although_the_consumer_is_killed_too(
    kafka_broker: KafkaBroker, delivery: str
) -> None:
    topics = make_topics(kafka_broker, 1, delivery=delivery, commit_interval_s=0.01)
    config = settings(topics, max_deaths=2, retry_backoff_s=0.01, replica_restart_s=0.0)
    topics.send([segment("good/0"), segment("bad"), segment("good/1")])
    first = Scripted(["death", "death", NEVER])
    with killed(config, first):
        # With nothing left to publish, it is written beside the unchanged offset.
        wait_until(lambda: known(topics) == {1: Past(2, num_deaths=1, is_suspect=True, spent_s=1.0)}, "kept")
        offset = committed(topics)
        assert offset is not None
        assert offset.offset == 1
    second = Scripted(["death"])
    finish(config, second, lambda running: running.session.progress.num_dead_letters == 1)
    assert (first.calls, second.calls) == (["together", "alone", "alone"], ["alone"])
    (letter,) = topics.dead_letters(1)
    assert dlq(letter)["dlq-attempts"] == "3"
    assert [event.value for event in topics.events(2)] == [b"good/0", b"good/1"]
    assert known(topics) == {}


def test_the_last_death_counts_although_the_consumer_died_before_it_could_tell(
    kafka_broker: KafkaBroker,
) -> None:
    topics = make_topics(kafka_broker, 1, commit_interval_s=0.01)
    config = settings(topics, max_deaths=2)
    topics.send([segment("bad")])
    commit(topics, OffsetAndMetadata(0, write_pasts({0: Past(3, num_deaths=2, is_suspect=True)}), -1))
    backend = Scripted([])
    finish(config, backend, lambda running: running.session.progress.num_dead_letters == 1)
    assert backend.calls == []
    (letter,) = topics.dead_letters(1)
    assert "2 processes died" in dlq(letter)["dlq-message"]
    assert dlq(letter)["dlq-attempts"] == "3"


def test_consumers_that_die_are_not_held_against_a_suspect(kafka_broker: KafkaBroker) -> None:
    """It waits for its turn to be tried alone, or is alone, when one consumer after the other is killed."""
    topics = make_topics(kafka_broker, 1, commit_interval_s=0.01)
    config = settings(topics, max_attempts=3, max_deaths=2, retry_backoff_s=0.01)
    topics.send([segment("bad luck")])
    for number in range(4):
        backend = Scripted(["death", NEVER] if number == 0 else [NEVER])
        with killed(config, backend):
            wait_until(lambda: known(topics) == {0: Past(1, is_suspect=True, spent_s=0.5)}, "kept")
            wait_until(lambda backend=backend: backend.calls[-1:] == ["alone"], "tried alone")  # type: ignore[misc]
    backend = Scripted([])
    finish(config, backend, lambda running: running.session.progress.num_events == 1)
    assert backend.calls == ["alone"]
    assert topics.dead_letters(0) == []


def test_transient_errors_are_counted_over_consumers(kafka_broker: KafkaBroker) -> None:
    topics = make_topics(kafka_broker, 1, commit_interval_s=0.01)
    config = settings(topics, max_attempts=4, retry_backoff_s=0.01)
    topics.send([segment("bad")])
    with killed(config, Scripted(["transient", "transient", NEVER])):
        wait_until(lambda: 0 in known(topics) and known(topics)[0].num_transient == 2, "kept")
    backend = Scripted(["transient"] * 9)
    finish(config, backend, lambda running: running.session.progress.num_dead_letters == 1)
    assert backend.calls == ["together", "together"]
    assert dlq(topics.dead_letters(1)[0])["dlq-attempts"] == "4"


def test_foreign_metadata_are_ignored_with_one_line(
    kafka_broker: KafkaBroker, caplog: pytest.LogCaptureFixture
) -> None:
    topics = make_topics(kafka_broker, 1)
    topics.send([segment("good/0"), segment("good/1")])
    commit(topics, OffsetAndMetadata(1, "host-7, by hand", -1))
    finish(settings(topics), Scripted([]), lambda running: running.session.progress.num_events == 1)
    assert [event.value for event in topics.events(1)] == [b"good/1"]
    warnings = [
        one for one in caplog.records if one.name == "workers.journal" and one.levelno == logging.WARNING
    ]
    assert len(warnings) == 1
    assert "host-7, by hand" in warnings[0].getMessage()
    assert committed(topics) == OffsetAndMetadata(2, "", -1)


def test_more_than_there_is_room_for_keeps_the_oldest_and_goes_on(kafka_broker: KafkaBroker) -> None:
    topics = make_topics(kafka_broker, 1, commit_interval_s=0.01)
    config = settings(topics, max_in_flight_segments=400, retry_backoff_s=0.01)
    topics.send([segment(f"bad/{number}") for number in range(300)])
    with killed(config, Scripted(["transient"] * 300 + [NEVER] * 300)):
        wait_until(lambda: len(known(topics)) > 50, "kept")
        oldest = sorted(known(topics))
        assert oldest == list(range(len(oldest)))
    finish(config, Scripted([]), lambda running: running.session.progress.num_events == 300)


def test_a_halt_forgets_what_was_tried(kafka_broker: KafkaBroker) -> None:
    """What was halted by a bug gets all its tries once that is mended, whoever goes on."""
    topics = make_topics(kafka_broker, 1, commit_interval_s=0.01)
    config = settings(topics, max_dead_letter_run=1, min_dead_letter_streams=1, retry_backoff_s=0.01)
    topics.send([segment("good"), *(segment(f"bad/{number}") for number in range(5))])
    with (
        answering(config.flow, Scripted(["unexpected"] * 10)) as made,
        consuming(config, made.submit, memory=made.memory) as running,
    ):
        wait_until(lambda: running.session.progress.halted_by is not None, "halted")
        wait_until(lambda: running.session.progress.num_in_flight == 0, "let go")
        wait_until(lambda: committed(topics) == OffsetAndMetadata(2, "", -1), "forgotten")
    backend = Scripted([])
    finish(config, backend, lambda running: running.session.progress.num_events == 4)
    assert backend.calls == ["together"] * 4


def commit(topics: Topics, what: OffsetAndMetadata) -> None:
    """As an operator's tool does while no consumer is there."""
    consumer = KafkaConsumer(
        **client_options(topics.config), group_id=topics.config.group_id, enable_auto_commit=False
    )
    place = TopicPartition(topics.config.input_topic, 0)
    consumer.assign([place])
    consumer.commit({place: what})
    consumer.close()
