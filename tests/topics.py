"""Topics for one test, with what a producer and a reader of the worker's topics do."""

import itertools
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from confluent_kafka import Producer
from kafka import KafkaAdminClient, KafkaConsumer, TopicPartition
from kafka.consumer.fetcher import ConsumerRecord

from pipelines.segment import Header
from tests.kafka_broker import KafkaBroker
from workers.config import KafkaConfig
from workers.kafka import client_options

WAIT_S = 30.0

_number = itertools.count(1)


def wait_until(is_so: Callable[[], bool], what: str, timeout_s: float = WAIT_S) -> None:
    """Wait for a condition."""
    deadline_s = time.monotonic() + timeout_s
    while not is_so():
        assert time.monotonic() < deadline_s, f"not within {timeout_s:g} s: {what}"
        time.sleep(0.02)


@dataclass(frozen=True)
class Message:
    """A message for the input topic."""

    partition: int
    key: bytes | None
    value: bytes | None
    headers: tuple[Header, ...] = ()


@dataclass(frozen=True)
class Topics:
    """Input, output and dead letters of one test, and a group of its own."""

    config: KafkaConfig
    num_partitions: int

    def send(self, messages: Sequence[Message]) -> None:
        """Publish messages to the input, each partition's in order; librdkafka also sends empty ones."""
        servers = self.config.bootstrap_servers
        producer = Producer({"bootstrap.servers": servers, "linger.ms": 1, "message.max.bytes": 2**24})
        for one in messages:
            self.produce(producer, one)
        assert producer.flush(WAIT_S) == 0

    def produce(self, producer: Producer, message: Message) -> None:
        """Hand a message for the input to a producer; it is not waited for."""
        producer.produce(
            self.config.input_topic,
            key=message.key,
            value=message.value,
            headers=list(message.headers),
            partition=message.partition,
        )

    def read(self, topic: str, num_messages: int, timeout_s: float = WAIT_S) -> list[ConsumerRecord]:
        """What a reader of committed messages sees, once there are so many, and then nothing more comes."""
        consumer = KafkaConsumer(**client_options(self.config), isolation_level="read_committed")
        places = [TopicPartition(topic, number) for number in consumer.partitions_for_topic(topic)]
        consumer.assign(places)
        consumer.seek_to_beginning(*places)
        records: list[ConsumerRecord] = []

        def is_read() -> bool:
            for batch in consumer.poll(timeout_ms=100).values():
                records.extend(batch)
            return len(records) >= num_messages and all(
                consumer.position(place) >= end for place, end in consumer.end_offsets(places).items()
            )

        wait_until(is_read, f"{num_messages} messages in {topic}", timeout_s)
        consumer.close()
        return sorted(records, key=lambda record: (record.partition, record.offset))

    def events(self, num_events: int, timeout_s: float = WAIT_S) -> list[ConsumerRecord]:
        """Messages of the output topic."""
        return self.read(self.config.output_topic, num_events, timeout_s)

    def dead_letters(self, num_dead_letters: int, timeout_s: float = WAIT_S) -> list[ConsumerRecord]:
        """Messages of the dead-letter topic."""
        return self.read(self.config.dead_letter_topic, num_dead_letters, timeout_s)

    def committed(self) -> dict[int, int | None]:
        """The group's committed offset of each input partition."""
        consumer = KafkaConsumer(
            **client_options(self.config),
            group_id=self.config.group_id,
            enable_auto_commit=False,
            isolation_level="read_committed",
        )
        offsets = {
            number: consumer.committed(TopicPartition(self.config.input_topic, number))
            for number in range(self.num_partitions)
        }
        consumer.close()
        return offsets

    def members(self) -> list[object]:
        """Who is in the group: static members too, until their session times out."""
        admin = KafkaAdminClient(**client_options(self.config))
        groups = admin.describe_groups([self.config.group_id])
        admin.close()
        return list(groups[self.config.group_id]["members"])


def make_topics(
    broker: KafkaBroker,
    num_partitions: int,
    max_message_bytes: Mapping[str, int] | None = None,
    **settings: Any,
) -> Topics:
    """New topics on a broker, for a new group.

    Args:
        broker: The broker.
        num_partitions: Of input and output; dead letters have one.
        max_message_bytes: Limit of "segments", "events" or "dead-letters", where it is not the broker's own.
        settings: Of the group `kafka`, beside the names.
    """
    number = next(_number)
    names = {kind: f"{kind}-{number}" for kind in ("segments", "events", "dead-letters")}
    limits = {names[kind]: limit for kind, limit in (max_message_bytes or {}).items()}
    broker.create_topics(
        {names["segments"]: num_partitions, names["events"]: num_partitions, names["dead-letters"]: 1}, limits
    )
    config = KafkaConfig(
        bootstrap_servers=broker.bootstrap_servers,
        input_topic=names["segments"],
        output_topic=names["events"],
        dead_letter_topic=names["dead-letters"],
        group_id=f"group-{number}",
        **settings,
    )
    return Topics(config, num_partitions)
