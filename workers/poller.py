"""Polls a consumer that is a member of a group and pauses partitions, around four faults of kafka-python 3.0.12.

With each of the first three it would wait for ever, or join again and again; with the last, answer records twice:

- What it has fetched of a paused partition is parked, and taken up again once its in-line slot is None. The slot
  of a partition that has been read to its end is empty but not None.
- A leader that joins because the topic's partitions have changed takes note of them when it assigns them, before
  the group has answered. A poll between the two sees nothing changed, and never looks at the answer.
- The answer to a join is looked at by a poll that waits for it. If it comes between two polls, the next one
  throws it away and joins anew, and with that makes all others join anew.
- A member that learns in answer to its request to join that the group has thrown it out joins as a new one, and
  tells nobody that its partitions are lost. It would go on with them where it was, though others have been there.

Knows the client's inner parts. Does not know what is read.
"""

from collections.abc import Mapping
from typing import Any

from kafka import KafkaConsumer, TopicPartition
from kafka.consumer.fetcher import ConsumerRecord

WAIT_S = 0.002
"""How often an answer that came between two polls looks whether there is a poll now."""


class Poller:
    """Polls one consumer, from one thread.

    Args:
        consumer: Not polled by anybody else.
    """

    def __init__(self, consumer: KafkaConsumer) -> None:
        self._consumer = consumer
        self._is_polling = False
        coordinator = consumer._coordinator
        self._join = coordinator._do_join_and_sync_async
        coordinator._do_join_and_sync_async = self._join_and_wait_for_a_poll
        self._reset = coordinator.reset_generation
        coordinator.reset_generation = self._reset_and_prepare_again

    def poll(self, timeout_s: float, max_records: int) -> list[ConsumerRecord]:
        """Wait for records.

        The client returns nothing as long as the group waits for a member, as for one that still finishes what is
        revoked; cooperative rebalancing is meant to disturb only the partitions that move. So the others are read.

        Args:
            timeout_s: At most so long.
            max_records: At most so many.

        Returns:
            The records, each partition's in order.
        """
        coordinator = self._consumer._coordinator
        if coordinator.rejoining:
            coordinator.request_rejoin()
        self._mend_parked()
        self._is_polling = True
        try:
            batches = self._consumer.poll(timeout_ms=int(timeout_s * 1000), max_records=max_records)
        finally:
            self._is_polling = False
        if not batches and coordinator.need_rejoin():
            return self.fetch(max_records)
        return _in_order(batches)

    def fetch(self, max_records: int) -> list[ConsumerRecord]:
        """The part of `poll` that reads, without the part that keeps up with the group.

        For while the group rebalances: the thread that polls may call it, or one for which that thread waits.

        Returns:
            The records, each partition's in order; only what has come already.
        """
        self._mend_parked()
        batches, _ = self._consumer._fetcher.fetch_records(max_records, update_offsets=True, timeout_ms=0)
        return _in_order(batches)

    def _mend_parked(self) -> None:
        fetcher = self._consumer._fetcher
        if not fetcher._next_partition_records:
            fetcher._next_partition_records = None

    async def _join_and_wait_for_a_poll(self) -> Any:
        """The client's joining, on its I/O thread; its end is put off until a poll takes notice."""
        try:
            return await self._join()
        finally:
            while not self._is_polling:
                # Its loop is no asyncio loop; waiting on its clock is the one wait that it offers.
                await self._consumer._net.sleep(WAIT_S)

    def _reset_and_prepare_again(self, *args: Any, **options: Any) -> None:
        """The client's own, when it is no member any more; what is done before joining tells of lost partitions."""
        self._reset(*args, **options)
        self._consumer._coordinator.rejoining = False


def _in_order(batches: Mapping[TopicPartition, list[ConsumerRecord]]) -> list[ConsumerRecord]:
    return [record for records in batches.values() for record in records]
