"""Publishes the segments of a run, poison among them, so that there are always some in flight.

How fast depends on the answers that come, never on the clock. Knows messages and a producer. Does not know
faults: it is told how far it may go.
"""

import random
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

from confluent_kafka import Producer

from tests.segments import TONE, by_reference, inline
from tests.topics import Message

ID_HEADER = "chaos-id"
"""Names the segment whatever is wrong with its payload; a dead letter keeps it."""
BACKLOG = 48
"""Unanswered segments of one partition: more than a consumer holds of it, so that none runs dry."""
TRICKLE_BACKLOG = 4
"""Unanswered segments of one partition once the load waits for a fault: it never falls silent."""
TRICKLE_PAUSE_S = 2.0
"""Between rounds then: faults that take a minute each must not use up what later faults need."""
POISON_SHARE = 0.01
"""Well below the shipped cap on the share of dead letters."""
SEGMENTS_PER_DEATH = 5_000
"""One segment in so many kills the process that prepares it."""
FLUSH_TIMEOUT_S = 120.0


def _not_json(partition: int, _: str) -> Message:
    return Message(partition, b"key", b"no json", (("content-type", b"application/json"),))


def _forbidden(partition: int, name: str) -> Message:
    return by_reference(partition, name, "file:///etc/passwd")


def _empty(partition: int, name: str) -> Message:
    return inline(partition, name, media=b"")


def _truncated(partition: int, name: str) -> Message:
    return inline(partition, name, media=TONE[:20])


def _good(partition: int, name: str) -> Message:
    return inline(partition, name)


MAKERS: dict[str, Callable[[int, str], Message]] = {
    "parse": _not_json,
    "fetch": _forbidden,
    "empty": _empty,
    "decode": _truncated,
    "bug": _good,
    "die": _good,
}
"""Kinds of poison; the application of the kit has a bug, or dies, where the id begins so (`tests.poison`)."""


@dataclass(frozen=True)
class Plan:
    """What is published.

    Attributes:
        num_segments: In all; number n goes to partition n modulo `num_partitions`.
        num_partitions: Of the input topic.
        poison: The kind of each segment that must become a dead letter, by its number.
    """

    num_segments: int
    num_partitions: int
    poison: dict[int, str]

    def name(self, number: int) -> str:
        """The id of a segment."""
        return f"{self.poison.get(number, 'good')}/{number}"

    def message(self, number: int) -> Message:
        """A segment as it is published."""
        partition, name = number % self.num_partitions, self.name(number)
        made = MAKERS.get(self.poison.get(number, ""), _good)(partition, name)
        return replace(made, headers=(*made.headers, (ID_HEADER, name.encode())))

    @property
    def poison_names(self) -> frozenset[str]:
        """Ids of the segments that must become dead letters."""
        return frozenset(self.name(number) for number in self.poison)


def make_plan(seed: int, num_segments: int, num_partitions: int) -> Plan:
    """Choose the poison; the same seed chooses the same."""
    chance = random.Random(f"poison {seed}")
    num_deadly = num_segments // SEGMENTS_PER_DEATH
    number = max(len(MAKERS) - 1, round(num_segments * POISON_SHARE)) + num_deadly
    chosen = chance.sample(range(num_segments), min(number, num_segments))
    harmless = [kind for kind in MAKERS if kind != "die"]
    kinds = ["die"] * num_deadly + [harmless[index % len(harmless)] for index in range(number - num_deadly)]
    return Plan(num_segments, num_partitions, dict(zip(chosen, kinds, strict=False)))


class Load:
    """Publishes a plan on a thread of its own.

    `num_sent` says how many segments were published of each partition.

    Args:
        plan: What.
        servers: Of the brokers.
        topic: Where to.
        num_answered: How many answers each partition has.
    """

    def __init__(self, plan: Plan, servers: str, topic: str, num_answered: Callable[[int], int]) -> None:
        self._plan = plan
        self._topic = topic
        self._num_answered = num_answered
        self._allowed = 0
        self._reserve = 0
        self._trickle_at_s = 0.0
        self._stopping = threading.Event()
        self.num_sent = [0] * plan.num_partitions
        self.num_delivered = 0
        self.error: str | None = None
        self._producer = Producer(
            {
                "bootstrap.servers": servers,
                "enable.idempotence": True,
                "linger.ms": 2,
                "message.timeout.ms": 0,  # a broker that is away delays a segment, it does not lose it
                "socket.timeout.ms": 10_000,
                "reconnect.backoff.max.ms": 1000,
                "log_level": 0,
            }
        )
        self._thread = threading.Thread(target=self._run, name="load", daemon=True)
        self._thread.start()

    @property
    def in_flight(self) -> int:
        """Segments published and not answered."""
        return sum(self.num_sent) - sum(map(self._num_answered, range(self._plan.num_partitions)))

    @property
    def waiting(self) -> list[int]:
        """Partitions with segments in flight."""
        return [number for number, sent in enumerate(self.num_sent) if sent > self._num_answered(number)]

    @property
    def is_held(self) -> bool:
        """Whether all is answered but what is kept back."""
        return self._plan.num_segments - sum(self.num_sent) <= self._reserve and not self.waiting

    @property
    def is_over(self) -> bool:
        """Whether everything is published and answered."""
        return sum(self.num_sent) == self._plan.num_segments and not self.waiting

    def allow(self, number: int, reserve: int) -> None:
        """Go on at full speed until so many are published, then slowly; keep `reserve` back in any case."""
        self._allowed, self._reserve = number, reserve

    def burst(self, number: int) -> None:
        """Publish so many of the reserve at full speed."""
        self.allow(max(self._allowed, sum(self.num_sent) + number), max(0, self._reserve - number))

    def stop(self) -> None:
        """Publish no more, and wait for what is under way."""
        self._stopping.set()
        self._thread.join(FLUSH_TIMEOUT_S + 10)

    def _run(self) -> None:
        try:
            while not self._stopping.is_set() and sum(self.num_sent) < self._plan.num_segments:
                if not self._send_some():
                    time.sleep(0.01)
                self._producer.poll(0)
            self._producer.flush(FLUSH_TIMEOUT_S)
        except Exception as error:  # noqa: BLE001 - told in the report
            self.error = f"{type(error).__name__}: {error}"

    def _send_some(self) -> bool:
        is_fast = sum(self.num_sent) < min(self._allowed, self._plan.num_segments - self._reserve)
        limit = BACKLOG if is_fast else TRICKLE_BACKLOG
        if not is_fast:
            if self._plan.num_segments - sum(self.num_sent) <= self._reserve:
                return False
            if time.monotonic() < self._trickle_at_s:
                return False
            self._trickle_at_s = time.monotonic() + TRICKLE_PAUSE_S
        has_sent = False
        for partition, num_sent in enumerate(self.num_sent):
            number = num_sent * self._plan.num_partitions + partition
            if number < self._plan.num_segments and num_sent - self._num_answered(partition) < limit:
                self._send(number)
                has_sent = True
        return has_sent

    def _send(self, number: int) -> None:
        one = self._plan.message(number)
        self._producer.produce(
            self._topic,
            key=one.key,
            value=one.value,
            headers=list(one.headers),
            partition=one.partition,
            on_delivery=self._delivered,
        )
        self.num_sent[one.partition] += 1

    def _delivered(self, error: Any, _: Any) -> None:
        if error is None:
            self.num_delivered += 1
        else:
            self.error = f"a segment was not published: {error}"
