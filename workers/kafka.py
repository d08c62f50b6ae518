"""The Kafka clients, made from the settings, and whether the broker has what they need.

Knows kafka-python's options and why each is set. Does not know what is read or written.
"""

import contextlib
import logging
import socket
import threading
from collections.abc import Sequence
from typing import Any

from kafka import KafkaAdminClient, KafkaConsumer, KafkaProducer
from kafka.admin import MemberToRemove
from kafka.coordinator.assignors.cooperative_sticky import CooperativeStickyAssignor
from kafka.errors import KafkaError

from workers.config import KafkaConfig
from workers.handshake import BrokerError, check_handshake
from workers.rights import Right, Topic, describe_topics, lacking, missing, worker_rights
from workers.security import security_options
from workers.waits import end_waits

CHECK_TIMEOUT_S = 8.0
"""A broker that does not answer within this is told to be unreachable."""
RECONNECT_BACKOFF_MAX_MS = 2_000
"""kafka-python's 30 s would add up to 30 s to each outage of a broker."""
HEARTBEAT_S = 1.0
"""A member learns by a heartbeat that the group rebalances: the others wait for it no longer than this."""
MAX_FETCH_BYTES = 2**20
"""Most that is fetched ahead of one partition (the client's own default)."""
MAX_FETCH_SHARE = 1 / 16
"""The same as a share of the byte budget: sixteen partitions fetch at most a second budget ahead."""
FETCH_MAX_BYTES = 50 * 2**20
"""Most that one answer of the broker holds (the client's own default)."""
LEAVE_TIMEOUT_MS = 3000
"""A broker that is away is not waited for by who leaves: the session time-out tells the group."""
MAX_MESSAGE_BYTES = 2**30
"""The topic's limit decides, not the client's 1 MiB: a dead letter is as large as its segment."""

_STRICT = {
    "allow_auto_create_topics": False,  # a missing topic shall be told, not made
    "metrics_enabled": False,
}

log = logging.getLogger(__name__)

# As a library should: what the client logs shows only where logging is set up. Its errors are raised.
logging.getLogger("kafka").addHandler(logging.NullHandler())


def client_options(config: KafkaConfig) -> dict[str, Any]:
    """Options that every client needs, whether it consumes, produces or administers."""
    version = config.api_version
    return {
        "bootstrap_servers": _servers(config),
        "api_version": None if version is None else tuple(int(part) for part in version.split(".")),
        "request_timeout_ms": int(config.request_timeout_s * 1000),
        "reconnect_backoff_max_ms": RECONNECT_BACKOFF_MAX_MS,
        **security_options(config.security),
    }


def open_consumer(config: KafkaConfig, identity: str, max_bytes: int) -> KafkaConsumer:
    """A consumer of the worker's group, not yet subscribed.

    Args:
        config: The settings.
        identity: Its `group_instance_id`: a static member that is back within the session time-out gets its
            partitions again without a rebalance.
        max_bytes: `flow.max_in_flight_bytes`. What the client fetches ahead comes on top of it: for each
            assigned partition at most one fetch of `MAX_FETCH_SHARE` of it, or a single larger batch.
    """
    max_fetch_bytes = max(1, min(MAX_FETCH_BYTES, int(max_bytes * MAX_FETCH_SHARE)))
    return KafkaConsumer(
        **client_options(config),
        **_STRICT,
        client_id=identity,
        group_id=config.group_id,
        group_instance_id=identity,
        # An instance, as kafka-python demands; partitions that stay are then left alone in a rebalance.
        partition_assignment_strategy=[CooperativeStickyAssignor()],
        enable_auto_commit=False,
        auto_offset_reset=config.auto_offset_reset,
        # Also makes the fetch of offsets wait for open transactions (`require_stable`): without it, the next
        # owner of a partition could start before results that are just being committed.
        isolation_level="read_committed",
        session_timeout_ms=int(config.session_timeout_s * 1000),
        heartbeat_interval_ms=int(min(HEARTBEAT_S, config.session_timeout_s / 3) * 1000),
        max_poll_interval_ms=int(config.max_poll_interval_s * 1000),
        max_partition_fetch_bytes=max_fetch_bytes,
        fetch_max_bytes=max(max_fetch_bytes, min(FETCH_MAX_BYTES, max_bytes)),
    )


def remove_member(config: KafkaConfig, identity: str, member_id: str) -> None:
    """Take a member that has closed out of the group; when that fails, it is out after the session time-out.

    A static member stays when it closes: its partitions, or a rebalance that asks it to join, would wait for that.

    Args:
        config: The settings.
        identity: Its `group_instance_id`.
        member_id: As the group knew it; "" if it never joined. The broker refuses when the name is another's by now.
    """
    member = MemberToRemove(member_id=member_id, group_instance_id=identity)
    try:
        # Within the margin that a replica has for leaving.
        admin = KafkaAdminClient(**client_options(config), bootstrap_timeout_ms=LEAVE_TIMEOUT_MS)
        admin.remove_group_members(config.group_id, [member])
        admin.close()
    except KafkaError as error:
        log.info("%s leaves without notice: %s", identity, error)


def open_producer(config: KafkaConfig, transactional_id: str | None) -> KafkaProducer:
    """An idempotent producer.

    Args:
        config: The settings.
        transactional_id: None for one that does not use transactions.
    """
    transactional = {
        "transactional_id": transactional_id,
        "transaction_timeout_ms": int(config.transaction_timeout_s * 1000),
    }
    producer = KafkaProducer(
        **client_options(config),
        **_STRICT,
        **(transactional if transactional_id is not None else {}),
        enable_idempotence=True,
        acks="all",
        linger_ms=5,
        max_request_size=MAX_MESSAGE_BYTES,
        max_block_ms=int(config.transaction_timeout_s * 1000),
    )
    # The broker aborts a transaction that is older: nothing is gained by a longer wait.
    end_waits(producer, config.transaction_timeout_s)
    return producer


def check_broker(config: KafkaConfig) -> None:
    """Find out, within some 30 s, whether the broker answers, has the three topics, and lets us use them.

    Raises:
        BrokerError: One line: what is missing and what to do.
    """
    topics = (config.input_topic, config.output_topic, config.dead_letter_topic)
    check_topics(config, topics, worker_rights(config))


def check_topics(config: KafkaConfig, topics: Sequence[str], needed: Sequence[Right] = ()) -> dict[str, int]:
    """Ask the broker for topics, and for rights.

    Returns:
        The number of partitions of each topic.

    Raises:
        BrokerError: It can't be reached, does not let us in, lacks one of the topics, or does not
            grant what is needed.
    """
    check_connection(config)
    found, absent = _ask(config, topics, needed)
    if absent:
        raise missing(absent, config)
    for topic in topics:
        if not (topic in found and found[topic].num_partitions):
            raise BrokerError(
                f"{config.bootstrap_servers} has no topic {topic!r}", "create it, or correct `kafka`"
            )
    return {topic: found[topic].num_partitions for topic in topics}


def check_connection(config: KafkaConfig) -> None:
    """Find out whether a broker is there and lets us in.

    Raises:
        BrokerError: One line: none is, or which setting of `kafka.security` is wrong.
    """
    check_reachable(config)
    check_handshake(_servers(config), client_options(config), config.security, CHECK_TIMEOUT_S)


def _servers(config: KafkaConfig) -> list[str]:
    return [server.strip() for server in config.bootstrap_servers.split(",") if server.strip()]


def check_reachable(config: KafkaConfig) -> None:
    """Make a plain connection to any of the servers: says why at once, where the client would try on.

    Raises:
        BrokerError: None of them accepts one.
    """
    reasons = []
    for server in _servers(config):
        host, _, port = server.rpartition(":")
        try:
            socket.create_connection((host.strip("[]"), int(port)), timeout=3.0).close()
        except ValueError:
            reasons.append(f"{server!r} is not host:port")
        except OSError as error:
            reasons.append(f"{server}: {error.strerror or error}")
        else:
            return
    raise BrokerError(
        f"no Kafka broker at kafka.bootstrap_servers = {config.bootstrap_servers} ({'; '.join(reasons)})",
        "start it, or correct the setting",
    )


def _ask(
    config: KafkaConfig, names: Sequence[str], needed: Sequence[Right]
) -> tuple[dict[str, Topic], list[Right]]:
    """What there is of the topics, and which rights are lacking.

    In a thread of its own: some of kafka-python's waits have no time limit.
    """
    answers: list[tuple[dict[str, Topic], list[Right]]] = []
    errors: list[Exception] = []

    def ask() -> None:
        try:
            options = client_options(config)
            admin = KafkaAdminClient(**options, bootstrap_timeout_ms=int(CHECK_TIMEOUT_S * 1000))
            with contextlib.closing(admin):
                topics = describe_topics(admin, names)
                answers.append((topics, lacking(admin, options, topics, needed)))
        except Exception as error:  # noqa: BLE001 - told by the one who waits
            errors.append(error)

    thread = threading.Thread(target=ask, name="ask-broker", daemon=True)
    thread.start()
    # Twice: a cluster that has never had a transaction first makes the topic that it keeps them in.
    thread.join(2 * CHECK_TIMEOUT_S)
    if answers:
        return answers[0]
    reason = str(errors[0]) if errors else f"no answer in {2 * CHECK_TIMEOUT_S:g} s"
    raise BrokerError(
        f"{config.bootstrap_servers} does not answer as a Kafka broker ({reason})",
        "check kafka.bootstrap_servers and the broker's listeners",
    )
