"""The dead-letter topic, read from its beginning to where it ended when it was opened.

Knows the consumer: committed messages only, no consumer group, so that reading disturbs nobody. Does not know
what is done with dead letters.
"""

import time
from collections.abc import Iterator

from kafka import KafkaConsumer

from pipelines.errors import HctDmgError
from workers.config import KafkaConfig
from workers.dead_letters import DeadLetter, read_dead_letter, read_marker
from workers.extent import extent
from workers.kafka import check_topics
from workers.messages import Record
from workers.output import note
from workers.rights import Right
from workers.watch import open_viewer, poll

STALL_LIMIT_S = 60.0
"""No progress for so long means trouble: an open transaction holds readers back, but a worker's for 10 s at most."""


class DeadLetterTopicError(HctDmgError):
    """The topic can't be read to its end."""


class Offsets:
    """A set of a topic's offsets, one bit for each that there may be.

    Args:
        begins: First offset of each partition.
        ends: Offset behind the last one of each partition.
    """

    def __init__(self, begins: dict[int, int], ends: dict[int, int]) -> None:
        self._begins = begins
        self._bits = {number: bytearray((end - begins[number]) // 8 + 1) for number, end in ends.items()}

    def add(self, partition: int, offset: int) -> None:
        """Add one; what retention has deleted is passed over."""
        byte, bit = divmod(offset - self._begins.get(partition, 0), 8)
        if 0 <= byte < len(self._bits.get(partition, b"")):
            self._bits[partition][byte] |= 1 << bit

    def has(self, partition: int, offset: int) -> bool:
        """Whether it is in the set; it must lie between begin and end."""
        byte, bit = divmod(offset - self._begins[partition], 8)
        return bool(self._bits[partition][byte] >> bit & 1)


class DeadLetterTopic:
    """What the topic holds at this moment; what comes later is not seen.

    Args:
        kafka: The settings.

    Attributes:
        replayed: Which dead letters were replayed: each has a marker, which lies behind it.

    Raises:
        ConfigError: The broker can't be reached or lacks the topic.
        DeadLetterTopicError: Something holds the topic's readers back.
    """

    def __init__(self, kafka: KafkaConfig) -> None:
        self._kafka = kafka
        topic = kafka.dead_letter_topic
        num_partitions = check_topics(kafka, [topic], [Right("READ", "topic", topic)])[topic]
        begins, self._ends = extent(kafka, topic, num_partitions)
        self.replayed = Offsets(begins, self._ends)
        for record in self._records():
            if (place := read_marker(record)) is not None:
                self.replayed.add(*place)

    def letters(self) -> Iterator[DeadLetter]:
        """The dead letters, each partition's in order; a message that is none is told and passed over."""
        for record in self._records():
            if (letter := read_dead_letter(record)) is not None:
                yield letter
            elif read_marker(record) is None:
                note(f"warning: {record.place} is no dead letter")

    def is_replayed(self, letter: DeadLetter) -> bool:
        """Whether a dead letter was replayed before the topic was opened."""
        return self.replayed.has(letter.place.partition, letter.place.offset)

    def _records(self) -> Iterator[Record]:
        """What lies before the ends; waits for the transactions that are open there."""
        consumer = open_viewer(self._kafka, [self._kafka.dead_letter_topic], from_beginning=True)
        try:
            heard_s = time.monotonic()
            while places := self._unread(consumer):
                polled = poll(consumer)
                for one in polled:
                    if one.offset < self._ends[one.partition]:
                        headers = tuple((name, value or b"") for name, value in one.headers)
                        yield Record(one.topic, one.partition, one.offset, one.key, one.value, headers)
                if polled:
                    heard_s = time.monotonic()  # after the reader's own work, which may take long
                elif time.monotonic() - heard_s > STALL_LIMIT_S:
                    where = f"{self._kafka.dead_letter_topic}{sorted(places)}"
                    raise DeadLetterTopicError(
                        f"{where}: can't be read to the end within {STALL_LIMIT_S:g} s: "
                        "is a transaction open there, or the broker away?"
                    )
        finally:
            consumer.close()

    def _unread(self, consumer: KafkaConsumer) -> list[int]:
        """Partitions that are not read to their end; the others are paused."""
        places = consumer.assignment() - consumer.paused()
        done = {place for place in places if consumer.position(place) >= self._ends[place.partition]}
        consumer.pause(*done)
        return [place.partition for place in places - done]
