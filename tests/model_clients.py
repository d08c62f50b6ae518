"""kafka-python's clients on the model broker, as far as the worker uses them.

Each call to the broker is a step of its process (`tests.stepped`), which may stand still or crash there. Knows what a
client does, with the faults of kafka-python mended. Does not know in which order things happen.
"""

import time
from collections.abc import Callable, Iterable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any, NamedTuple

from kafka import TopicPartition
from kafka.errors import FencedInstanceIdError, KafkaError, KafkaTimeoutError
from kafka.structs import ConsumerGroupMetadata, MemberState, OffsetAndMetadata

from tests.broker_model import Member

if TYPE_CHECKING:
    from tests.stepped import Process

VALUES = [b"." * size for size in (1, 200_000, 900_000)]
"""What records hold; shared, so that they weigh only on the books."""


class Fetched(NamedTuple):
    """A record, as the client gives it."""

    topic: str
    partition: int
    offset: int
    key: bytes
    value: bytes
    headers: tuple[tuple[str, bytes], ...]
    timestamp: int


class ModelConsumer:
    """In place of `kafka.KafkaConsumer`: a static member that polls, joins, and is told of rebalances."""

    def __init__(self, process: "Process", options: Mapping[str, Any]) -> None:
        assert options["enable_auto_commit"] is False
        self._process = process
        self._broker = process.world.broker
        self._group_id = options["group_id"]
        self._identity: str = options["group_instance_id"]
        self._waits_for_open_transactions = options["isolation_level"] == "read_committed"
        self._topic = ""
        self._id: int | None = None
        self._generation = -1
        self._positions: dict[int, int | None] = {}
        self._paused: set[int] = set()
        self._listener: Any = None
        self._net = SimpleNamespace(sleep=_sleep)
        self._coordinator = SimpleNamespace(
            request_rejoin=lambda: setattr(self, "_wants_to_join", True),
            fetch_committed_offsets=self._fetch_committed_offsets,
        )
        self._wants_to_join = False

    def subscribe(self, topics: list[str], listener: Any) -> None:
        (self._topic,) = topics
        self._listener = listener

    def partitions_for_topic(self, topic: str) -> set[int]:  # noqa: ARG002
        return set(range(len(self._broker.inputs)))

    def assignment(self) -> set[TopicPartition]:
        return {TopicPartition(self._topic, number) for number in self._positions}

    def paused(self) -> set[TopicPartition]:
        return {TopicPartition(self._topic, number) for number in self._paused}

    def pause(self, *places: TopicPartition) -> None:
        self._paused |= {place.partition for place in places}

    def resume(self, *places: TopicPartition) -> None:
        self._paused -= {place.partition for place in places}

    def seek(self, place: TopicPartition, offset: int) -> None:
        self._positions[place.partition] = offset

    def _fetch_committed_offsets(
        self, places: Iterable[TopicPartition], timeout_ms: int
    ) -> dict[TopicPartition, OffsetAndMetadata]:
        found = {}
        for place in places:
            offset = self._committed(place.partition)
            if offset is None:
                self._process.world.clock.sleep(timeout_ms / 1000)
                raise KafkaTimeoutError
            found[place] = OffsetAndMetadata(offset, "", -1)
        return found

    def group_metadata(self) -> ConsumerGroupMetadata:
        state = MemberState.UNJOINED if self._id is None else MemberState.STABLE
        number = "" if self._id is None else str(self._id)
        return ConsumerGroupMetadata(self._group_id, self._generation, number, self._identity, state)

    def hear(self) -> None:
        """Learn, as by a heartbeat, that the group has thrown this member out."""
        if self._broker.group.members.get(self._identity) is None:
            self._id, self._generation = None, -1

    def commit(self, offsets: Mapping[TopicPartition, OffsetAndMetadata], timeout_ms: int) -> None:  # noqa: ARG002
        self._process.pause()
        member = Member(self._identity, self._id or 0, self._generation)
        _commit(self._process, lambda: self._broker.commit(_numbers(offsets), member))

    def close(self, autocommit: bool) -> None:
        assert not autocommit

    def poll(self, timeout_ms: int, max_records: int) -> dict[TopicPartition, list[Fetched]]:
        self._process.pause()
        self._process.world.clock.sleep(timeout_ms / 1000)
        group = self._broker.group
        if group.members.get(self._identity) not in (None, self._id) and self._id is not None:
            raise FencedInstanceIdError
        self.hear()
        if self._id is None and self._positions:
            self._call(self._listener.on_partitions_lost, set(self._positions))
            self._positions = {}
            return {}
        if self._id is None:
            self._id = self._broker.register(self._identity)
        if self._wants_to_join:
            self._wants_to_join = False
            self._broker.begin_rebalance()
        if group.claims is not None:
            if self._identity not in group.claims:
                self._broker.join(self._identity, self._positions)
        elif self._generation != group.generation:
            self._sync()
        return self.fetch(max_records)

    def _sync(self) -> None:
        """A new generation has begun: give back first, and join again for others to get it."""
        self._generation = self._broker.group.generation
        assigned = self._broker.group.assignment.get(self._identity, frozenset())
        revoked = set(self._positions) - assigned
        if revoked:
            self._call(self._listener.on_partitions_revoked, revoked)
            for number in revoked:
                del self._positions[number]
            self._broker.begin_rebalance()
        added = assigned - set(self._positions)
        self._paused -= added
        self._positions |= dict.fromkeys(added)
        self._call(self._listener.on_partitions_assigned, added)

    def _call(self, method: Callable[..., Any], partitions: Iterable[int]) -> None:
        """Run a listener's coroutine; while it waits, the helper thread of the session works."""
        coroutine = method([TopicPartition(self._topic, number) for number in sorted(partitions)])
        with suppress(StopIteration):
            coroutine.send(None)

    def fetch(self, max_records: int) -> dict[TopicPartition, list[Fetched]]:
        fetched = {}
        for number in set(self._positions) - self._paused:
            position = self._position(number)
            if position is None:
                continue
            offsets = self._broker.fetch(number, position, max_records)
            max_records -= len(offsets)
            if offsets:
                self._positions[number] = offsets[-1] + 1
                fetched[TopicPartition(self._topic, number)] = [self._record(number, one) for one in offsets]
        return fetched

    def _position(self, number: int) -> int | None:
        if self._positions[number] is None:
            self._positions[number] = self._committed(number)
        return self._positions[number]

    def _committed(self, number: int) -> int | None:
        """The committed offset; None while it may still change."""
        is_unstable = self._broker.stable_offset(number) is None and self._waits_for_open_transactions
        return None if is_unstable else self._broker.committed[number]

    def _record(self, partition: int, offset: int) -> Fetched:
        return Fetched(self._topic, partition, offset, b"", VALUES[offset % len(VALUES)], (), -1)


@dataclass
class ModelPoller:
    """In place of `workers.poller.Poller`, which is there for faults that the model does not have."""

    consumer: ModelConsumer

    def poll(self, timeout_s: float, max_records: int) -> list[Fetched]:
        batches = self.consumer.poll(int(timeout_s * 1000), max_records)
        return [record for records in batches.values() for record in records]

    def fetch(self, max_records: int) -> list[Fetched]:
        return [record for records in self.consumer.fetch(max_records).values() for record in records]


class Unwatched:
    """In place of `workers.report.Report`, which asks the client for lags and decides nothing."""

    def __init__(self, *_: Any) -> None:
        pass

    def __getattr__(self, _: str) -> Callable[..., None]:
        return lambda *_: None


class ModelProducer:
    """In place of `kafka.KafkaProducer`."""

    def __init__(self, process: "Process", options: Mapping[str, Any]) -> None:
        assert options["enable_idempotence"]
        assert options["acks"] == "all"
        self._process = process
        self._broker = process.world.broker
        self._transactional_id: str | None = options.get("transactional_id")
        self._epoch = -1
        self._unsent: list[tuple[str, tuple[int, int], SimpleNamespace]] = []

    def init_transactions(self) -> None:
        self._process.pause()
        assert self._transactional_id is not None
        self._epoch = self._broker.init_producer(self._transactional_id)

    def begin_transaction(self) -> None:
        self._process.pause()

    def partitions_for(self, topic: str) -> set[int]:  # noqa: ARG002
        return set(range(len(self._broker.inputs)))

    def send(self, topic: str, key: bytes, value: bytes, headers: list[Any], partition: int) -> Any:  # noqa: ARG002
        named = dict(headers)
        place = int(named["dlq-source-partition"]), int(named["dlq-source-offset"])
        assert partition == place[0]
        receipt = SimpleNamespace(exception=None)
        receipt.get = lambda timeout: _raise(receipt.exception)  # noqa: ARG005
        self._unsent.append((topic, place, receipt))
        return receipt

    def flush(self, timeout: float) -> None:  # noqa: ARG002 - everything here ends at once
        """Send one by one, so that a crash may come between any two."""
        for topic, place, receipt in self._unsent:
            self._process.pause()
            try:
                self._broker.send(self._transactional_id, self._epoch, topic, place)
            except KafkaError as error:
                receipt.exception = error
        self._unsent.clear()
        self._process.pause()

    def send_offsets_to_transaction(
        self, offsets: Mapping[TopicPartition, OffsetAndMetadata], metadata: ConsumerGroupMetadata
    ) -> None:
        self._process.pause()
        assert self._transactional_id is not None
        member = Member(metadata.group_instance_id, int(metadata.member_id or 0), metadata.generation_id)
        self._broker.add_offsets(self._transactional_id, self._epoch, _numbers(offsets), member)

    def commit_transaction(self) -> None:
        self._process.pause()
        name = self._transactional_id
        assert name is not None
        _commit(self._process, lambda: self._broker.end_transaction(name, self._epoch))

    def close(self, timeout: float) -> None:
        """What is open stays open, as when a process dies."""


class ModelAdmin:
    """In place of `kafka.KafkaAdminClient`."""

    def __init__(self, process: "Process") -> None:
        self._process = process

    def describe_groups(self, names: list[str]) -> dict[str, Any]:
        self._process.pause()
        group = self._process.world.broker.group
        members = [
            {
                "member_assignment": {
                    "assigned_partitions": [{"topic": "segments", "partitions": sorted(owned)}]
                }
            }
            for owned in group.assignment.values()
        ]
        state = "Stable" if group.claims is None else "PreparingRebalance"
        return {name: {"group_state": state, "members": members} for name in names}

    def remove_group_members(self, _: str, members: list[Any]) -> None:
        self._process.pause()
        broker = self._process.world.broker
        for member in members:
            if member.member_id in ("", str(broker.group.members.get(member.group_instance_id))):
                broker.remove(member.group_instance_id)

    def close(self) -> None:
        """Nothing to let go of."""


def _commit(process: "Process", act: Callable[[], None]) -> None:
    """The step of which a client may not learn whether it was done."""
    trouble, process.trouble = process.trouble, ""
    if trouble != "not done":
        act()
    process.pause()
    if trouble:
        process.world.broker.num_incidents += 1
        raise KafkaTimeoutError(trouble)


def _numbers(offsets: Mapping[TopicPartition, OffsetAndMetadata]) -> dict[int, int]:
    return {place.partition: to.offset for place, to in offsets.items()}


def _raise(error: Exception | None) -> None:
    if error is not None:
        raise error


async def _sleep(_: float) -> None:
    time.sleep(0.0002)  # the only real wait: for the helper thread of a session
