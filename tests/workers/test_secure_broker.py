"""TLS, log-in and ACLs on a real Apache Kafka: who is let in, with the least rights, and what the others are told."""

import dataclasses
from collections.abc import Callable
from concurrent.futures import Future
from typing import Any

import pytest
from kafka import KafkaAdminClient
from kafka.admin import ACLOperation, ResourceType

from pipelines.errors import ConfigError
from tests.secure_kafka import PASSWORD, Right, SecureKafka
from tests.token_endpoint import CLIENT_ID, CLIENT_SECRET, token_endpoint
from tests.topics import Topics, make_topics, wait_until
from tests.workers.test_dlq import numbered as numbered_letters
from tests.workers.test_dlq import write_letters
from tests.workers.test_session import (
    answer,
    assert_each_answered_once,
    consuming,
    numbered,
    settings,
    wait_for_events,
)
from workers.config import KafkaConfig, Settings
from workers.dead_letter_topic import DeadLetterTopic
from workers.dead_letters import Wanted
from workers.dlq import list_dead_letters, replay_dead_letters
from workers.doctor import broker
from workers.kafka import check_broker, check_connection, check_topics, client_options, open_producer
from workers.messages import Answer, Record
from workers.resend import Resender
from workers.rights import Right as Needed
from workers.rights import refused, worker_rights
from workers.security import SecurityConfig
from workers.watch import open_viewer

pytestmark = pytest.mark.kafka

Way = tuple[str, dict[str, Any]]
"""A listener, and the settings `kafka.security` for it."""

PRINCIPALS = {"TLS": "User:ANONYMOUS", "MUTUAL": "User:CN=worker"}


def ways(kafka: SecureKafka) -> dict[str, Way]:
    """Every way of connecting."""
    trusted = {"ca_file": kafka.authority.ca_file}
    client = {
        "cert_file": kafka.client.cert_file,
        "key_file": kafka.client.key_file,
        "key_password": PASSWORD,
    }
    sasl = {**trusted, "protocol": "SASL_SSL"}
    named = {"username": "worker", "password": PASSWORD}
    return {
        "TLS": ("TLS", {**trusted, "protocol": "SSL"}),
        "mTLS": ("MUTUAL", {**trusted, **client, "protocol": "SSL"}),
        "PLAIN": ("SASL", {**sasl, **named, "sasl_mechanism": "PLAIN"}),
        "SCRAM-SHA-256": ("SASL", {**sasl, **named, "sasl_mechanism": "SCRAM-SHA-256"}),
        "SCRAM-SHA-512": ("SASL", {**sasl, **named, "sasl_mechanism": "SCRAM-SHA-512"}),
        "OAUTHBEARER": (
            "SASL",
            {**sasl, "sasl_mechanism": "OAUTHBEARER", "token": kafka.issuer.token("worker")},
        ),
        "PLAIN in the clear": (
            "OPEN_SASL",
            {**named, "protocol": "SASL_PLAINTEXT", "sasl_mechanism": "PLAIN"},
        ),
    }


WAYS = ("TLS", "mTLS", "PLAIN", "SCRAM-SHA-256", "SCRAM-SHA-512", "OAUTHBEARER", "PLAIN in the clear")


def reach(kafka: SecureKafka, way: Way, topics: Topics | None = None) -> KafkaConfig:
    """The settings of a client that comes that way."""
    listener, security = way
    config = KafkaConfig() if topics is None else topics.config
    return config.model_copy(
        update={
            "bootstrap_servers": kafka.servers(listener),
            "security": SecurityConfig(**security),
            "request_timeout_s": 10.0,
        }
    )


def least_rights(config: KafkaConfig) -> list[Right]:
    """What docs/operations.md says that a worker needs."""
    rights = [
        Right(ACLOperation.READ, ResourceType.TOPIC, config.input_topic),
        Right(ACLOperation.WRITE, ResourceType.TOPIC, config.output_topic),
        Right(ACLOperation.WRITE, ResourceType.TOPIC, config.dead_letter_topic),
        Right(ACLOperation.READ, ResourceType.GROUP, config.group_id),
    ]
    if config.delivery == "exactly_once":
        name = f"{config.group_id}."
        rights.append(Right(ACLOperation.WRITE, ResourceType.TRANSACTIONAL_ID, name, is_prefix=True))
    return rights


def refusal(config: KafkaConfig, check: Callable[[KafkaConfig], object] = check_connection) -> str:
    with pytest.raises(ConfigError) as caught:
        check(config)
    message = str(caught.value)
    assert "\n" not in message
    assert PASSWORD not in message
    return message


def at_once(record: Record) -> "Future[Answer]":
    future: Future[Answer] = Future()
    future.set_result(answer(record))
    return future


def run_for(topics: Topics, config: KafkaConfig) -> Settings:
    return settings(dataclasses.replace(topics, config=config))


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("delivery", ["exactly_once", "at_least_once"])
def test_with_the_least_rights_each_segment_is_answered_once(
    secure_kafka: SecureKafka, way: str, delivery: str
) -> None:
    topics = make_topics(secure_kafka.plain, 2, delivery=delivery)
    found = ways(secure_kafka)[way]
    config = reach(secure_kafka, found, topics)
    secure_kafka.allow(PRINCIPALS.get(found[0], "User:worker"), least_rights(config))
    wait_until(lambda: is_fine(config), "the rights are in force")
    topics.send(numbered(40, 2))
    with consuming(run_for(topics, config), at_once, f"{config.group_id}.one.app.0") as running:
        assert_each_answered_once(topics, 40)
        wait_until(lambda: topics.committed() == {0: 20, 1: 20}, "offsets committed")
    assert running.error is None
    assert topics.members() == []


def is_fine(config: KafkaConfig) -> bool:
    try:
        check_broker(config)
    except ConfigError:
        return False
    return True


@pytest.mark.parametrize("number", range(5))
def test_a_missing_right_is_named_before_anything_starts(secure_kafka: SecureKafka, number: int) -> None:
    topics = make_topics(secure_kafka.plain, 1)
    config = reach(secure_kafka, ways(secure_kafka)["SCRAM-SHA-512"], topics)
    needed = worker_rights(config)
    message = refusal(config, check_broker)
    assert all(str(right) in message for right in needed)
    rights = least_rights(config)
    secure_kafka.allow("User:worker", [right for right in rights if right is not rights[number]])

    def is_only_that_missing() -> bool:
        message = refusal(config, check_broker)
        assert str(needed[number]) in message
        return all((str(right) in message) == (right is needed[number]) for right in needed)

    wait_until(is_only_that_missing, "one right is missing")
    found = broker(Settings(kafka=config))
    assert found.status == "fail"
    assert found.detail.endswith(f"User:worker do its work, it needs {needed[number]}")
    assert found.fix is not None
    assert f"--allow-principal 'User:worker' {needed[number].command()}" in found.fix
    secure_kafka.allow("User:worker", [rights[number]])
    wait_until(lambda: is_fine(config), "all rights are there")


def test_looking_leaves_nothing_behind(secure_kafka: SecureKafka) -> None:
    topics = make_topics(secure_kafka.plain, 1)
    config = reach(secure_kafka, ways(secure_kafka)["PLAIN"], topics)
    secure_kafka.allow("User:worker", least_rights(config))
    wait_until(lambda: is_fine(config), "the rights are in force")
    admin = KafkaAdminClient(**client_options(topics.config))
    transactions = [one.transactional_id for found in admin.list_transactions().values() for one in found]
    groups = [group["group_id"] for group in admin.list_groups()]
    admin.close()
    assert not [name for name in transactions if name.startswith(config.group_id)]
    assert config.group_id not in groups


@pytest.mark.parametrize("number", [1, 3, 4])
def test_a_right_that_is_lost_while_running_is_named(secure_kafka: SecureKafka, number: int) -> None:
    topics = make_topics(secure_kafka.plain, 1)
    config = reach(secure_kafka, ways(secure_kafka)["SCRAM-SHA-512"], topics)
    secure_kafka.allow("User:worker", least_rights(config))
    wait_until(lambda: is_fine(config), "the rights are in force")
    topics.send(numbered(5, 1))
    with consuming(run_for(topics, config), at_once, f"{config.group_id}.one.app.0") as running:
        wait_for_events(running, 5)
        secure_kafka.forbid("User:worker", [least_rights(config)[number]])
        wait_until(lambda: not is_fine(config), "it is gone")
        topics.send(numbered(5, 1))
        running.thread.join(30)
        assert isinstance(running.error, Exception)
        told = refused(running.error, config)
        running.kill()
    assert str(worker_rights(config)[number]) in str(told)
    # What could not be finished is answered once by the next, with the right.
    secure_kafka.allow("User:worker", [least_rights(config)[number]])
    wait_until(lambda: is_fine(config), "it is back")
    with consuming(run_for(topics, config), at_once, f"{config.group_id}.one.app.0"):
        assert_each_answered_once(topics, 10)


def test_submitting_needs_write_and_watching_needs_read_alone(secure_kafka: SecureKafka) -> None:
    topics = make_topics(secure_kafka.plain, 1)
    config = reach(secure_kafka, ways(secure_kafka)["SCRAM-SHA-512"], topics)
    to_submit = Needed("WRITE", "topic", config.input_topic)
    to_watch = Needed("READ", "topic", config.output_topic)

    def has(right: Needed) -> bool:
        try:
            check_topics(config, [right.name], [right])
        except ConfigError:
            return False
        return True

    assert not has(to_submit)
    assert not has(to_watch)
    secure_kafka.allow("User:worker", [Right(ACLOperation.READ, ResourceType.TOPIC, config.output_topic)])
    wait_until(lambda: has(to_watch), "the right to read is in force")
    open_viewer(config, [config.output_topic], from_beginning=True).close()
    assert "READ on topic" in refusal(config, lambda one: open_viewer(one, [one.input_topic], False))
    secure_kafka.allow("User:worker", [Right(ACLOperation.WRITE, ResourceType.TOPIC, config.input_topic)])
    wait_until(lambda: has(to_submit), "the right to write is in force")
    producer = open_producer(config, transactional_id=None)
    producer.send(config.input_topic, key=b"key", value=b"value").get(timeout=10)
    producer.close()
    assert len(topics.read(config.input_topic, 1)) == 1


def without(way: Way, *names: str) -> dict[str, Any]:
    return {name: value for name, value in way[1].items() if name not in names}


def test_dead_letters_are_listed_and_replayed_with_the_least_rights(
    secure_kafka: SecureKafka, capsys: pytest.CaptureFixture[str]
) -> None:
    topics = make_topics(secure_kafka.plain, 1)
    write_letters(topics, numbered_letters(3))
    config = reach(secure_kafka, ways(secure_kafka)["SCRAM-SHA-512"], topics)
    topic = config.dead_letter_topic
    secure_kafka.allow("User:worker", [Right(ACLOperation.READ, ResourceType.TOPIC, topic)])
    wait_until(lambda: not lacks(lambda: DeadLetterTopic(config)), "it may read")
    assert list_dead_letters(config, Wanted(), as_json=True) == 0
    assert capsys.readouterr().out.count("\n") == 3
    missing = lacks(lambda: Resender(config))
    assert f"WRITE on topic '{topic}'" in missing
    assert f"WRITE on topic '{config.input_topic}'" in missing
    assert f"WRITE on transactional ids that begin with '{topic}.replay'" in missing
    secure_kafka.allow(
        "User:worker",
        [
            Right(ACLOperation.WRITE, ResourceType.TOPIC, topic),
            Right(ACLOperation.WRITE, ResourceType.TOPIC, config.input_topic),
            Right(ACLOperation.WRITE, ResourceType.TRANSACTIONAL_ID, f"{topic}.replay", is_prefix=True),
        ],
    )
    wait_until(lambda: not lacks(lambda: Resender(config).__exit__()), "it may write")
    assert replay_dead_letters(config, Wanted(), is_real=True, as_json=True) == 0
    assert len(topics.read(topics.config.input_topic, 3)) == 3


def lacks(act: Callable[[], object]) -> str:
    """What the broker says is missing; empty when nothing is."""
    try:
        act()
    except ConfigError as error:
        return str(error)
    return ""


def test_bought_tokens_are_renewed_before_they_expire(secure_kafka: SecureKafka) -> None:
    """The broker ends a session with its token, and hangs up on whoever has not logged in again by then."""
    topics = make_topics(secure_kafka.plain, 1)
    way = ways(secure_kafka)["OAUTHBEARER"]
    with token_endpoint(secure_kafka.issuer, lifetime_s=4.0) as endpoint:
        buys = without(way, "token") | {"token_url": endpoint.url, "scope": "kafka"}
        buys |= {"client_id": CLIENT_ID, "client_secret": CLIENT_SECRET}
        config = reach(secure_kafka, (way[0], buys), topics)
        secure_kafka.allow("User:worker", least_rights(config))
        wait_until(lambda: is_fine(config), "the rights are in force")
        with consuming(run_for(topics, config), at_once, f"{config.group_id}.one.app.0") as running:
            topics.send(numbered(5, 1))
            wait_for_events(running, 5)
            num_issued = len(endpoint.issued)
            # Consumer and producer buy their own: two renewals of each.
            wait_until(lambda: len(endpoint.issued) >= num_issued + 4, "renewed")
            topics.send(numbered(5, 1))
            assert_each_answered_once(topics, 10)
        assert running.error is None
        wrong = reach(secure_kafka, (way[0], buys | {"client_secret": "wrong"}))
        assert "answers 401, invalid_client" in refusal(wrong)
        assert "kafka.security.token_url, client_id, client_secret" in refusal(wrong)
    assert "kafka.security.token_url" in refusal(config)
