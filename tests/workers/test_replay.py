"""`hctdmg run --from` on a real Apache Kafka, with answers made by threads: positions, refusals, the end."""

from concurrent.futures import Future
from datetime import UTC, datetime
from pathlib import Path

import pytest
from kafka import KafkaAdminClient, TopicPartition

from pipelines.errors import ConfigError
from tests.kafka_broker import KafkaBroker
from tests.segments import configured
from tests.topics import Message, Topics, make_topics, wait_until
from tests.workers.test_session import answer, consuming, numbered, settings
from workers.cli import run
from workers.config import Settings
from workers.kafka import client_options, open_producer
from workers.messages import Answer, Failure, Record, dead_letter
from workers.position import find_ends, parse_position, resolve_position
from workers.replay import Prepared, Request, has_committed, prepare_run

pytestmark = pytest.mark.kafka

NOON_MS = int(datetime(2026, 11, 1, 12, tzinfo=UTC).timestamp() * 1000)


def at_once(record: Record) -> "Future[Answer]":
    future: Future[Answer] = Future()
    future.set_result(answer(record))
    return future


def make_replay_topics(broker: KafkaBroker, topics: Topics) -> str:
    """Topics for a replay's events and dead letters; the name of the first."""
    name = f"replayed-{topics.config.group_id}"
    broker.create_topics({name: topics.num_partitions, f"{name}.dlq": 1})
    return name


def prepare(topics: Topics, folder: Path, begin: str, output: str | None, **other: object) -> Prepared:
    config = configured(topics, folder, {})
    values = {
        "group_id": f"{topics.config.group_id}-again",
        "dead_letter_topic": None,
        "allow_duplicates": False,
        "until_end": True,
        **other,
    }
    request = Request(begin=begin, output_topic=output, **values)  # type: ignore[arg-type]
    return prepare_run(config.path, overrides(topics), request, None)


def overrides(topics: Topics) -> list[str]:
    names = ("bootstrap_servers", "input_topic", "output_topic", "dead_letter_topic", "group_id")
    return [f"kafka.{name}={getattr(topics.config, name)}" for name in names]


def committed(topics: Topics, group_id: str) -> dict[int, int]:
    admin = KafkaAdminClient(**client_options(topics.config))
    found = admin.list_group_offsets({group_id: None})[group_id]
    admin.close()
    return {place.partition: at.offset for place, at in found.items()}


def abort_some(topics: Topics, number: int) -> None:
    """Leave an aborted transaction at the end of partition 0."""
    producer = open_producer(topics.config, f"abort-{topics.config.group_id}")
    producer.init_transactions()
    producer.begin_transaction()
    for _ in range(number):
        producer.send(topics.config.input_topic, value=b"never", partition=0).get(10)
    producer.abort_transaction()
    producer.close()


def test_a_position_is_an_offset_of_each_partition(kafka_broker: KafkaBroker) -> None:
    topics = make_topics(kafka_broker, 3)
    producer = open_producer(topics.config, None)
    for minute in range(10):
        producer.send(
            topics.config.input_topic,
            value=b"x",
            partition=minute % 2,
            timestamp_ms=NOON_MS + minute * 60_000,
        ).get(10)
    producer.close()
    expected = {
        "beginning": {0: 0, 1: 0, 2: 0},
        "0": {0: 0, 1: 0, 2: 0},
        "0:3,1:5,2:0": {0: 3, 1: 5, 2: 0},
        "0:3": {0: 3, 1: 5, 2: 0},
        "2026-11-01T12:05Z": {0: 3, 1: 2, 2: 0},
        "2026-11-01T14:05:00.001+02:00": {0: 3, 1: 3, 2: 0},
        "2026-11-01": {0: 0, 1: 0, 2: 0},
        "2026-11-02": {0: 5, 1: 5, 2: 0},
        "1960-01-01": {0: 0, 1: 0, 2: 0},
    }
    found = {text: resolve_position(topics.config, parse_position(text)) for text in expected}
    assert found == expected
    admin = KafkaAdminClient(**client_options(topics.config))
    admin.delete_records({TopicPartition(topics.config.input_topic, 0): 2})
    admin.close()
    assert resolve_position(topics.config, "beginning") == {0: 2, 1: 0, 2: 0}
    for text in ("1", "0:1", "1:6", "3:0", "2:1"):
        with pytest.raises(ConfigError, match="--from"):
            resolve_position(topics.config, parse_position(text))


@pytest.mark.parametrize(
    "text", ["", "end", "-1", "0:", "0:1,", "0:1,0:2", "0:x", "2026-13-01", "1 ", "\u0661"]
)
def test_what_is_no_position_is_told(text: str) -> None:
    with pytest.raises(ConfigError, match="--from"):
        parse_position(text)


def test_the_end_is_behind_the_last_message_whatever_transactions_leave_there(
    kafka_broker: KafkaBroker,
) -> None:
    topics = make_topics(kafka_broker, 3)
    topics.send(numbered(30, 2))
    abort_some(topics, 40)
    assert find_ends(topics.config, {0: 0, 1: 3, 2: 0}) == {0: 15, 1: 15, 2: 0}
    assert find_ends(topics.config, {0: 15, 1: 15, 2: 0}) == {0: 15, 1: 15, 2: 0}
    assert find_ends(topics.config, {0: 20, 1: 14, 2: 0}) == {0: 20, 1: 15, 2: 0}


def test_a_replay_answers_again_until_the_end_and_leaves_the_live_worker_alone(
    kafka_broker: KafkaBroker, tmp_path: Path
) -> None:
    topics = make_topics(kafka_broker, 2)
    topics.send(numbered(40, 2))
    with consuming(settings(topics), at_once):
        live = topics.events(40)
        wait_until(lambda: topics.committed() == {0: 20, 1: 20}, "committed")
        abort_some(topics, 3)
        output = make_replay_topics(kafka_broker, topics)
        replay = prepare(topics, tmp_path, "0:5,1:0", output)
        kafka = replay.config.settings.kafka
        assert committed(topics, kafka.group_id) == {0: 5, 1: 0}
        assert not replay.is_over()

        def refuse_the_last(record: Record) -> "Future[Answer]":
            if (record.partition, record.offset) != (1, 19):
                return at_once(record)
            future: Future[Answer] = Future()
            failure = Failure("decode", "SegmentError", "no video", "segment")
            future.set_result(dead_letter(record, failure, 1, datetime.now(UTC)))
            return future

        with consuming(Settings(kafka=kafka), refuse_the_last, "worker-again"):
            wait_until(replay.is_over, "the end")
        again = topics.read(output, 34)
        assert [(one.key, one.value) for one in again] == [
            (one.key, one.value)
            for one in live
            if one.value not in [b"0 %d" % n for n in range(5)] + [b"1 19"]
        ]
        assert len(topics.read(f"{output}.dlq", 1)) == 1
        assert topics.dead_letters(0) == []
        assert len(topics.events(40)) == 40
        assert topics.committed() == {0: 20, 1: 20}


def test_a_group_that_has_committed_before_begins_where_it_is_told(
    kafka_broker: KafkaBroker, tmp_path: Path
) -> None:
    topics = make_topics(kafka_broker, 1)
    topics.send(numbered(10, 1))
    output = make_replay_topics(kafka_broker, topics)
    for begin, num_events in (("beginning", 10), ("7", 13), ("beginning", 23)):
        replay = prepare(topics, tmp_path, begin, output)
        with consuming(Settings(kafka=replay.config.settings.kafka), at_once):
            wait_until(replay.is_over, "the end")
        assert len(topics.read(output, num_events)) == num_events


def test_a_group_in_use_is_not_moved(kafka_broker: KafkaBroker, tmp_path: Path) -> None:
    topics = make_topics(kafka_broker, 1)
    topics.send(numbered(10, 1))
    output = make_replay_topics(kafka_broker, topics)
    kafka = prepare(topics, tmp_path, "beginning", output).config.settings.kafka
    with consuming(Settings(kafka=kafka), at_once):
        wait_until(lambda: committed(topics, kafka.group_id) == {0: 10}, "committed")
        with pytest.raises(ConfigError, match="in use"):
            prepare(topics, tmp_path, "beginning", output)
        assert committed(topics, kafka.group_id) == {0: 10}
    prepare(topics, tmp_path, "beginning", output)
    assert committed(topics, kafka.group_id) == {0: 0}


def test_into_the_live_topics_only_when_duplicates_are_allowed(
    kafka_broker: KafkaBroker, tmp_path: Path
) -> None:
    topics = make_topics(kafka_broker, 1)
    topics.send([Message(0, b"key", b"value")])
    output = make_replay_topics(kafka_broker, topics)
    config = topics.config
    for forbidden in (
        {"output": None},
        {"output": config.output_topic},
        {"output": output, "dead_letter_topic": config.dead_letter_topic},
    ):
        with pytest.raises(ConfigError, match="allow-duplicates"):
            prepare(topics, tmp_path, "beginning", **forbidden)
    kafka = prepare(topics, tmp_path, "beginning", None, allow_duplicates=True).config.settings.kafka
    assert (kafka.output_topic, kafka.dead_letter_topic) == (config.output_topic, config.dead_letter_topic)
    kafka = prepare(topics, tmp_path, "beginning", output, allow_duplicates=True).config.settings.kafka
    assert (kafka.output_topic, kafka.dead_letter_topic) == (output, f"{output}.dlq")


def test_no_end_before_all_is_committed(kafka_broker: KafkaBroker) -> None:
    topics = make_topics(kafka_broker, 1)
    is_over = has_committed(topics.config, {0: 1})
    assert not is_over()
    topics.send(numbered(1, 1))
    with consuming(settings(topics), at_once):
        wait_until(is_over, "the end")
    assert not has_committed(topics.config, {0: 2})()


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        (["--from", "yesterday", "--group", "other", "--output-topic", "{output}"], "yesterday"),
        (["--from", "beginning", "--output-topic", "{output}"], "--group"),
        (["--from", "beginning", "--group", "{live}", "--output-topic", "{output}"], "--group"),
        (["--from", "beginning", "--group", "other"], "--allow-duplicates"),
        (["--from", "beginning", "--group", "other", "--output-topic", "{input}"], "differ"),
        (["--from", "beginning", "--group", "other", "--output-topic", "nowhere"], "nowhere"),
        (["--from", "5", "--group", "other", "--output-topic", "{output}"], "offsets 0 to 0"),
        (
            ["--from", "beginning", "--group", "other", "--output-topic", "{output}", "--address", "x"],
            "--address",
        ),
        (["--group", "other"], "--from"),
        (["--until-end"], "--from"),
    ],
)
def test_what_would_mix_with_the_live_worker_is_one_line_and_exit_2(
    kafka_broker: KafkaBroker, arguments: list[str], expected: str, capsys: pytest.CaptureFixture[str]
) -> None:
    topics = make_topics(kafka_broker, 1)
    names = {
        "output": make_replay_topics(kafka_broker, topics),
        "live": topics.config.group_id,
        "input": topics.config.input_topic,
    }
    filled = [one.format(**names) for one in arguments]
    assert run(["run", *[f"--set={one}" for one in overrides(topics)], *filled]) == 2
    captured = capsys.readouterr()
    assert captured.out == ""
    (line,) = [line for line in captured.err.splitlines() if line != "starting"]
    assert expected in line
    assert committed(topics, "other") == {}
