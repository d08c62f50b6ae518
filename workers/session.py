"""One membership in the consumer group: from joining, through polling and publishing, to leaving.

One thread owns the Kafka clients. The exception is a rebalance: it happens while that thread waits in `poll`,
and its handlers (`workers.rebalance`) run on another meanwhile; a lock makes sure that only one of them acts.

Knows the protocol: what is polled, held, published, committed and given back. Does not know how a record is
answered.
"""

import concurrent.futures
import logging
import math
import threading
import time
from collections.abc import Callable, Collection, Iterable, Mapping
from typing import cast

from kafka.consumer.fetcher import ConsumerRecord
from kafka.errors import KafkaError
from kafka.structs import MemberState

from pipelines.deadline import Deadline
from workers.brake import Brake
from workers.config import Settings
from workers.journal import Journal
from workers.kafka import open_consumer, remove_member
from workers.memory import Memory
from workers.messages import Answer, Record
from workers.orphans import adopt_orphans
from workers.places import Places
from workers.poller import Poller
from workers.progress import Progress
from workers.publisher import Batch, Publisher
from workers.rebalance import Rebalance
from workers.report import Report, Watch
from workers.window import BrokenInvariantError, Entry, Windows

log = logging.getLogger(__name__)

POLL_S = 0.05
"""Longest wait for records; finished answers and the wish to stop wait no longer than that."""
MAX_REVOKE_SHARE = 0.5
"""How much of `kafka.max_poll_interval_s` a revocation may take: the group throws out who takes longer."""
ORPHANS_AGAIN_S = 5.0
"""Wait before the group is asked again who owns what, when it could not be asked."""
DRAIN_POLL_S = 0.1
"""How often a drain looks at the clock, and waits before it tries a refused transaction again."""


class Session:
    """A member of the group and its producer.

    `progress` says what it is doing, and `beat_s` when it last gave a sign of life, on the monotonic clock; any
    thread may read them.

    Args:
        settings: The settings.
        identity: `group_instance_id` and `transactional_id`; no two live sessions may share one.
        submit: Has a record answered; the future's result is its answer, whatever is in the record.
        brake: Halts the session; one that is on halts it from the start. None begins with nothing counted.
        memory: What was tried with the records, kept in the commit metadata. None for whom has nothing to note.
        watch: Who is told what operators watch.

    Raises:
        KafkaError: The broker can't be reached.
    """

    def __init__(
        self,
        settings: Settings,
        identity: str,
        submit: Callable[[Record], "concurrent.futures.Future[Answer]"],
        brake: Brake | None = None,
        memory: Memory | None = None,
        watch: Watch = Watch(),  # noqa: B008 - frozen
    ) -> None:
        self._config = settings.kafka
        self._flow = settings.flow
        self._identity = identity
        self._submit = submit
        self._lock = threading.RLock()
        self._windows: Windows[Answer] = Windows(
            self._flow.max_in_flight_segments, self._flow.max_in_flight_bytes
        )
        self._brake = Brake(self._flow) if brake is None else brake
        self._memory = Memory() if memory is None else memory
        self._publish_at_s = 0.0
        self._num_events = 0
        self._num_dead_letters = 0
        self._look_for_orphans_at_s = 0.0
        self._num_sharing = 0
        self._member_id = self._taken_in_as = ""
        self.beat_s = time.monotonic()
        self._consumer = open_consumer(self._config, identity, self._flow.max_in_flight_bytes)
        self._places = Places(self._consumer, self._config.input_topic)
        self._poller = Poller(self._consumer)
        try:
            self._publisher = Publisher(self._config, identity, self._consumer)
        except KafkaError:
            self._consumer.close(autocommit=False)
            raise
        self._report = Report(watch, self._consumer, self._config.input_topic)
        self._journal = Journal(self._consumer, self._config.input_topic, self._memory)
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
            self.beat_s = time.monotonic()
            self._poll()
            if time.monotonic() >= self._publish_at_s:
                with self._lock:
                    self._publish()
                    self._let_go_if_halted()
            self.progress = self._look()
            self._report.state(self.progress.partitions, self._windows, self.progress.halted_by is not None)
            if self.progress.is_member and time.monotonic() >= self._look_for_orphans_at_s:
                is_told = adopt_orphans(self._config, self._consumer)
                self._look_for_orphans_at_s = math.inf if is_told else time.monotonic() + ORPHANS_AGAIN_S
        with self._lock:
            self._finish(self._windows.partitions, self._flow.drain_timeout_s)

    def leave(self) -> None:
        """Leave the group for good, so that others get the partitions at once; undone work is given back."""
        self._windows.drop(self._windows.partitions)
        self._consumer.close(autocommit=False)
        self._publisher.close()
        self._rebalance.close()
        remove_member(self._config, self._identity, self._member_id)

    def _give_back(self, partitions: Collection[int]) -> None:
        """Finish what is in flight of partitions that go to another member; the group waits for it."""
        with self._lock:
            budget_s = min(self._flow.drain_timeout_s, MAX_REVOKE_SHARE * self._config.max_poll_interval_s)
            num_dropped = self._finish(partitions, budget_s, self._go_on)
        self._report.rebalanced("revoked", partitions)
        log.info("%s revoked, %d records given back", self._places.named(partitions), num_dropped)

    def _forget(self, partitions: Collection[int]) -> None:
        """Forget partitions that were taken away: their new owner has begun at the committed offsets."""
        with self._lock:
            num_dropped = self._windows.drop(partitions)
        self._report.rebalanced("lost", partitions)
        log.warning("%s lost, %d records given back", self._places.named(partitions), num_dropped)

    def _hold(self, partitions: Collection[int]) -> None:
        """Hold new partitions until there is a plan for them; the running poll knows nothing of them."""
        self._journal.expect(partitions)
        self._places.hold(partitions)
        self._report.rebalanced("assigned", partitions)
        log.info("%s assigned", self._places.named(partitions))

    def _poll(self) -> None:
        self._share()
        polled = self._poller.poll(POLL_S, self._make_room())
        with self._lock:
            self._take_in(polled)

    def _share(self) -> None:
        """Have partitions that were alone make room for new ones: a slow one must not hold the place of all."""
        owned = self._places.owned()
        if len(owned) > self._num_sharing:
            with self._lock:
                for partition, next_offset in self._windows.trim(owned).items():
                    self._places.seek(partition, next_offset)
        self._num_sharing = len(owned)

    def _go_on(self) -> None:
        """Read the partitions that stay while others are revoked: the thread that polls waits for that."""
        self._take_in(self._poller.fetch(self._make_room()))
        self._places.poll_only(())  # the poll that waits was given its room before this took some of it

    def _make_room(self) -> int:
        """Have only partitions that have room polled; how many records to take at most."""
        known = self._journal.read(self._places.owned())
        plan = self._windows.plan(() if self._brake.is_on else known)
        self._places.poll_only(plan.partitions)
        return max(1, plan.max_records)

    def _take_in(self, polled: Iterable[ConsumerRecord]) -> None:
        if self._windows.num_records == 0:
            self._taken_in_as = self._consumer.group_metadata().member_id
        for one in polled:
            # Kafka allows headers without a value; the client can't send such ones on.
            headers = tuple((name, value or b"") for name, value in one.headers)
            record = Record(one.topic, one.partition, one.offset, one.key, one.value, headers)
            now_s = time.time()
            written_s = now_s if one.timestamp < 0 else one.timestamp / 1000  # a record may be without
            entry = Entry(record.offset, record.num_bytes, self._submit(record), written_s, now_s)
            self._windows.add(record.partition, entry)

    def _publish(self) -> bool:
        """Publish all that is finished and that no cap withholds, and keep what was tried with the rest.

        Returns:
            False when the broker refused for now.

        Raises:
            BrokenInvariantError: What is in flight was polled by another member than this one is now: others may
                have answered it in between.
        """
        member_id = self._consumer.group_metadata().member_id
        if self._windows.num_records and member_id not in ("", self._taken_in_as):
            raise BrokenInvariantError(f"{member_id} still has records that {self._taken_in_as} polled")
        admitted = self._brake.admit(self._windows.finished())
        answered = {partition: entries[-1].next_offset for partition, entries in admitted.batch.items()}
        if not self._commit(admitted.batch, answered):
            return False
        self._brake.settle(admitted)
        for partition, entries in admitted.batch.items():
            self._windows.release(partition, entries[-1].next_offset)
            for entry in entries:
                self._count(partition, entry)
        return True

    def _commit(self, batch: Batch, answered: Mapping[int, int]) -> bool:
        marks = self._journal.marks(answered, self._windows.next_offsets())
        if not marks:
            return True
        begun_s = time.monotonic()
        if not self._publisher.publish(batch, marks):
            self._report.refused()
            self._publish_at_s = time.monotonic() + DRAIN_POLL_S
            return False
        self._report.published(batch, time.monotonic() - begun_s)
        self._publish_at_s = time.monotonic() + self._config.commit_interval_s
        self._journal.written(marks)
        return True

    def _let_go_if_halted(self) -> None:
        """Give back, to itself, all that is in flight; what was tried with it counts no more once it goes on."""
        waiting = self._windows.next_offsets()
        if not self._brake.is_on or not waiting:
            return
        self._windows.drop(waiting)
        for partition, next_offset in waiting.items():
            self._memory.replace(partition, {})
            self._places.seek(partition, next_offset)
        marks = self._journal.marks({}, waiting)
        if marks and self._publisher.publish({}, marks):
            self._journal.written(marks)

    def _count(self, partition: int, entry: Entry[Answer]) -> None:
        failure = entry.future.result().failure
        if failure is None:
            self._num_events += 1
            return
        self._num_dead_letters += 1
        place = f"{self._config.input_topic}[{partition}] {entry.offset}"
        log.warning("%s is a dead letter: %s: %s: %s", place, failure.stage, failure.error, failure.message)

    def _finish(
        self, partitions: Collection[int], budget_s: float, meanwhile: Callable[[], None] = lambda: None
    ) -> int:
        """Wait for what is in flight, publish it, give back what the budget did not suffice for.

        Who is thrown out of the group meanwhile gives all of it back: without joining again, nothing is taken of it.

        Returns:
            How many records were given back.
        """
        budget = Deadline.after(budget_s)
        while (
            (heads := self._windows.heads(partitions))
            and budget.remaining_s() > 0
            and not self._brake.is_on
            and self._is_member()
        ):
            concurrent.futures.wait(
                cast("list[concurrent.futures.Future[Answer]]", [head.future for head in heads]),
                timeout=min(DRAIN_POLL_S, budget.remaining_s()),
                return_when=concurrent.futures.FIRST_COMPLETED,
            )
            self.beat_s = time.monotonic()
            if not self._publish():
                time.sleep(DRAIN_POLL_S)
            meanwhile()
        return self._windows.drop(partitions)

    def _is_member(self) -> bool:
        """Whether the group may still take what is published; a rebalance that is under way changes nothing."""
        return bool(self._consumer.group_metadata().generation_id >= 0)

    def _look(self) -> Progress:
        member = self._consumer.group_metadata()
        # Who was thrown out has none, and its name may be another's by now: the last one tells it from that.
        self._member_id = member.member_id or self._member_id
        return Progress(
            is_member=member.state is MemberState.STABLE,
            partitions=tuple(sorted(self._places.owned())),
            num_in_flight=self._windows.num_records,
            num_bytes_in_flight=self._windows.num_bytes,
            num_events=self._num_events,
            num_dead_letters=self._num_dead_letters,
            halted_by=self._brake.reason,
            video=self._report.video,
        )
