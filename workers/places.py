"""The partitions of the input topic that a consumer owns, by number: held, read on, sought.

Knows kafka-python's `TopicPartition`. Does not know why a partition is held.
"""

from collections.abc import Collection

from kafka import KafkaConsumer, TopicPartition


class Places:
    """Of one consumer.

    Args:
        consumer: Whose.
        topic: Its input topic.
    """

    def __init__(self, consumer: KafkaConsumer, topic: str) -> None:
        self._consumer = consumer
        self._topic = topic

    def owned(self) -> set[int]:
        """Those that it owns."""
        return {place.partition for place in self._consumer.assignment()}

    def hold(self, partitions: Collection[int]) -> None:
        """Have these not polled."""
        self._consumer.pause(*(self._place(partition) for partition in partitions))

    def poll_only(self, partitions: Collection[int]) -> None:
        """Have these polled, and no other."""
        paused = {place.partition for place in self._consumer.paused()}
        self.hold(self.owned() - set(partitions) - paused)
        self._consumer.resume(*(self._place(partition) for partition in paused.intersection(partitions)))

    def seek(self, partition: int, next_offset: int) -> None:
        """Go on there; in a partition that has just been lost, nothing is to be done."""
        if partition in self.owned():
            self._consumer.seek(self._place(partition), next_offset)

    def named(self, partitions: Collection[int]) -> str:
        """As log lines name them."""
        return f"{self._topic}{sorted(partitions)}"

    def _place(self, partition: int) -> TopicPartition:
        return TopicPartition(self._topic, partition)
