"""The worker's real session on the model broker, one protocol step at a time.

A `Process` runs a real `Session` on a thread of its own. The thread stands still before (and after) each call
that it makes to the broker, until it is told to go on or to crash: so a test chooses every interleaving, and a
process that is never told to go on is a zombie. Knows kafka-python's calls as far as the worker uses them.
"""

import concurrent.futures
import threading
import time
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from types import SimpleNamespace
from typing import Any, NamedTuple, cast

import pytest
from kafka import TopicPartition
from kafka.errors import FencedInstanceIdError, KafkaError, KafkaTimeoutError
from kafka.structs import ConsumerGroupMetadata, MemberState, OffsetAndMetadata

import pipelines.deadline
import workers.kafka
import workers.orphans
import workers.session
from tests.broker_model import Broker, Member
from workers.config import Settings
from workers.messages import Answer, Record
from workers.session import Session

STUCK_S = 20.0
VALUES = [b"." * size for size in (1, 200_000, 900_000)]
"""What records hold; shared, so that they weigh only on the books."""


class Crash(BaseException):
    """The process is gone: what it was about to do is never done."""


@dataclass
class Clock:
    """Stands in for the module `time`; moves only when somebody waits."""

    now_s: float = 0.0

    def monotonic(self) -> float:
        """The time."""
        return self.now_s

    def time(self) -> float:
        """The same, as seconds since 1970."""
        return self.now_s

    def sleep(self, seconds: float) -> None:
        """Wait."""
        self.now_s += seconds


class Held(concurrent.futures.Future[Answer]):
    """A record whose answer is still to come."""

    def __init__(self, process: "Process", record: Record) -> None:
        super().__init__()
        self.process = process
        self.record = record


class Process:
    """One process of the worker, from its start to its end.

    Attributes:
        identity: Its name; a successor has the same one.
        in_work: Records that are not answered yet.
        session: Its session, once it has joined.
        is_alive: Whether it has not ended.
        is_stopping: Whether it is to drain.
        trouble: What befalls its next commit: "answer lost" or "not done".
        error: Why it ended, if it did not leave in order.
    """

    def __init__(self, world: "World", settings: Settings, identity: str) -> None:
        self.world = world
        self.identity = identity
        self.in_work: list[Held] = []
        self.session: Session | None = None
        self.is_alive = True
        self.is_stopping = False
        self.trouble = ""
        self.error: BaseException | None = None
        self._settings = settings
        self._is_killed = False
        self._go, self._stands = threading.Semaphore(0), threading.Semaphore(0)
        threading.Thread(target=self._run, name=identity, daemon=True).start()
        self._wait()

    def step(self) -> None:
        """Let it go on to its next call."""
        self._go.release()
        self._wait()

    def crash(self) -> None:
        """SIGKILL, where it stands."""
        self._is_killed = True
        while self.is_alive:
            self.step()

    def hear(self) -> None:
        """The client hears by a heartbeat whether it is still a member, whatever the process does."""
        if self.session is not None:
            cast("ModelConsumer", self.session._consumer).hear()

    def pause(self) -> None:
        """Stand still; called by the threads of the process."""
        self._stands.release()
        self._go.acquire()
        if self._is_killed:
            raise Crash

    def _wait(self) -> None:
        assert self._stands.acquire(timeout=STUCK_S), f"{self.identity} makes no call and does not end"

    def _run(self) -> None:
        try:
            self.pause()
            self.session = Session(self._settings, self.identity, self._submit)
            self.session.run(lambda: self.is_stopping)
            self.session.leave()
        except (Crash, Exception) as error:  # noqa: BLE001 - looked at by the test
            self.error = error
        self.is_alive = False
        self._stands.release()

    def _submit(self, record: Record) -> Held:
        self.in_work.append(Held(self, record))
        return self.in_work[-1]


@dataclass
class World:
    """The broker, the clock and everyone who was ever started."""

    broker: Broker
    clock: Clock = field(default_factory=Clock)
    processes: list[Process] = field(default_factory=list)

    def start(self, settings: Settings, identity: str) -> Process:
        """Start a process; it stands before its first call."""
        number = len(self.processes)
        kafka = settings.kafka.model_copy(update={"bootstrap_servers": f"{number}"})
        self.processes.append(Process(self, settings.model_copy(update={"kafka": kafka}), identity))
        return self.processes[-1]

    @contextmanager
    def in_place_of_kafka(self) -> Iterator[None]:
        """Have sessions find this broker and this clock."""

        def of(options: Mapping[str, Any]) -> Process:
            return self.processes[int(options["bootstrap_servers"][0])]

        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(workers.kafka, "KafkaConsumer", lambda **o: ModelConsumer(of(o), o))
            patch.setattr(workers.kafka, "KafkaProducer", lambda **o: ModelProducer(of(o), o))
            patch.setattr(workers.kafka, "end_waits", lambda *_: None)
            patch.setattr(workers.session, "Poller", ModelPoller)
            patch.setattr(workers.session, "Report", Unwatched)
            for module in (workers.kafka, workers.orphans):
                patch.setattr(module, "KafkaAdminClient", lambda **o: ModelAdmin(of(o)))
            patch.setattr(workers.session, "time", self.clock)
            patch.setattr(pipelines.deadline, "time", self.clock)
            patch.setattr(concurrent.futures, "wait", self._wait_for_any)
            yield

    def _wait_for_any(self, futures: Collection[Held], timeout: float, return_when: str) -> None:  # noqa: ARG002
        next(iter(futures)).process.pause()
        if not any(one.done() for one in futures):
            self.clock.sleep(timeout)


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

    def __init__(self, process: Process, options: Mapping[str, Any]) -> None:
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

    def __init__(self, process: Process, options: Mapping[str, Any]) -> None:
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

    def __init__(self, process: Process) -> None:
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


def _commit(process: Process, act: Callable[[], None]) -> None:
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
