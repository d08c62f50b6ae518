"""Whether the broker lets this client do what it must: the operations that ACLs allow, found out beforehand.

Asks only, and leaves nothing behind at the broker. Knows which right each part of the work needs. Does not
know how to connect.
"""

import contextlib
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from kafka import KafkaAdminClient, KafkaProducer
from kafka.admin import MemberToRemove
from kafka.errors import (
    ClusterAuthorizationFailedError,
    GroupAuthorizationFailedError,
    KafkaError,
    TopicAuthorizationFailedError,
    TransactionalIdAuthorizationFailedError,
)

from workers.config import KafkaConfig
from workers.handshake import BrokerError

NOBODY = "hctdmg-preflight"
"""A member that no group has, and the end of a transactional id that no worker has."""

KINDS: dict[type[BaseException], str] = {
    TopicAuthorizationFailedError: "topic",
    GroupAuthorizationFailedError: "group",
    TransactionalIdAuthorizationFailedError: "transactional-id",
    # An idempotent producer may begin once it may write to any topic.
    ClusterAuthorizationFailedError: "topic",
}
"""What the broker's refusals are about."""


@dataclass(frozen=True)
class Right:
    """What an ACL may allow.

    Attributes:
        operation: As Kafka names it.
        kind: Of the resource, as the option of `kafka-acls.sh` names it.
        name: Of the resource; of a transactional id its beginning.
    """

    operation: Literal["READ", "WRITE"]
    kind: Literal["topic", "group", "transactional-id"]
    name: str

    def __str__(self) -> str:
        if self.kind == "transactional-id":
            return f"{self.operation} on transactional ids that begin with '{self.name}'"
        return f"{self.operation} on {self.kind} '{self.name}'"

    def command(self) -> str:
        """The options of `kafka-acls.sh` that give it."""
        prefixed = " --resource-pattern-type prefixed" if self.kind == "transactional-id" else ""
        return f"--operation {self.operation.title()} --{self.kind} {self.name}{prefixed}"


@dataclass(frozen=True)
class Topic:
    """What the broker says of a topic.

    Attributes:
        num_partitions: 0 when it does not exist, or is not shown to this client.
        operations: What this client may do with it; None where the broker does not say.
    """

    num_partitions: int
    operations: frozenset[str] | None


def worker_rights(config: KafkaConfig) -> list[Right]:
    """Everything that the worker needs; rights that these imply are not named."""
    needed = [
        Right("READ", "topic", config.input_topic),
        Right("WRITE", "topic", config.output_topic),
        Right("WRITE", "topic", config.dead_letter_topic),
        Right("READ", "group", config.group_id),
    ]
    if config.delivery == "exactly_once":
        # As the consumers' identities begin.
        stem = re.sub(r"[^A-Za-z0-9._-]", "_", config.group_id)
        needed.append(Right("WRITE", "transactional-id", f"{stem}."))
    return needed


def describe_topics(admin: KafkaAdminClient, names: Sequence[str]) -> dict[str, Topic]:
    """What the broker says of topics."""
    return {answer["name"]: _topic(answer) for answer in admin.describe_topics(list(names))}


def lacking(
    admin: KafkaAdminClient, options: Mapping[str, Any], topics: Mapping[str, Topic], needed: Sequence[Right]
) -> list[Right]:
    """The rights that this client does not have, as far as the broker says so.

    Args:
        admin: A client that asks.
        options: Of any client.
        topics: What the broker says of the topics among them.
        needed: What is needed.
    """
    return [right for right in needed if not _has(admin, options, topics, right)]


def missing(rights: Sequence[Right], config: KafkaConfig) -> BrokerError:
    """Name rights that are missing, one at least, and how to give them."""
    user = config.security.username
    who = "the client" if user is None else f"User:{user}"
    principal = "User:NAME" if user is None else f"User:{user}"
    commands = "; ".join(
        f"kafka-acls.sh --add --allow-principal '{principal}' {one.command()}" for one in rights
    )
    return BrokerError(
        f"{config.bootstrap_servers} does not let {who} do its work, it needs {' and '.join(map(str, rights))}",
        f"have it allowed, by {commands}",
    )


def refused(error: BaseException, config: KafkaConfig) -> BrokerError | None:
    """Which right the worker lacked when the broker refused something; None when it was not about rights."""
    kind = KINDS.get(type(error))
    if kind is None:
        return None if error.__cause__ is None else refused(error.__cause__, config)
    candidates = [right for right in worker_rights(config) if right.kind == kind]
    named = [right for right in candidates if right.name in str(error)]
    return missing(named or candidates, config)


def _topic(answer: Mapping[str, Any]) -> Topic:
    if answer["error_code"] == TopicAuthorizationFailedError.errno:
        return Topic(0, frozenset())
    operations = answer.get("authorized_operations")
    return Topic(len(answer["partitions"]), None if operations is None else frozenset(operations))


def _has(
    admin: KafkaAdminClient, options: Mapping[str, Any], topics: Mapping[str, Topic], right: Right
) -> bool:
    if right.kind == "topic":
        operations = topics[right.name].operations
        return operations is None or right.operation in operations
    if right.kind == "group":
        return _may_read_group(admin, right.name)
    return _may_write_transactions(options, f"{right.name}{NOBODY}")


def _may_read_group(admin: KafkaAdminClient, group_id: str) -> bool:
    """Have a member removed that the group does not have: who may not read the group is told so before."""
    try:
        admin.remove_group_members(group_id, [MemberToRemove(member_id=NOBODY)])
    except GroupAuthorizationFailedError:
        return False
    except KafkaError:
        return True
    return True


def _may_write_transactions(options: Mapping[str, Any], transactional_id: str) -> bool:
    """Begin with a time-out of 0, which no broker grants: who may not write is told so before."""
    producer = KafkaProducer(
        **options, transactional_id=transactional_id, transaction_timeout_ms=0, metrics_enabled=False
    )
    try:
        producer.init_transactions()
    except TransactionalIdAuthorizationFailedError:
        return False
    except KafkaError:
        return True
    finally:
        with contextlib.suppress(KafkaError):
            producer.close(timeout=0)
    return True
