"""kafka-python's rebalance callbacks, without its traps.

They come on the client's I/O thread, while the thread that owns the client waits in `poll`. Blocking there
would stop the heartbeats, and the client's own blocking calls are refused there: so the work is done by a
helper thread, and the callback waits for it without blocking. Cooperative rebalancing calls them for the
partitions that come or go, never for those that stay.

Knows threads. Does not know what is done with partitions.
"""

from collections.abc import Callable, Collection
from concurrent.futures import ThreadPoolExecutor

from kafka import KafkaConsumer, TopicPartition
from kafka.consumer.subscription_state import AsyncConsumerRebalanceListener

WAIT_S = 0.005

Handler = Callable[[list[int]], None]


class Rebalance(AsyncConsumerRebalanceListener):  # type: ignore[misc]
    """Passes on which partitions come and go.

    Args:
        consumer: Whose partitions.
        assigned: Told of new partitions; runs on the I/O thread, must not block.
        revoked: Told of partitions that go to another member once it returns; may block for a while.
        lost: Told of partitions that others own already; may block for a while.
    """

    def __init__(self, consumer: KafkaConsumer, assigned: Handler, revoked: Handler, lost: Handler) -> None:
        self._consumer = consumer
        self._assigned = assigned
        self._revoked = revoked
        self._lost = lost
        self._helper = ThreadPoolExecutor(1, "rebalance")

    async def on_partitions_assigned(self, assigned: Collection[TopicPartition]) -> None:
        """Partitions have come."""
        self._assigned(_numbers(assigned))

    async def on_partitions_revoked(self, revoked: Collection[TopicPartition]) -> None:
        """Partitions go to another member."""
        await self._in_helper(self._revoked, revoked)

    async def on_partitions_lost(self, lost: Collection[TopicPartition]) -> None:
        """The group has thrown this member out."""
        await self._in_helper(self._lost, lost)

    def close(self) -> None:
        """Let go of the helper thread."""
        self._helper.shutdown(wait=False)

    async def _in_helper(self, handler: Handler, places: Collection[TopicPartition]) -> None:
        future = self._helper.submit(handler, _numbers(places))
        while not future.done():
            # Its loop is no asyncio loop; waiting on its clock is the one wait that it offers.
            await self._consumer._net.sleep(WAIT_S)
        future.result()


def _numbers(places: Collection[TopicPartition]) -> list[int]:
    return sorted(place.partition for place in places)
