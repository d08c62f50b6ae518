"""Publishes answers and commits the offsets of the records they answer, together or not at all.

`exactly_once`, for one batch:
    1. begin a transaction
    2. send events and dead letters, each partition's in its order; wait until the broker has each of them
    3. add the next offsets, with the consumer's group generation: a consumer that lost its partitions is
       refused (KIP-447). One that knows that it is no member does not try: without a generation the broker
       would take it for a client that needs no group, and not refuse it as long as the group is empty
    4. commit
If the broker refuses, the producer is replaced by a new one with the same identity, whose first act is to
abort what the old one left open: nothing of it is ever seen, and the answers stay in the window for another
try. Any other error, above all that another process has taken over this identity, or that the broker has not
answered within the transaction's time limit, is raised: the process ends, and the next one begins at the
committed offsets.

`at_least_once`: send, wait for every delivery report, then commit the offsets.

Knows topics, partitions and transactions. Does not know where answers come from.
"""

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from kafka import KafkaConsumer, KafkaProducer, TopicPartition
from kafka.errors import (
    CommitFailedError,
    IllegalGenerationError,
    KafkaError,
    MessageSizeTooLargeError,
    RebalanceInProgressError,
    UnknownMemberIdError,
)
from kafka.structs import ConsumerGroupMetadata, OffsetAndMetadata

from workers.config import KafkaConfig
from workers.kafka import open_producer
from workers.messages import Answer
from workers.window import Entry

log = logging.getLogger(__name__)

Batch = Mapping[int, Sequence[Entry[Answer]]]
"""Answered records of each input partition, oldest first."""

Offsets = dict[TopicPartition, OffsetAndMetadata]

NO_EPOCH = -1

LEFT_OUT = ("without its value", "without its value, key and headers")
"""What is left out of a dead letter that its topic refuses as too large, the first and the second time."""
NUM_OWN_HEADERS = 8
"""The last headers of a dead letter are those that say why it is one (INTERFACES section 3)."""

REFUSALS = (
    MessageSizeTooLargeError,
    # The group has another generation: the next poll joins it, and says which partitions are still ours.
    CommitFailedError,
    RebalanceInProgressError,
    IllegalGenerationError,
    UnknownMemberIdError,
)
"""Errors with which nothing was committed and the client has nothing more to send."""


@dataclass(frozen=True)
class Mark:
    """What is committed for a partition: where to go on, and what is kept beside that."""

    next_offset: int
    metadata: str


@dataclass(frozen=True)
class Sent:
    """An answer on its way.

    Attributes:
        partition: Of the answered record.
        offset: Of the answered record.
        answer: What was sent.
        receipt: The client's future for the broker's receipt.
    """

    partition: int
    offset: int
    answer: Answer
    receipt: Any


class UnknownOutcomeError(RuntimeError):
    """A commit was asked for and the answer is not known: only the committed offsets can tell."""


class Publisher:
    """One producer, for the life of one consumer's membership.

    Args:
        config: The settings.
        identity: The `transactional_id`. A predecessor with the same one is fenced and its open transaction
            ended before this returns.
        consumer: Whose offsets are committed.
    """

    def __init__(self, config: KafkaConfig, identity: str, consumer: KafkaConsumer) -> None:
        self._config = config
        self._identity = identity
        self._transactional_id = identity if config.delivery == "exactly_once" else None
        self._consumer = consumer
        self._topics = config.output_topic, config.dead_letter_topic
        self._too_large: dict[tuple[int, int], int] = {}
        self._producer = self._open_producer()

    def publish(self, batch: Batch, marks: Mapping[int, Mark]) -> bool:
        """Publish a batch and commit its offsets.

        Args:
            batch: The answers; there may be none.
            marks: What to commit for each of its partitions, and maybe for others.

        Returns:
            Whether that happened. If not, the broker refused for now: the same may be tried again as long as
            the partitions are still owned.

        Raises:
            KafkaError: It never will, as when this producer or its consumer was replaced by another.
            UnknownOutcomeError: Nobody knows. In both cases a new session goes on from the committed offsets.
        """
        offsets = {
            TopicPartition(self._config.input_topic, partition): OffsetAndMetadata(
                mark.next_offset, mark.metadata, NO_EPOCH
            )
            for partition, mark in marks.items()
        }
        member = self._consumer.group_metadata()
        if member.generation_id < 0:
            log.warning("%s not published: %s is no member of the group", _named(offsets), self._identity)
            return False
        sent: list[Sent] = []
        try:
            if self._transactional_id is None:
                self._then_commit(batch, offsets, sent)
            else:
                self._in_transaction(batch, offsets, member, sent)
        except REFUSALS as error:
            log.warning("%s not published: %s", _named(offsets), error)
            self._note_too_large(sent)
            self._producer.close(timeout=0)
            self._producer = self._open_producer()
            return False
        return True

    def close(self) -> None:
        """Let go of the connection."""
        self._producer.close(timeout=1.0)

    def _open_producer(self) -> KafkaProducer:
        producer = open_producer(self._config, self._transactional_id)
        if self._transactional_id is not None:
            producer.init_transactions()
        return producer

    def _in_transaction(
        self, batch: Batch, offsets: Offsets, member: ConsumerGroupMetadata, sent: list[Sent]
    ) -> None:
        self._producer.begin_transaction()
        self._send(batch, sent)
        self._producer.send_offsets_to_transaction(offsets, member)
        try:
            self._producer.commit_transaction()
        except KafkaError as error:
            raise UnknownOutcomeError(f"{_named(offsets)} may be published or not: {error}") from error

    def _then_commit(self, batch: Batch, offsets: Offsets, sent: list[Sent]) -> None:
        self._send(batch, sent)
        self._consumer.commit(offsets, timeout_ms=int(self._config.request_timeout_s * 1000))

    def _send(self, batch: Batch, sent: list[Sent]) -> None:
        """Send all answers and wait for the broker's receipt of each.

        kafka-python 3.0.12 may commit a transaction although one of its batches was refused: so each
        receipt is looked at before anything is committed.
        """
        keeps_partition = {topic: self._is_as_wide_as_input(topic) for topic in self._topics}
        for partition, entries in batch.items():
            for entry in entries:
                answer = entry.future.result()
                answer = _shortened(answer, self._too_large.get((partition, entry.offset), 0))
                topic = self._topics[answer.failure is not None]
                receipt = self._send_one(topic, answer, partition if keeps_partition[topic] else None)
                sent.append(Sent(partition, entry.offset, answer, receipt))
        # Without a limit a producer that lost its way to the broker would hold its partitions for ever.
        is_transaction = self._transactional_id is not None
        self._producer.flush(
            timeout=self._config.transaction_timeout_s if is_transaction else self._config.request_timeout_s
        )
        for one in sent:
            one.receipt.get(timeout=0)

    def _send_one(self, topic: str, answer: Answer, partition: int | None) -> Any:
        # kafka-python can't send a message without key and value.
        value = b"" if answer.key is None and answer.value is None else answer.value
        headers = list(answer.headers)
        return self._producer.send(topic, key=answer.key, value=value, headers=headers, partition=partition)

    def _is_as_wide_as_input(self, topic: str) -> bool:
        """Whether answers keep the input's partition in this topic; otherwise the key decides.

        Asked once a batch: the client's look-up costs as much as a tenth of sending a message.
        """
        num_partitions = len(self._producer.partitions_for(topic))
        return num_partitions == len(self._producer.partitions_for(self._config.input_topic))

    def _note_too_large(self, sent: Sequence[Sent]) -> None:
        """Remember a dead letter that its topic does not take as it is, lest it stop the partition.

        The broker refuses a whole batch of the client's; the largest in it is to blame. Others follow.

        Raises:
            MessageSizeTooLargeError: It is an event, or a dead letter of which nothing more can be left out.
        """
        refused = [one for one in sent if isinstance(one.receipt.exception, MessageSizeTooLargeError)]
        if not refused:
            return
        one = max(refused, key=lambda one: _num_bytes(one.answer))
        place = one.partition, one.offset
        times = self._too_large.get(place, 0) + 1
        if one.answer.failure is None or times > len(LEFT_OUT):
            raise one.receipt.exception
        named, topic = (
            f"{self._config.input_topic}[{one.partition}] {one.offset}",
            self._config.dead_letter_topic,
        )
        left_out = LEFT_OUT[times - 1]
        log.error("%s: too large for %s (max.message.bytes): goes there %s", named, topic, left_out)
        self._too_large[place] = times


def _num_bytes(answer: Answer) -> int:
    headers = sum(len(name) + len(value) for name, value in answer.headers)
    return len(answer.key or b"") + len(answer.value or b"") + headers


def _shortened(answer: Answer, times: int) -> Answer:
    """A dead letter that its topic has refused as too large, so often.

    What is left out can't be replayed: `dlq-value-bytes` says so.
    """
    if times == 0:
        return answer
    size = ("dlq-value-bytes", str(len(answer.value or b"")).encode())
    if times == 1:
        return Answer(answer.key, None, (*answer.headers, size), answer.failure)
    ours = tuple(header for header in answer.headers if header[0].startswith("dlq-"))
    return Answer(None, None, (*ours[-NUM_OWN_HEADERS:], size), answer.failure)


def _named(offsets: Offsets) -> str:
    return ", ".join(f"{place.topic}[{place.partition}] before {to.offset}" for place, to in offsets.items())
