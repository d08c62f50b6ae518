"""What the demo relies on, by the very clients of the worker."""

import sys
from concurrent.futures import Future
from threading import Event, Thread

import pytest
from kafka import KafkaConsumer, KafkaProducer, TopicPartition

from pipelines.errors import ConfigError
from tests.topics import wait_until
from workers.config import KafkaConfig, Settings
from workers.embedded import API_VERSION, EmbeddedBroker
from workers.kafka import check_broker, check_topics, client_options
from workers.messages import Answer, Record
from workers.session import Session

TOPICS = {"video.segments": 2, "affect.events": 2, "video.segments.dlq": 1}


def config_of(broker: EmbeddedBroker) -> KafkaConfig:
    return KafkaConfig(bootstrap_servers=broker.bootstrap_servers, api_version=API_VERSION)


def test_topics_are_there_with_their_partitions() -> None:
    with EmbeddedBroker(TOPICS) as broker:
        check_broker(config_of(broker))
        assert check_topics(config_of(broker), list(TOPICS)) == TOPICS
        broker.create_topic("another", 7)
        assert check_topics(config_of(broker), ["another"]) == {"another": 7}
        with pytest.raises(ConfigError, match="another"):
            broker.create_topic("another", 7)


def test_two_brokers_do_not_know_each_other() -> None:
    with EmbeddedBroker({"a": 1}) as first, EmbeddedBroker({"b": 1}) as second:
        assert first.bootstrap_servers != second.bootstrap_servers
        with pytest.raises(ConfigError, match="'b'"):
            check_topics(config_of(first), ["b"])


def test_a_session_answers_each_record_once_and_in_order() -> None:
    stopping = Event()

    def submit(record: Record) -> "Future[Answer]":
        future: Future[Answer] = Future()
        future.set_result(Answer(record.key, record.value, ()))
        return future

    with EmbeddedBroker(TOPICS) as broker:
        config = config_of(broker)
        producer = KafkaProducer(**client_options(config))
        for number in range(100):
            producer.send("video.segments", key=b"k", value=b"%d" % number, partition=number % 2)
        producer.close()
        session = Session(Settings(kafka=config), "worker-0", submit)
        thread = Thread(target=session.run, args=(stopping.is_set,))
        thread.start()
        try:
            wait_until(lambda: session.progress.num_events == 100, "all answered")
        finally:
            stopping.set()
            thread.join(30)
        session.leave()
        values = read_all(config, 100)
    assert values == {0: list(range(0, 100, 2)), 1: list(range(1, 100, 2))}


def read_all(config: KafkaConfig, number: int) -> dict[int, list[int]]:
    # The broker writes transaction markers without a checksum.
    consumer = KafkaConsumer(**client_options(config), isolation_level="read_committed", check_crcs=False)
    places = [TopicPartition(config.output_topic, partition) for partition in range(2)]
    consumer.assign(places)
    consumer.seek_to_beginning(*places)
    values: dict[int, list[int]] = {0: [], 1: []}

    def is_read() -> bool:
        for place, records in consumer.poll(timeout_ms=100).items():
            values[place.partition] += [int(record.value) for record in records]
        return sum(map(len, values.values())) >= number

    wait_until(is_read, f"{number} events")
    consumer.close()
    return values


def test_without_confluent_kafka_the_remedy_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "confluent_kafka", None)
    with pytest.raises(ConfigError, match="embedded"):
        EmbeddedBroker(TOPICS)
