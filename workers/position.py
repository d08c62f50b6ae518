"""Where on the input topic a replay begins, and where it has reached the end.

    beginning              the oldest message of each partition
    2026-11-01T00:00Z      the first message of each partition with this timestamp or a later one
    1187                   this offset, in each partition
    0:1187,1:0             this offset in each of these partitions; the others are not replayed

Knows offsets and timestamps. Does not know who reads from there.
"""

import re
from collections.abc import Mapping
from datetime import datetime
from typing import Literal

from kafka import KafkaConsumer, TopicPartition

from pipelines.errors import ConfigError
from workers.config import KafkaConfig
from workers.extent import extent
from workers.kafka import check_topics, client_options
from workers.rfc3339 import parse_time
from workers.rights import Right
from workers.watch import open_viewer, poll

Position = Literal["beginning"] | int | Mapping[int, int] | datetime

Offsets = dict[int, int]
"""An offset of each partition."""

STEP_FACTOR = 16
"""How much further back each look for the last message begins; one or two looks find it."""


def parse_position(text: str) -> Position:
    """A position as users write it.

    Raises:
        ConfigError: It is none.
    """
    if text == "beginning":
        return "beginning"
    if re.fullmatch(r"\d+", text, re.ASCII):
        return int(text)
    if re.fullmatch(r"\d+:\d+(,\d+:\d+)*", text, re.ASCII):
        pairs = [part.split(":") for part in text.split(",")]
        offsets = {int(partition): int(offset) for partition, offset in pairs}
        if len(offsets) == len(pairs):
            return offsets
    try:
        return parse_time(text)
    except ConfigError:
        raise ConfigError(
            f"--from {text!r}: write beginning, a time like 2026-11-01T00:00Z, an offset like 1187, "
            "or an offset for each partition like 0:1187,1:0"
        ) from None


def resolve_position(kafka: KafkaConfig, position: Position) -> Offsets:
    """The offset of each partition of the input topic.

    Raises:
        ConfigError: The topic has no such partition or no such offset (any more).
    """
    topic = kafka.input_topic
    num_partitions = check_topics(kafka, [topic], [Right("READ", "topic", topic)])[topic]
    begins, ends = extent(kafka, topic, num_partitions)
    match position:
        case "beginning":
            return begins
        case datetime():
            return {**ends, **_offsets_at(kafka, topic, num_partitions, position)}
        case int():
            wanted = dict.fromkeys(begins, position)
        case _:
            wanted = {**ends, **position}
    for partition, offset in wanted.items():
        if partition not in ends:
            raise ConfigError(
                f"--from {partition}:{offset}: {topic} has partitions 0 to {num_partitions - 1}"
            )
        if not begins[partition] <= offset <= ends[partition]:
            raise ConfigError(
                f"--from {partition}:{offset}: {topic}[{partition}] holds offsets {begins[partition]} to "
                f"{ends[partition]}; name one of them, or beginning"
            )
    return wanted


def find_ends(kafka: KafkaConfig, begins: Offsets) -> Offsets:
    """The offset that a reader has committed once it has answered all that is there now.

    That is the one behind the last message, not the partition's end: there the markers of transactions lie, and
    what was aborted, and nobody ever answers those. So the last message is looked for from the end.

    Args:
        kafka: The settings.
        begins: Where the reader begins; also the answer where there is nothing to read from there.
    """
    consumer = open_viewer(kafka, [kafka.input_topic], from_beginning=True)
    try:
        ends = {
            place.partition: end for place, end in consumer.end_offsets(list(consumer.assignment())).items()
        }
        found: Offsets = {number: begins[number] for number, end in ends.items() if end <= begins[number]}
        num_back = 1
        while unknown := ends.keys() - found.keys():
            starts = {number: max(begins[number], ends[number] - num_back) for number in unknown}
            found |= _behind_last(consumer, kafka.input_topic, starts, ends)
            found |= {n: begins[n] for n, start in starts.items() if start == begins[n] and n not in found}
            num_back *= STEP_FACTOR
        return found
    finally:
        consumer.close()


def _behind_last(consumer: KafkaConsumer, topic: str, starts: Offsets, ends: Offsets) -> Offsets:
    """The offset behind the last message between start and end, of the partitions that have one there."""
    places = [TopicPartition(topic, number) for number in starts]
    consumer.assign(places)
    for place in places:
        consumer.seek(place, starts[place.partition])
    found: Offsets = {}
    while any(consumer.position(place) < ends[place.partition] for place in places):
        for record in poll(consumer):
            if record.offset < ends[record.partition]:
                found[record.partition] = record.offset + 1
    return found


def _offsets_at(kafka: KafkaConfig, topic: str, num_partitions: int, time: datetime) -> Offsets:
    """The first offset at or after a time, of the partitions that have one."""
    time_ms = max(0, int(time.timestamp() * 1000))
    consumer = KafkaConsumer(**client_options(kafka), group_id=None)
    try:
        found = consumer.offsets_for_times(
            {TopicPartition(topic, number): time_ms for number in range(num_partitions)}
        )
    finally:
        consumer.close()
    return {place.partition: at.offset for place, at in found.items() if at is not None}
