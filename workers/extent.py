"""Where a topic's partitions begin and end."""

from kafka import KafkaConsumer, TopicPartition

from workers.config import KafkaConfig
from workers.kafka import client_options


def extent(kafka: KafkaConfig, topic: str, num_partitions: int) -> tuple[dict[int, int], dict[int, int]]:
    """Where each partition of a topic begins and ends, open transactions included.

    They must be: a reader of committed messages is held back by any open transaction, so that something
    committed may lie behind where it sees the end.

    Returns:
        First offset, and offset behind the last one, by partition.
    """
    places = [TopicPartition(topic, number) for number in range(num_partitions)]
    consumer = KafkaConsumer(**client_options(kafka), group_id=None)  # not read_committed
    try:
        begins, ends = consumer.beginning_offsets(places), consumer.end_offsets(places)
    finally:
        consumer.close()
    return (
        {place.partition: offset for place, offset in begins.items()},
        {place.partition: offset for place, offset in ends.items()},
    )
