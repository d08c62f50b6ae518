"""Partitions that no member of the group owns, though the group is settled: nobody would ever read them.

So it is when a member dies between giving partitions back and joining again for others to get them. The broker
takes its successor, which has the same static name, for the same member: it gets the rest of the partitions,
the group stays settled, and those that were given back stay with nobody until the group next rebalances. A
successor that finds it so asks for that.

Knows the group as the broker describes it. Does not know what partitions are good for.
"""

import logging

from kafka import KafkaAdminClient, KafkaConsumer
from kafka.errors import KafkaError

from workers.config import KafkaConfig
from workers.kafka import client_options

log = logging.getLogger(__name__)

BOOTSTRAP_MS = 3000
"""The session polls nothing meanwhile; it asks again later."""


def adopt_orphans(config: KafkaConfig, consumer: KafkaConsumer) -> bool:
    """Have the group rebalance if there are partitions of the input topic that nobody owns.

    Args:
        config: The settings.
        consumer: A member of the group; its next poll joins anew.

    Returns:
        Whether the group could be asked.
    """
    try:
        orphans = _find(config, consumer.partitions_for_topic(config.input_topic) or set())
    except KafkaError as error:
        log.warning("can't tell whether %s owns all of %s: %s", config.group_id, config.input_topic, error)
        return False
    if orphans:
        log.warning("nobody owns %s%s: the group is asked to rebalance", config.input_topic, sorted(orphans))
        consumer._coordinator.request_rejoin()
    return True


def _find(config: KafkaConfig, partitions: set[int]) -> set[int]:
    admin = KafkaAdminClient(**client_options(config), bootstrap_timeout_ms=BOOTSTRAP_MS)
    try:
        group = admin.describe_groups([config.group_id])[config.group_id]
    finally:
        admin.close()
    if group["group_state"] != "Stable":
        return (
            set()
        )  # it rebalances: who gives partitions back in it joins again, or has a successor that asks
    owned = {
        partition
        for member in group["members"]
        for topic in member["member_assignment"]["assigned_partitions"]
        if topic["topic"] == config.input_topic
        for partition in topic["partitions"]
    }
    return partitions - owned
