"""One membership in the consumer group: from joining, through polling and publishing, to leaving.

One thread owns the Kafka clients. The exception is a rebalance: it happens while that thread waits in `poll`,
and its handlers (`workers.rebalance`) run on another meanwhile; a lock makes sure that only one of them acts.

Knows the protocol: what is polled, held, published, committed and given back. Does not know how a record is
answered.
"""

import concurrent.futures
import logging
import threading
import time
from collections.abc import Callable, Collection, Iterable
from dataclasses import dataclass
from typing import cast

from kafka import KafkaAdminClient, TopicPartition
from kafka.admin import MemberToRemove
from kafka.errors import KafkaError
from kafka.structs import MemberState

from pipelines.deadline import Deadline
from workers.config import Settings
from workers.kafka import client_options, open_consumer
from workers.messages import Answer, Record
from workers.orphans import adopt_orphans
from workers.poller import Poller
from workers.publisher import Publisher
from workers.rebalance import Rebalance
from workers.window import Entry, Windows

log = logging.getLogger(__name__)

POLL_S = 0.05
"""Longest wait for records; finished answers and the wish to stop wait no longer than that."""
DRAIN_POLL_S = 0.1
"""How often a drain looks at the clock, and waits before it tries a refused transaction again."""


@dataclass(frozen=True)
class Progress:
    """What a session is doing.

    Attributes:
        is_member: Whether it has joined the group; it may have no partition.
        partitions: The partitions that it owns.
        num_in_flight: Records polled and not yet committed.
        num_bytes_in_flight: Their bytes.
        num_events: Events published so far.
        num_dead_letters: Dead letters published so far.
    """

    is_member: bool
    partitions: tuple[int, ...]
    num_in_flight: int
    num_bytes_in_flight: int
    num_events: int
    num_dead_letters: int


class Session:
    """A member of the group and its producer.

    `progress` says what it is doing; any thread may read it.

    Args:
        settings: The settings.
        identity: `group_instance_id` and `transactional_id`; no two live sessions may share one.
        submit: Has a record answered; the future's result is its answer, whatever is in the record.

    Raises:
        KafkaError: The broker can't be reached.
    """

    def __init__(
        self,
        settings: Settings,
        identity: str,
        submit: Callable[[Record], "concurrent.futures.Future[Answer]"],
    ) -> None:
        self._config = settings.kafka
        self._flow = settings.flow
        self._identity = identity
        self._submit = submit
        self._lock = threading.RLock()
        self._windows: Windows[Answer] = Windows(
            self._flow.max_in_flight_segments, self._flow.max_in_flight_bytes
        )
        self._publish_at_s = 0.0
        self._num_events = 0
        self._num_dead_letters = 0
        self._has_looked_for_orphans = False
        self._consumer = open_consumer(self._config, identity)
        self._poller = Poller(self._consumer)
        try:
            self._publisher = Publisher(self._config, identity, self._consumer)
        except KafkaError:
            self._consumer.close(autocommit=False)
            raise
        self._rebalance = Rebalance(self._consumer, self._hold, self._give_back, self._forget)
        self._consumer.subscribe([self._config.input_topic], listener=self._rebalance)
        self.progress = self._look()

    def run(self, is_over: Callable[[], bool]) -> None:
        """Consume until it is over, then finish what can be finished within the drain's budget.

        Raises:
            KafkaError: The membership can't go on, as when another took over this identity.
            BrokenInvariantError: Going on could lose or double records.
        """
        while not is_over():
            self._poll()
            if time.monotonic() >= self._publish_at_s:
                with self._lock:
                    self._publish()
            self.progress = self._look()
            if self.progress.is_member and not self._has_looked_for_orphans:
                self._has_looked_for_orphans = True
                adopt_orphans(self._config, self._consumer)
        with self._lock:
            self._finish(self._windows.partitions)

    def leave(self) -> None:
        """Leave the group for good, so that others get the partitions at once; undone work is given back."""
        self._windows.drop(self._windows.partitions)
        member = self._consumer.group_metadata()
        self._consumer.close(autocommit=False)
        self._publisher.close()
        self._rebalance.close()
        if member.state is MemberState.STABLE:
            # A static member stays when it closes, and its partitions would wait for the session time-out.
            self._remove(MemberToRemove(member_id=member.member_id, group_instance_id=self._identity))

    def _give_back(self, partitions: Collection[int]) -> None:
        """Finish what is in flight of partitions that go to another member; the group waits for it."""
        with self._lock:
            num_dropped = self._finish(partitions)
        log.info("%s revoked, %d records given back", self._named(partitions), num_dropped)

    def _forget(self, partitions: Collection[int]) -> None:
        """Forget partitions that were taken away: their new owner has begun at the committed offsets."""
        with self._lock:
            num_dropped = self._windows.drop(partitions)
        log.warning("%s lost, %d records given back", self._named(partitions), num_dropped)

    def _hold(self, partitions: Collection[int]) -> None:
        """Hold new partitions until there is a plan for them; the running poll knows nothing of them."""
        self._consumer.pause(*(self._place(partition) for partition in partitions))
        log.info("%s assigned", self._named(partitions))

    def _poll(self) -> None:
        assigned = self._assigned()
        plan = self._windows.plan(assigned)
        self._pause(assigned - plan.partitions)
        self._resume(plan.partitions)
        polled = self._poller.poll(POLL_S, max(1, plan.max_records))
        with self._lock:
            for one in polled:
                headers = tuple(one.headers)
                self._take_in(Record(one.topic, one.partition, one.offset, one.key, one.value, headers))

    def _take_in(self, record: Record) -> None:
        self._windows.add(record.partition, Entry(record.offset, record.num_bytes, self._submit(record)))

    def _publish(self) -> bool:
        """Publish all that is finished.

        Returns:
            False when the broker refused for now.
        """
        batch = self._windows.finished()
        if not batch:
            return True
        if not self._publisher.publish(batch):
            self._publish_at_s = time.monotonic() + DRAIN_POLL_S
            return False
        self._publish_at_s = time.monotonic() + self._config.commit_interval_s
        for partition, entries in batch.items():
            self._windows.release(partition, entries[-1].next_offset)
            for entry in entries:
                self._count(partition, entry)
        return True

    def _count(self, partition: int, entry: Entry[Answer]) -> None:
        failure = entry.future.result().failure
        if failure is None:
            self._num_events += 1
            return
        self._num_dead_letters += 1
        place = f"{self._config.input_topic}[{partition}] {entry.offset}"
        log.warning("%s is a dead letter: %s: %s: %s", place, failure.stage, failure.error, failure.message)

    def _finish(self, partitions: Collection[int]) -> int:
        """Wait for what is in flight, publish it, give back what the budget did not suffice for.

        Returns:
            How many records were given back.
        """
        budget = Deadline.after(self._flow.drain_timeout_s)
        while (heads := self._windows.heads(partitions)) and budget.remaining_s() > 0:
            concurrent.futures.wait(
                cast("list[concurrent.futures.Future[Answer]]", [head.future for head in heads]),
                timeout=min(DRAIN_POLL_S, budget.remaining_s()),
                return_when=concurrent.futures.FIRST_COMPLETED,
            )
            if not self._publish():
                time.sleep(DRAIN_POLL_S)
        return self._windows.drop(partitions)

    def _look(self) -> Progress:
        return Progress(
            is_member=self._consumer.group_metadata().state is MemberState.STABLE,
            partitions=tuple(sorted(self._assigned())),
            num_in_flight=self._windows.num_records,
            num_bytes_in_flight=self._windows.num_bytes,
            num_events=self._num_events,
            num_dead_letters=self._num_dead_letters,
        )

    def _remove(self, member: MemberToRemove) -> None:
        try:
            admin = KafkaAdminClient(**client_options(self._config))
            admin.remove_group_members(self._config.group_id, [member])
            admin.close()
        except KafkaError as error:
            log.info("%s leaves without notice: %s", self._identity, error)

    def _assigned(self) -> set[int]:
        return {place.partition for place in self._consumer.assignment()}

    def _pause(self, partitions: Iterable[int]) -> None:
        paused = {place.partition for place in self._consumer.paused()}
        self._consumer.pause(*(self._place(partition) for partition in set(partitions) - paused))

    def _resume(self, partitions: Collection[int]) -> None:
        paused = {place.partition for place in self._consumer.paused()}
        self._consumer.resume(*(self._place(partition) for partition in paused.intersection(partitions)))

    def _place(self, partition: int) -> TopicPartition:
        return TopicPartition(self._config.input_topic, partition)

    def _named(self, partitions: Collection[int]) -> str:
        return f"{self._config.input_topic}{sorted(partitions)}"
