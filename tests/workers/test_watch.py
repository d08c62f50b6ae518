import json
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from pipelines.events import AffectEvent
from tests.kafka_broker import KafkaBroker
from workers.cli import run
from workers.config import KafkaConfig
from workers.embedded import API_VERSION, EmbeddedBroker
from workers.kafka import open_producer

EXAMPLE = Path(__file__).parent.parent / "pipelines" / "baseline" / "affect-event-1.0.example.json"
TOPICS = {"video.segments": 1, "affect.events": 2, "video.segments.dlq": 1}


@pytest.fixture
def kafka() -> Iterator[KafkaConfig]:
    with EmbeddedBroker(TOPICS) as broker:
        yield KafkaConfig(bootstrap_servers=broker.bootstrap_servers, api_version=API_VERSION)


def event(number: int) -> AffectEvent:
    example = AffectEvent.model_validate_json(EXAMPLE.read_text())
    return example.model_copy(update={"segment_id": f"cam-7/{number}", "sequence": number})


def publish(kafka: KafkaConfig, *values: bytes) -> None:
    producer = open_producer(kafka, None)
    for value in values:
        producer.send(kafka.output_topic, key=b"cam-7", value=value).get(10)
    producer.close()


def options(kafka: KafkaConfig) -> list[str]:
    return ["--bootstrap-servers", kafka.bootstrap_servers, "--set", f"kafka.api_version='{API_VERSION}'"]


def test_json_lines_are_the_events_in_order(kafka: KafkaConfig, capsys: pytest.CaptureFixture[str]) -> None:
    events = [event(number) for number in range(5)]
    publish(kafka, *(one.model_dump_json().encode() for one in events))
    assert run(["watch", *options(kafka), "--from-beginning", "--max-events", "4", "--json"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert [AffectEvent.model_validate_json(line) for line in lines] == events[:4]


def test_without_a_terminal_each_event_is_a_line(
    kafka: KafkaConfig, capsys: pytest.CaptureFixture[str]
) -> None:
    publish(kafka, event(3).model_dump_json().encode())
    assert run(["watch", *options(kafka), "--from-beginning", "--max-events", "1"]) == 0
    assert capsys.readouterr().out == "cam-7/3: negative -1.10, incongruent\n"


@pytest.mark.kafka
def test_what_is_not_committed_is_not_shown(
    kafka_broker: KafkaBroker, capsys: pytest.CaptureFixture[str]
) -> None:
    kafka = KafkaConfig(bootstrap_servers=kafka_broker.bootstrap_servers, output_topic="watched")
    kafka_broker.create_topics({kafka.output_topic: 1})
    producer = open_producer(kafka, "test-watch")
    producer.init_transactions()
    for number, end in ((1, producer.abort_transaction), (2, producer.commit_transaction)):
        producer.begin_transaction()
        producer.send(kafka.output_topic, value=event(number).model_dump_json().encode()).get(10)
        end()
    producer.close()
    options = ["--bootstrap-servers", kafka.bootstrap_servers, "--topic", kafka.output_topic, "--json"]
    assert run(["watch", *options, "--from-beginning", "--max-events", "1"]) == 0
    assert json.loads(capsys.readouterr().out)["sequence"] == 2


def test_a_message_that_is_no_event_is_told_and_passed_over(
    kafka: KafkaConfig, capsys: pytest.CaptureFixture[str]
) -> None:
    publish(kafka, b"not json", event(1).model_dump_json().encode())
    assert run(["watch", *options(kafka), "--from-beginning", "--max-events", "1", "--json"]) == 0
    captured = capsys.readouterr()
    assert json.loads(captured.out)["sequence"] == 1
    assert "no affect event" in captured.err


def test_too_few_events_in_time_is_exit_1(kafka: KafkaConfig, capsys: pytest.CaptureFixture[str]) -> None:
    publish(kafka, event(1).model_dump_json().encode())
    limits = ["--from-beginning", "--max-events", "2", "--timeout-s", "1"]
    assert run(["watch", *options(kafka), *limits, "--json"]) == 1
    assert "1 of 2 events" in capsys.readouterr().err
    assert run(["watch", *options(kafka), "--timeout-s", "0.5"]) == 0


def test_an_unknown_topic_is_exit_2(kafka: KafkaConfig, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["watch", *options(kafka), "--topic", "nowhere"]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert "nowhere" in line


def test_it_begins_with_the_next_event_and_control_c_ends_it(kafka: KafkaConfig) -> None:
    publish(kafka, event(1).model_dump_json().encode())
    program = Path(sys.executable).parent / "hctdmg"
    watching = subprocess.Popen(
        [program, "watch", *options(kafka), "--json"],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    try:
        assert watching.stderr is not None
        assert watching.stdout is not None
        assert "watching affect.events" in watching.stderr.readline()
        publish(kafka, event(2).model_dump_json().encode())
        assert json.loads(watching.stdout.readline())["sequence"] == 2
        watching.send_signal(signal.SIGINT)
        _, errors = watching.communicate(timeout=10)
        assert watching.returncode == 0
        assert errors.splitlines() == ["stopped after 1 events"]
    finally:
        watching.kill()
