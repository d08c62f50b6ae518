"""Puts dead letters back on the input topic: each replay and its marker in one transaction, or neither.

    1. open the producer: one `transactional_id` for the topic, so that another replay that is still at work is
       fenced, and what it left open is aborted
    2. only then read which dead letters have a marker (`workers.dead_letter_topic`)
    3. for some dead letters at a time: begin, send each one's replay and marker, wait for the receipts, commit

So a replay that dies half-way has replayed what has a marker, and of two at once the first one stops.

Knows topics and transactions. Does not know which dead letters are wanted.
"""

from collections.abc import Iterable, Iterator, Sequence
from datetime import UTC, datetime
from types import TracebackType
from typing import Any, Self

from kafka import KafkaProducer
from kafka.errors import InvalidProducerEpochError, KafkaError, MessageSizeTooLargeError, ProducerFencedError

from pipelines.errors import HctDmgError
from pipelines.segment import Header
from workers.config import KafkaConfig
from workers.dead_letters import DeadLetter, marker_headers, place_text
from workers.kafka import check_topics, open_producer
from workers.rights import Right

MAX_LETTERS = 100
"""In one transaction: it costs some 10 ms, so that a replay runs at thousands a second."""
MAX_BYTES = 8 * 2**20
"""In one transaction: held in memory, and sent within the transaction's time limit on any usual network."""


class ResendError(HctDmgError):
    """A replay can't go on; what was committed before stays replayed."""


class Resender:
    """The one producer that replays dead letters of a topic.

    Args:
        kafka: The settings.

    Raises:
        ConfigError: The broker can't be reached or lacks a topic.
        ResendError: The broker gives no transaction.
    """

    def __init__(self, kafka: KafkaConfig) -> None:
        self._kafka = kafka
        topics = [kafka.input_topic, kafka.dead_letter_topic]
        self._num_partitions = check_topics(kafka, topics, replay_rights(kafka))[kafka.input_topic]
        try:
            self._producer: KafkaProducer = open_producer(kafka, transactional_id(kafka))
            self._producer.init_transactions()
        except KafkaError as error:
            raise ResendError(f"no transaction on {kafka.bootstrap_servers}: {error}") from error

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: type[BaseException] | BaseException | TracebackType | None) -> None:
        self._producer.close(timeout=1.0)

    def resend(self, letters: Iterable[DeadLetter]) -> Iterator[DeadLetter]:
        """Put dead letters back, each to the partition it came from where there is such a one.

        Yields:
            Each of them, once its transaction is committed.

        Raises:
            ResendError: Another replay has taken over, the broker is away, or the input topic takes one no more.
        """
        for group in _groups(letters):
            self._in_transaction(group)
            yield from group

    def _in_transaction(self, letters: Sequence[DeadLetter]) -> None:
        sent: list[tuple[DeadLetter, Any]] = []
        try:
            self._producer.begin_transaction()
            self._send(letters, sent)
            self._producer.commit_transaction()
        except KafkaError as error:
            raise ResendError(self._explain(error, sent, len(letters))) from error

    def _send(self, letters: Sequence[DeadLetter], sent: list[tuple[DeadLetter, Any]]) -> None:
        """Send each letter's replay and marker, and wait for the receipts.

        kafka-python 3.0.12 may commit a transaction although one of its batches was refused: so each is
        looked at.
        """
        now = datetime.now(UTC)
        for letter in letters:
            number = letter.source.partition
            to = number if number < self._num_partitions else None  # then the key decides
            headers = letter.replay_headers(now)
            replay = self._send_one(self._kafka.input_topic, letter.key, letter.value, headers, to)
            sent.append((letter, replay))
            headers, place = marker_headers(letter.place), letter.place
            sent.append((letter, self._send_one(place.topic, None, b"", headers, place.partition)))
        self._producer.flush(timeout=self._kafka.transaction_timeout_s)
        for _, receipt in sent:
            receipt.get(timeout=0)

    def _send_one(
        self, topic: str, key: bytes | None, value: bytes | None, headers: list[Header], partition: int | None
    ) -> Any:
        # kafka-python can't send a message without key and value.
        content = b"" if key is None and value is None else value
        return self._producer.send(topic, key=key, value=content, headers=headers, partition=partition)

    def _explain(self, error: KafkaError, sent: Sequence[tuple[DeadLetter, Any]], num_letters: int) -> str:
        """One line; kafka-python 3.0.12's producer can't go on after it has aborted a transaction."""
        refused = [one for one, receipt in sent if isinstance(receipt.exception, MessageSizeTooLargeError)]
        if refused:
            largest = max(refused, key=lambda one: len(one.value or b""))
            return (
                f"{place_text(largest.place)} ({len(largest.value or b'')} bytes and a replay's headers) is too "
                f"large for {self._kafka.input_topic}: raise its max.message.bytes, or filter the letter out"
            )
        # What comes after the first error only wraps it.
        if any(
            isinstance(one, ProducerFencedError | InvalidProducerEpochError) for one in (error, *error.args)
        ):
            return (
                f"another `hctdmg dlq replay` of {self._kafka.dead_letter_topic} has taken over, or a "
                "transaction took longer than kafka.transaction_timeout_s: run it again for what is left"
            )
        return f"the last {num_letters} may be replayed or not ({error}): run it again, it looks first"


def replay_rights(kafka: KafkaConfig) -> list[Right]:
    """What a replay needs."""
    return [
        Right("READ", "topic", kafka.dead_letter_topic),
        Right("WRITE", "topic", kafka.dead_letter_topic),  # the markers
        Right("WRITE", "topic", kafka.input_topic),
        Right("WRITE", "transactional-id", transactional_id(kafka)),
    ]


def transactional_id(kafka: KafkaConfig) -> str:
    """One for each dead-letter topic, whatever the group: two replays of it shall exclude each other."""
    return f"{kafka.dead_letter_topic}.replay"


def _groups(letters: Iterable[DeadLetter]) -> Iterator[list[DeadLetter]]:
    group: list[DeadLetter] = []
    num_bytes = 0
    for letter in letters:
        group.append(letter)
        num_bytes += len(letter.value or b"")
        if len(group) >= MAX_LETTERS or num_bytes >= MAX_BYTES:
            yield group
            group, num_bytes = [], 0
    if group:
        yield group
