"""The command `hctdmg watch`: follow the events on the output topic, committed ones only.

Knows the consumer and events. Joins no consumer group, so that watching disturbs nobody.
"""

import time
from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

from kafka import KafkaConsumer, TopicPartition
from kafka.consumer.fetcher import ConsumerRecord
from pydantic import ValidationError
from rich.console import Console
from rich.live import Live

from pipelines.events import AffectEvent
from workers.config import KafkaConfig
from workers.event_table import stream_row, stream_table
from workers.kafka import check_topics, client_options
from workers.output import EXIT_FAILURE, note, print_json, print_line
from workers.rights import Right

POLL_S = 0.2
"""How long Ctrl-C and the time limit may have to wait."""


@dataclass(frozen=True)
class Limits:
    """When to stop.

    Attributes:
        max_events: After so many events; None: never.
        timeout_s: After so many seconds; None: never.
    """

    max_events: int | None
    timeout_s: float | None


def watch(kafka: KafkaConfig, limits: Limits, from_beginning: bool, as_json: bool) -> int:
    """Run the command; Ctrl-C ends it in an orderly way.

    Returns:
        The exit status: 1 when the time ran out before `max_events` had come.

    Raises:
        ConfigError: The broker can't be reached or has no such topic.
    """
    consumer = open_viewer(kafka, [kafka.output_topic], from_beginning)
    note(f"watching {kafka.output_topic} on {kafka.bootstrap_servers}; Ctrl-C stops")
    show = _json_lines if as_json else _table if Console().is_terminal else _lines
    num_events = 0

    def counted() -> Iterator[AffectEvent]:
        nonlocal num_events
        for event in follow(consumer, limits):
            num_events += 1
            yield event

    try:
        show(counted())
    except KeyboardInterrupt:
        note(f"stopped after {num_events} events")
        return 0
    finally:
        consumer.close()
    if limits.max_events is not None and num_events < limits.max_events:
        note(f"error: {num_events} of {limits.max_events} events came within {limits.timeout_s:g} s")
        return EXIT_FAILURE
    return 0


def open_viewer(kafka: KafkaConfig, topics: Sequence[str], from_beginning: bool) -> KafkaConsumer:
    """A consumer of all partitions of some topics that sees committed messages only and belongs to no group.

    Raises:
        ConfigError: The broker can't be reached or lacks one of the topics.
    """
    needed = [Right("READ", "topic", topic) for topic in topics]
    partitions = [
        TopicPartition(topic, number)
        for topic, num_partitions in check_topics(kafka, topics, needed).items()
        for number in range(num_partitions)
    ]
    consumer = KafkaConsumer(
        **client_options(kafka),
        group_id=None,
        enable_auto_commit=False,
        isolation_level="read_committed",
        # The embedded broker writes transaction markers without a checksum; a real one has checked it before.
        check_crcs=False,
    )
    consumer.assign(partitions)
    if from_beginning:
        consumer.seek_to_beginning(*partitions)
    else:
        consumer.seek_to_end(*partitions)
        for partition in partitions:
            consumer.position(partition)  # asks now, so that nothing published from here on is missed
    return consumer


def follow(consumer: KafkaConsumer, limits: Limits) -> Iterator[AffectEvent]:
    """Events as they come; a message that is none is told and passed over."""
    num_events = 0
    ends_s = None if limits.timeout_s is None else time.monotonic() + limits.timeout_s
    while ends_s is None or time.monotonic() < ends_s:
        for record in poll(consumer):
            event = read_event(record)
            if event is None:
                continue
            yield event
            num_events += 1
            if num_events == limits.max_events:
                return


def poll(consumer: KafkaConsumer) -> list[ConsumerRecord]:
    """What has come, in the order of each partition."""
    batches = consumer.poll(timeout_ms=int(POLL_S * 1000))
    return [record for records in batches.values() for record in records]


def read_event(record: ConsumerRecord) -> AffectEvent | None:
    """The event in a message; None, and a word on stderr, when there is none."""
    try:
        return AffectEvent.model_validate_json(record.value or b"")
    except ValidationError as error:
        where = f"{record.topic}[{record.partition}] {record.offset}"
        note(f"warning: {where} is no affect event: {error.errors()[0]['msg']}")
        return None


def _json_lines(events: Iterable[AffectEvent]) -> None:
    for event in events:
        print_json(event.model_dump(mode="json"))


def _lines(events: Iterable[AffectEvent]) -> None:
    for event in events:
        sentiment = event.affect.sentiment
        score = "" if sentiment is None else f" {sentiment.score:+.2f}"
        label = event.affect.label or "nothing to read"
        print_line(f"{event.segment_id}: {label}{score}, {event.incongruity.status}")


def _table(events: Iterable[AffectEvent]) -> None:
    """A table of the latest events, as many as the terminal has room for."""
    console = Console()
    latest: deque[AffectEvent] = deque(maxlen=max(1, console.height - 6))
    with Live(console=console, auto_refresh=False) as live:
        for event in events:
            latest.append(event)
            table = stream_table("", "took")
            for shown in latest:
                table.add_row(*stream_row(shown, sum(shown.timings_s.values())))
            live.update(table, refresh=True)
