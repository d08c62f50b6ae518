"""`hctdmg dlq list` and `replay` on a real Apache Kafka: killed, doubled, and in each other's way."""

import json
import subprocess
import sys
import threading
from collections import Counter
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from kafka import KafkaProducer
from kafka.consumer.fetcher import ConsumerRecord

from pipelines.errors import Stage
from tests.kafka_broker import KafkaBroker
from tests.segments import by_reference
from tests.topics import Message, Topics, make_topics
from tests.workers.test_session import consuming, settings
from workers.cli import run
from workers.dead_letter_topic import DeadLetterTopic
from workers.dead_letters import DeadLetter, read_dead_letter
from workers.kafka import open_producer
from workers.messages import Answer, Failure, Record, dead_letter
from workers.resend import Resender, ResendError

pytestmark = pytest.mark.kafka

PROGRAM = Path(sys.executable).parent / "hctdmg"
NOON = datetime(2026, 11, 1, 12, tzinfo=UTC)


@dataclass(frozen=True)
class Failed:
    """A segment's message and how it failed."""

    message: Message
    stage: Stage = "fetch"
    error: str = "SegmentError"
    time: datetime = NOON
    reason: str = "no such file"


def write_letters(topics: Topics, failed: Sequence[Failed]) -> None:
    """Dead letters as the worker writes them, at the source offsets 0, 1, 2, …"""
    producer = open_producer(topics.config, None)
    for offset, one in enumerate(failed):
        message = one.message
        topic = topics.config.input_topic
        record = Record(topic, message.partition, offset, message.key, message.value, message.headers)
        failure = Failure(one.stage, one.error, one.reason, "segment")
        send(producer, topics, dead_letter(record, failure, 2, one.time))
    producer.close()


def send(producer: KafkaProducer, topics: Topics, letter: Answer) -> None:
    value = b"" if letter.key is None and letter.value is None else letter.value
    topic, headers = topics.config.dead_letter_topic, list(letter.headers)
    producer.send(topic, key=letter.key, value=value, headers=headers).get(10)


def numbered(number: int) -> list[Failed]:
    return [Failed(by_reference(0, f"cam/{one}", f"file:///media/{one}.mp4")) for one in range(number)]


def options(topics: Topics) -> list[str]:
    names = ("bootstrap_servers", "input_topic", "output_topic", "dead_letter_topic", "group_id")
    return [f"--set=kafka.{name}={getattr(topics.config, name)}" for name in names]


class Dlq:
    """`hctdmg dlq COMMAND --json` in this process."""

    def __init__(self, topics: Topics, capsys: pytest.CaptureFixture[str]) -> None:
        self._options = options(topics)
        self._capsys = capsys

    def __call__(self, *arguments: str) -> tuple[list[dict[str, object]], str]:
        self._capsys.readouterr()
        assert run(["dlq", *arguments, *self._options, "--json"]) == 0
        captured = self._capsys.readouterr()
        return [json.loads(line) for line in captured.out.splitlines()], captured.err


def inputs(topics: Topics, number: int) -> list[ConsumerRecord]:
    return topics.read(topics.config.input_topic, number)


def replayed_offsets(topics: Topics, number: int) -> Counter[int]:
    """How often each dead letter was replayed."""
    return Counter(
        int(dict(one.headers)["hctdmg-replay-of"].decode().rsplit("/", 1)[1])
        for one in inputs(topics, number)
    )


def test_list_shows_what_is_asked_for_and_counts_it(
    kafka_broker: KafkaBroker, capsys: pytest.CaptureFixture[str]
) -> None:
    topics = make_topics(kafka_broker, 2)
    hour = timedelta(hours=1)
    write_letters(
        topics,
        [
            Failed(by_reference(0, "a/1", "file:///a.mp4"), "fetch", "SegmentError", NOON),
            Failed(by_reference(1, "b/1", "file:///b.mp4"), "fetch", "RetryableError", NOON + hour),
            Failed(
                by_reference(1, "b/2", "file:///c.mp4"),
                "decode",
                "KeyError",
                NOON + 2 * hour,
                "a\nline\x1b[2J",
            ),
            Failed(Message(0, b"\xffkey", b"no json"), "parse", "SegmentError", NOON + 3 * hour),
            Failed(Message(0, None, None), "parse", "SegmentError", NOON + 4 * hour),
        ],
    )
    dlq = Dlq(topics, capsys)

    def found(*filters: str) -> list[object]:
        return [line["dead_letter"] for line in dlq("list", *filters)[0]]

    place = f"{topics.config.dead_letter_topic}/0"
    assert found() == [f"{place}/{offset}" for offset in range(5)]
    assert found("--stage", "fetch") == [f"{place}/0", f"{place}/1"]
    assert found("--stage", "fetch", "--stage", "decode", "--error", "KeyError") == [f"{place}/2"]
    assert found("--stream", "stream-1") == [f"{place}/1", f"{place}/2"]
    assert found("--stream", "�key") == [f"{place}/3"]
    assert found("--since", "2026-11-01T13:00Z", "--until", "2026-11-01T15:00Z") == [
        f"{place}/1",
        f"{place}/2",
    ]
    assert found("--since", "2026-11-01T13:00+01:00", "--until", "2026-11-01T13:00") == [f"{place}/0"]
    assert found("--until", "2026-11-01") == []

    (line,), told = dlq("list", "--error", "RetryableError")
    assert line == {
        "dead_letter": f"{place}/1",
        "time": "2026-11-01T13:00:00Z",
        "stream_id": "stream-1",
        "segment_id": "b/1",
        "stage": "fetch",
        "error": "RetryableError",
        "message": "no such file",
        "attempts": 2,
        "source": f"{topics.config.input_topic}/1/1",
        "value_bytes": 70,
        "replay_of": None,
        "status": "waiting",
        "obstacle": None,
    }
    assert "1 of 5 dead letters" in told

    assert run(["dlq", "list", *options(topics), "--stage", "decode"]) == 0
    head, row = capsys.readouterr().out.splitlines()
    assert head.split()[:3] == ["AT", "TIME", "STREAM"]
    assert row.split()[:6] == ["0/2", "2026-11-01T14:00:00Z", "stream-1", "b/2", "decode", "KeyError"]
    assert row.endswith("waiting      line?[2J")  # the last line, unable to clear the screen


def test_a_replay_is_the_original_message_at_its_partition(
    kafka_broker: KafkaBroker, capsys: pytest.CaptureFixture[str]
) -> None:
    topics = make_topics(kafka_broker, 3)
    messages = [
        Message(2, b"key", b"value", (("traceparent", b"00-1"), ("traceparent", b"00-2"))),
        Message(1, None, b"no key", (("dlq-stage", b"of the producer"), ("x", b""))),
        Message(0, b"no value", None),
        Message(1, None, None),
        Message(7, b"no such partition any more", b""),
    ]
    write_letters(topics, [Failed(message) for message in messages])
    lines, told = Dlq(topics, capsys)("replay", "--yes")
    assert [line["status"] for line in lines] == ["replayed"] * 5
    assert "5 dead letters replayed" in told
    came = {dict(one.headers)["hctdmg-replay-of"].decode(): one for one in inputs(topics, 5)}
    for offset, message in enumerate(messages):
        one = came[f"{topics.config.dead_letter_topic}/0/{offset}"]
        assert one.partition == message.partition or message.partition == 7
        assert one.key == message.key
        assert (one.value or None) == (message.value or None)
        assert tuple(one.headers[:-2]) == message.headers
        assert [name for name, _ in one.headers[-2:]] == ["hctdmg-replay-of", "hctdmg-replay-time"]
        assert datetime.fromisoformat(one.headers[-1][1].decode()).tzinfo is not None


def test_a_dry_run_changes_nothing_and_disturbs_nobody(
    kafka_broker: KafkaBroker, capsys: pytest.CaptureFixture[str]
) -> None:
    topics = make_topics(kafka_broker, 1)
    write_letters(topics, numbered(3))
    dlq = Dlq(topics, capsys)
    with Resender(topics.config) as at_work:
        lines, told = dlq("replay")
        assert [line["status"] for line in lines] == ["waiting"] * 3
        assert "3 dead letters would be replayed" in told
        assert "--yes" in told
        assert inputs(topics, 0) == []
        assert len(topics.dead_letters(3)) == 3
        assert len(list(at_work.resend(DeadLetterTopic(topics.config).letters()))) == 3


def test_a_dead_letter_is_replayed_once_however_often_it_is_asked_for(
    kafka_broker: KafkaBroker, capsys: pytest.CaptureFixture[str]
) -> None:
    topics = make_topics(kafka_broker, 1)
    write_letters(topics, numbered(6))
    dlq = Dlq(topics, capsys)
    write_letters(topics, [replace(one, stage="decode") for one in numbered(2)])
    assert len(dlq("replay", "--yes", "--stage", "decode")[0]) == 2
    lines, told = dlq("replay", "--yes")
    assert len(lines) == 6
    assert "2 were replayed before" in told
    assert dlq("replay", "--yes")[0] == []
    assert dlq("replay")[0] == []
    assert replayed_offsets(topics, 8) == Counter(range(8))
    lines, told = dlq("list")
    assert [line["status"] for line in lines] == ["replayed"] * 8
    assert "8 of 8 dead letters" in told
    assert "8 replayed" in told


def test_what_fails_again_is_a_dead_letter_again_that_names_its_forebears(
    kafka_broker: KafkaBroker, capsys: pytest.CaptureFixture[str]
) -> None:
    topics = make_topics(kafka_broker, 2)
    place = f"{topics.config.dead_letter_topic}/0"
    dlq = Dlq(topics, capsys)

    def refuse(record: Record) -> "Future[Answer]":
        future: Future[Answer] = Future()
        failure = Failure("decode", "SegmentError", "no video", "segment")
        future.set_result(dead_letter(record, failure, 1, datetime.now(UTC)))
        return future

    with consuming(settings(topics), refuse):
        topics.send([by_reference(1, "cam/1", "file:///media/1.mp4")])
        topics.dead_letters(1)
        assert len(dlq("replay", "--yes")[0]) == 1
        topics.dead_letters(3)  # the first, its marker, the second
        (line,), _ = dlq("replay", "--yes")
        assert line["replay_of"] == f"{place}/0"
        first, _, second, _, third = topics.dead_letters(5)
    assert [dict(one.headers).get("hctdmg-replay-of") for one in (first, second, third)] == [
        None,
        f"{place}/0".encode(),
        f"{place}/{second.offset}".encode(),
    ]
    names = [name for name, _ in third.headers]
    assert names.count("hctdmg-replay-of") == 2
    assert names.count("dlq-stage") == 1
    assert {one.value for one in (first, second, third)} == {first.value}
    statuses = [(line["status"], line["replay_of"]) for line in dlq("list")[0]]
    assert statuses == [
        ("replayed", None),
        ("replayed", f"{place}/0"),
        ("waiting", f"{place}/{second.offset}"),
    ]


@pytest.mark.parametrize("is_committed", [False, True], ids=["before", "after"])
def test_killed_at_the_commit_either_nothing_is_done_or_all_is(
    kafka_broker: KafkaBroker,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
    is_committed: bool,
) -> None:
    topics = make_topics(kafka_broker, 1)
    write_letters(topics, numbered(5))
    killed = Resender(topics.config)
    commit = killed._producer.commit_transaction

    def die() -> None:
        if is_committed:
            commit()
        raise ConnectionAbortedError("killed")

    monkeypatch.setattr(killed._producer, "commit_transaction", die)
    with pytest.raises(ConnectionAbortedError):
        list(killed.resend(DeadLetterTopic(topics.config).letters()))
    killed._producer._sender.force_close()
    lines, _ = Dlq(topics, capsys)("replay", "--yes")
    assert len(lines) == (0 if is_committed else 5)
    assert replayed_offsets(topics, 5) == Counter(range(5))


def test_the_program_killed_in_its_midst_again_and_again_replays_each_once(
    kafka_broker: KafkaBroker, capsys: pytest.CaptureFixture[str]
) -> None:
    topics = make_topics(kafka_broker, 1)
    write_letters(topics, numbered(700))
    for _ in range(3):
        command = [str(PROGRAM), "dlq", "replay", "--yes", "--json", *options(topics)]
        with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL) as program:
            assert program.stdout is not None
            assert program.stdout.readline()  # a transaction is committed, others are to come
            program.kill()
    Dlq(topics, capsys)("replay", "--yes")
    assert replayed_offsets(topics, 700) == Counter(range(700))


def test_of_two_at_once_the_first_stops(
    kafka_broker: KafkaBroker, capsys: pytest.CaptureFixture[str]
) -> None:
    topics = make_topics(kafka_broker, 1)
    write_letters(topics, numbered(250))
    with Resender(topics.config) as first:
        going = first.resend(DeadLetterTopic(topics.config).letters())
        for _ in range(100):  # one transaction
            next(going)
        lines, told = Dlq(topics, capsys)("replay", "--yes")
        assert len(lines) == 150
        assert "100 were replayed before" in told
        with pytest.raises(ResendError, match="another `hctdmg dlq replay`"):
            next(going)
    assert replayed_offsets(topics, 250) == Counter(range(250))


def test_a_segment_that_carries_a_marker_s_header_marks_nothing(
    kafka_broker: KafkaBroker, capsys: pytest.CaptureFixture[str]
) -> None:
    topics = make_topics(kafka_broker, 1)
    honest = by_reference(0, "cam/1", "file:///media/1.mp4")
    place = f"{topics.config.dead_letter_topic}/0/0".encode()
    forged = replace(honest, headers=(*honest.headers, ("dlq-replayed-of", place)))
    write_letters(topics, [Failed(honest), Failed(forged)])
    letters, _ = Dlq(topics, capsys)("list")
    assert [letter["status"] for letter in letters] == ["waiting", "waiting"]


def test_a_marker_behind_a_workers_open_transaction_counts(
    kafka_broker: KafkaBroker, capsys: pytest.CaptureFixture[str]
) -> None:
    """A reader of committed messages does not get beyond an open transaction, where markers may lie."""
    topics = make_topics(kafka_broker, 1)
    write_letters(topics, numbered(2))
    topic = DeadLetterTopic(topics.config)
    worker = open_producer(topics.config, "a-worker")
    worker.init_transactions()
    worker.begin_transaction()
    record = Record(topics.config.input_topic, 0, 9, b"key", b"late", ())
    send(worker, topics, dead_letter(record, Failure("parse", "SegmentError", "", "segment"), 1, NOON))
    with Resender(topics.config) as first:
        assert len(list(first.resend(topic.letters()))) == 2
    again = threading.Thread(target=run, args=(["dlq", "replay", "--yes", *options(topics)],))
    again.start()
    again.join(3)
    assert again.is_alive()  # it waits
    worker.commit_transaction()
    again.join(30)
    worker.close()
    assert "1 dead letters replayed" in capsys.readouterr().err  # the late one
    assert replayed_offsets(topics, 3) == Counter(range(3))


def test_what_can_not_be_replayed_is_said_and_does_not_hold_the_others(
    kafka_broker: KafkaBroker, capsys: pytest.CaptureFixture[str]
) -> None:
    topics = make_topics(kafka_broker, 1)
    failure = Failure("decode", "SegmentError", "no video", "segment")
    dropped = dead_letter(Record(topics.config.input_topic, 0, 6, b"key", None, ()), failure, 1, NOON)
    producer = open_producer(topics.config, None)
    for letter in (
        dead_letter(Record("other", 0, 5, b"key", b"value", ()), failure, 1, NOON),
        replace(dropped, headers=(*dropped.headers, ("dlq-value-bytes", b"2000000"))),
        Answer(b"key", b"stray", (("dlq-stage", b"parse"), ("dlq-time", b"soon"))),
        Answer(b"key", b"stray", ()),
    ):
        send(producer, topics, letter)
    producer.close()
    write_letters(topics, numbered(2))
    dlq = Dlq(topics, capsys)
    lines, told = dlq("replay", "--yes")
    assert [line["status"] for line in lines] == ["unreplayable", "unreplayable", "replayed", "replayed"]
    assert "came from other" in str(lines[0]["obstacle"])
    assert "2000000 bytes" in str(lines[1]["obstacle"])
    assert "2 dead letters replayed" in told
    assert "2 can't be" in told
    assert told.count("is no dead letter") == 2
    assert replayed_offsets(topics, 2) == Counter([4, 5])
    assert "2 that can't be replayed" in dlq("list")[1]


def test_one_that_the_input_topic_takes_no_more_is_named_and_nothing_is_half_done(
    kafka_broker: KafkaBroker, capsys: pytest.CaptureFixture[str]
) -> None:
    topics = make_topics(kafka_broker, 1, max_message_bytes={"segments": 100_000})
    large = Failed(Message(0, b"key", bytes(100_001)), stage="decode")
    write_letters(topics, [*numbered(2), large, *numbered(2)])
    assert run(["dlq", "replay", "--yes", *options(topics)]) == 1
    assert f"{topics.config.dead_letter_topic}/0/2 (100001 bytes" in capsys.readouterr().err
    assert inputs(topics, 0) == []
    Dlq(topics, capsys)("replay", "--yes", "--stage", "fetch")
    assert replayed_offsets(topics, 4) == Counter([0, 1, 3, 4])


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        (["list", "--stage", "decoding"], "decoding"),
        (["replay", "--since", "yesterday"], "yesterday"),
        (["list", "--topic", "nowhere"], "nowhere"),
        (["replay", "--yes", "--set", "kafka.input_topic=nowhere"], "nowhere"),
    ],
)
def test_a_mistake_is_one_line_and_exit_2(
    kafka_broker: KafkaBroker, arguments: list[str], expected: str, capsys: pytest.CaptureFixture[str]
) -> None:
    topics = make_topics(kafka_broker, 1)
    assert run(["dlq", arguments[0], *options(topics), *arguments[1:]]) == 2
    captured = capsys.readouterr()
    (line,) = captured.err.splitlines()
    assert expected in line
    assert captured.out == ""


def test_every_header_of_the_worker_is_taken_off_and_none_of_the_segment() -> None:
    record = Record("t", 0, 3, b"k", b"v", (("a", b"1"), ("dlq-stage", b"theirs"), ("b", b"2")))
    letter = as_letter(record, lambda answer: answer)
    assert letter is not None
    assert letter.headers == record.headers
    assert letter.source == record.source
    assert letter.stage == "decode"
    # A failed replay that was put back by hand, headers and all, is read by its last ones.
    twice = as_letter(replace(record, headers=letter.headers), lambda answer: answer)
    assert twice is not None
    assert twice.headers == record.headers


def as_letter(record: Record, change: Callable[[Answer], Answer]) -> DeadLetter | None:
    answer = change(dead_letter(record, Failure("decode", "E", "m", "segment"), 1, NOON))
    return read_dead_letter(Record("dlq", 0, 0, answer.key, answer.value, answer.headers))
