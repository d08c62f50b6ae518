"""Keeps a consumer's memory in the commit metadata of its group, so that the next consumer knows of it.

Written with the next offsets when it has changed; when there is nothing to publish, beside the unchanged
offset. Read when a partition comes, before anything of it is polled. Foreign or damaged metadata are
ignored.

Knows the client's offsets. Does not know what is tried, nor when.
"""

import logging
from collections.abc import Collection, Mapping

from kafka import KafkaConsumer, TopicPartition
from kafka.errors import KafkaTimeoutError

from workers.memory import Memory
from workers.past import ForeignMetadataError, read_pasts, write_pasts
from workers.publisher import Mark

log = logging.getLogger(__name__)

READ_TIMEOUT_S = 0.2
"""The offset of a partition may have to wait for its last owner's transaction: the others are polled meanwhile."""


class Journal:
    """Of one membership.

    Args:
        consumer: Whose offsets.
        topic: Its input topic.
        memory: What is kept.
    """

    def __init__(self, consumer: KafkaConsumer, topic: str, memory: Memory) -> None:
        self._consumer = consumer
        self._topic = topic
        self._memory = memory
        self._unread: set[int] = set()
        self._written: dict[int, str] = {}

    def expect(self, partitions: Collection[int]) -> None:
        """These have come; nothing of them may be polled until they are read."""
        self._unread |= set(partitions)

    def read(self, assigned: Collection[int]) -> frozenset[int]:
        """Learn what was tried before with the partitions that have come.

        Returns:
            Those of the assigned partitions that may be polled.
        """
        self._unread &= set(assigned)
        if self._unread:
            places = [TopicPartition(self._topic, partition) for partition in self._unread]
            timeout_ms = int(READ_TIMEOUT_S * 1000)
            try:
                found = self._consumer._coordinator.fetch_committed_offsets(places, timeout_ms=timeout_ms)
            except KafkaTimeoutError:
                return frozenset(assigned) - self._unread
            for place in places:
                self._learn(place.partition, found[place].metadata if place in found else "")
        return frozenset(assigned) - self._unread

    def marks(self, answered: Mapping[int, int], waiting: Mapping[int, int]) -> dict[int, Mark]:
        """What to commit.

        Args:
            answered: The next offset of each partition whose answers go out.
            waiting: The unchanged next offset of each partition that has records in flight.

        Returns:
            A mark for each partition with answers, and each of which more is known than was written.
        """
        marks = {
            partition: Mark(next_offset, write_pasts(self._memory.since(partition, next_offset)))
            for partition, next_offset in {**waiting, **answered}.items()
        }
        return {
            partition: mark
            for partition, mark in marks.items()
            if partition in answered or mark.metadata != self._written.get(partition, "")
        }

    def written(self, marks: Mapping[int, Mark]) -> None:
        """They are committed."""
        self._written.update({partition: mark.metadata for partition, mark in marks.items()})

    def _learn(self, partition: int, metadata: str) -> None:
        try:
            pasts = read_pasts(metadata)
        except ForeignMetadataError as error:
            log.warning(
                "commit metadata of %s[%d] ignored, they are not ours: %s", self._topic, partition, error
            )
            pasts = {}
        self._memory.replace(partition, pasts)
        self._written[partition] = metadata
        self._unread.discard(partition)
