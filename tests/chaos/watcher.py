"""Sees answers come while a run lasts, and reads everything back when it is over; committed messages only.

Knows topics and the headers of answers. Does not know what should have come.
"""

import threading
import time
from collections.abc import Collection
from dataclasses import dataclass
from typing import Any

from confluent_kafka import OFFSET_BEGINNING, Consumer, KafkaException, Message, TopicPartition

from pipelines.events import AffectEvent
from tests.chaos.judge import Answer, Place
from tests.chaos.load import ID_HEADER

READ_TIMEOUT_S = 120.0
SOCKET_TIMEOUT_MS = 3_000
"""A leader that is frozen is left within this: shorter than any recovery that is measured through it."""


@dataclass(frozen=True)
class Topics:
    """Names of one run's topics.

    Attributes:
        servers: Of the brokers.
        segments: The input.
        events: The output.
        dead_letters: The dead letters.
        num_partitions: Of input and output; dead letters have one.
    """

    servers: str
    segments: str
    events: str
    dead_letters: str
    num_partitions: int


@dataclass(frozen=True)
class Sight:
    """An answer, as the watcher saw it; times are of the clock that all processes here share.

    Attributes:
        partition: Of the input.
        created_s: When the worker sent it.
        seen_s: When it could be read as committed.
    """

    partition: int
    created_s: float
    seen_s: float


class Watcher:
    """Follows events and dead letters on a thread of its own.

    Args:
        topics: Where.
    """

    def __init__(self, topics: Topics) -> None:
        self._topics = topics
        self._stopping = threading.Event()
        self._places: list[set[int]] = [set() for _ in range(topics.num_partitions)]
        self.sights: list[Sight] = []
        self.error: str | None = None
        self._thread = threading.Thread(target=self._run, name="watcher", daemon=True)
        self._thread.start()

    def num_answered(self, partition: int) -> int:
        """Different segments of an input partition that have an answer."""
        return len(self._places[partition])

    @property
    def num_answers(self) -> int:
        """Different segments that have an answer."""
        return sum(map(len, self._places))

    def recovered_s(self, since_s: float, partitions: Collection[int]) -> float | None:
        """When each of these partitions had an answer that was made after a moment; None while one has none.

        An answer made before it may become visible after it and proves nothing.
        """
        firsts: dict[int, float] = {}
        for sight in reversed(self.sights):
            if sight.seen_s < since_s:
                break
            if sight.created_s > since_s:
                firsts[sight.partition] = sight.seen_s
        is_recovered = firsts and firsts.keys() >= set(partitions)
        return max(firsts.values()) if is_recovered else None

    def stop(self) -> None:
        """Stop to look."""
        self._stopping.set()
        self._thread.join(20)

    def _run(self) -> None:
        consumer = _open(self._topics, [self._topics.events, self._topics.dead_letters])
        while not self._stopping.is_set():
            message = consumer.poll(0.2)
            if message is None or message.error() is not None:
                continue
            try:
                partition, offset = answer_of(message, self._topics).place
            except (ValueError, KeyError, TypeError) as error:
                self.error = f"{message.topic()}[{message.partition()}] {message.offset()}: {error}"
                continue
            now_s = time.time()
            self._places[partition].add(offset)
            self.sights.append(Sight(partition, message.timestamp()[1] / 1000, now_s))
        consumer.close()


def read_published(topics: Topics) -> dict[Place, str]:
    """Id of the segment at each place of the input topic."""
    messages = _read(topics, topics.segments)
    return {(one.partition(), one.offset()): _header(one, ID_HEADER) for one in messages}


def read_answers(topics: Topics, topic: str) -> list[Answer]:
    """Events or dead letters, in order within each partition."""
    return [answer_of(message, topics) for message in _read(topics, topic)]


def answer_of(message: Message, topics: Topics) -> Answer:
    """What a message answers.

    Raises:
        ValueError: It is no answer.
        KeyError: It is no answer.
    """
    partition = message.partition()
    assert partition is not None
    if message.topic() == topics.dead_letters:
        place = int(_header(message, "dlq-source-partition")), int(_header(message, "dlq-source-offset"))
        return Answer(place, _header(message, ID_HEADER), None, partition)
    event = AffectEvent.model_validate_json(message.value() or b"")
    if event.source is None:
        raise ValueError("an event without its source")
    return Answer((event.source.partition, event.source.offset), event.segment_id, event.event_id, partition)


def _read(topics: Topics, topic: str) -> list[Message]:
    """All committed messages of a topic.

    Raises:
        TimeoutError: They can't be read within `READ_TIMEOUT_S`.
    """
    consumer = _open(topics, [topic])
    deadline_s = time.monotonic() + READ_TIMEOUT_S
    found: list[Message] = []
    places = consumer.assignment()
    ends: dict[int, int] = {}
    try:
        while time.monotonic() < deadline_s:
            found.extend(one for one in consumer.consume(500, 0.5) if one.error() is None)
            try:
                for place in places:
                    if place.partition not in ends:
                        ends[place.partition] = consumer.get_watermark_offsets(place, timeout=5.0)[1]
            except KafkaException:
                continue
            at = {one.partition: one.offset for one in consumer.position(places)}
            if all(at[number] >= end or end == 0 for number, end in ends.items()):
                return found
    finally:
        consumer.close()
    raise TimeoutError(f"{topic} can't be read to its end within {READ_TIMEOUT_S:g} s: {ends}, at {at}")


def _open(topics: Topics, names: list[str]) -> Consumer:
    consumer = Consumer(
        {
            "bootstrap.servers": topics.servers,
            "group.id": "chaos-watcher",
            "enable.auto.commit": False,
            "isolation.level": "read_committed",
            "fetch.wait.max.ms": 50,
            "socket.timeout.ms": SOCKET_TIMEOUT_MS,
            "reconnect.backoff.max.ms": 1000,
            "topic.metadata.refresh.interval.ms": 2000,
            "log_level": 0,
        }
    )
    consumer.assign(
        [
            TopicPartition(name, number, OFFSET_BEGINNING)
            for name in names
            for number in range(1 if name == topics.dead_letters else topics.num_partitions)
        ]
    )
    return consumer


def _header(message: Any, name: str) -> str:
    return str(dict(message.headers() or [])[name].decode())
