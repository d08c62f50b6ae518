import pickle
import socket
import time
from collections.abc import Iterator

import pytest

from pipelines.errors import ConfigError
from tests.kafka_broker import KafkaBroker
from tests.topics import make_topics
from workers import kafka
from workers.config import KafkaConfig
from workers.handshake import BrokerError
from workers.kafka import check_broker, check_topics


def refusal(config: KafkaConfig) -> str:
    """What a broker's check says, within the time that it may take."""
    begun_s = time.monotonic()
    with pytest.raises(ConfigError) as caught:
        check_broker(config)
    assert time.monotonic() - begun_s < 5
    assert "\n" not in str(caught.value)
    return str(caught.value)


@pytest.fixture
def mute_port(monkeypatch: pytest.MonkeyPatch) -> Iterator[int]:
    """Something listens, and says nothing."""
    assert kafka.CHECK_TIMEOUT_S < 10
    monkeypatch.setattr(kafka, "CHECK_TIMEOUT_S", 1.0)
    with socket.socket() as listening:
        listening.bind(("127.0.0.1", 0))
        listening.listen()
        yield listening.getsockname()[1]


@pytest.mark.kafka
def test_a_broker_with_the_topics_is_fine(kafka_broker: KafkaBroker) -> None:
    config = make_topics(kafka_broker, 3).config
    check_broker(config)
    assert check_topics(config, [config.input_topic, config.dead_letter_topic]) == {
        config.input_topic: 3,
        config.dead_letter_topic: 1,
    }


@pytest.mark.kafka
@pytest.mark.parametrize("topic", ["input_topic", "output_topic", "dead_letter_topic"])
def test_a_missing_topic_is_named_and_not_made(kafka_broker: KafkaBroker, topic: str) -> None:
    config = make_topics(kafka_broker, 1).config.model_copy(update={topic: "nowhere"})
    assert "'nowhere'" in refusal(config)
    assert "'nowhere'" in refusal(config)


def test_a_closed_port_is_told_at_once() -> None:
    begun_s = time.monotonic()
    message = refusal(KafkaConfig(bootstrap_servers="127.0.0.1:1"))
    assert "127.0.0.1:1" in message
    assert "refused" in message
    assert time.monotonic() - begun_s < 2


def test_an_unknown_host_and_a_missing_port_are_told() -> None:
    assert "nowhere.invalid" in refusal(KafkaConfig(bootstrap_servers="nowhere.invalid:9092"))
    assert "host:port" in refusal(KafkaConfig(bootstrap_servers="localhost"))


def test_what_is_no_broker_is_told_in_time(mute_port: int) -> None:
    servers = f"127.0.0.1:{mute_port}"
    assert servers in refusal(KafkaConfig(bootstrap_servers=servers))


def test_one_of_several_servers_is_enough(mute_port: int) -> None:
    message = refusal(KafkaConfig(bootstrap_servers=f"127.0.0.1:1, 127.0.0.1:{mute_port}", api_version="2.3"))
    assert "does not answer as a Kafka broker" in message


def test_what_is_wrong_with_the_broker_crosses_processes_whole() -> None:
    error = pickle.loads(pickle.dumps(BrokerError("no broker", "start it")))
    assert (error.what, error.fix, str(error)) == ("no broker", "start it", "no broker: start it")
