"""One video, three ways to an answer: in this process, through the embedded broker, through a real Kafka."""

import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from tests.checkpoints import save_random_checkpoint
from tests.kafka_broker import KafkaBroker
from workers.cli import run
from workers.config_file import SHIPPED, read_config_file
from workers.embedded import API_VERSION, EmbeddedBroker
from workers.run import running

pytestmark = [pytest.mark.e2e, pytest.mark.media]

TOPICS = {"same.segments": 2, "same.events": 2, "same.dlq": 2}
TRANSCRIPT = "I love this, it is wonderful"

Json = dict[str, Any]


@contextmanager
def broker_of(kind: str, request: pytest.FixtureRequest) -> Iterator[list[str]]:
    """A broker with the topics; its settings as --set takes them."""
    topics = [
        "kafka.input_topic=same.segments",
        "kafka.output_topic=same.events",
        "kafka.dead_letter_topic=same.dlq",
    ]
    if kind == "embedded":
        with EmbeddedBroker(TOPICS) as embedded:
            yield [
                *topics,
                f"kafka.bootstrap_servers={embedded.bootstrap_servers}",
                f"kafka.api_version='{API_VERSION}'",
            ]
        return
    kafka: KafkaBroker = request.getfixturevalue("kafka_broker")
    kafka.create_topics(TOPICS)
    yield [*topics, f"kafka.bootstrap_servers={kafka.bootstrap_servers}"]


@pytest.mark.parametrize("kind", ["embedded", pytest.param("kafka", marks=pytest.mark.kafka)])
def test_analyze_and_the_worker_give_the_same_events(
    kind: str,
    media_dir: Path,
    tmp_path: Path,
    request: pytest.FixtureRequest,
    capsys: pytest.CaptureFixture[str],
) -> None:
    video = str(media_dir / "faces" / "d10.mp4")
    checkpoint = str(save_random_checkpoint(tmp_path / "checkpoint"))
    said = ["--transcript", TRANSCRIPT]
    assert run(["analyze", video, *said, "--checkpoint", checkpoint, "--json"]) == 0
    wanted = events_of(capsys)

    with broker_of(kind, request) as settings:
        settings += [f"model.checkpoint={checkpoint}", f"media.allowed_roots=[{tmp_path}]"]
        options = [option for setting in settings for option in ("--set", setting)]
        sending = ["--inline"] if kind == "kafka" else ["--segments-dir", str(tmp_path / "segments")]
        assert run(["submit", video, *said, *sending, *options]) == 0
        with running(read_config_file(SHIPPED, settings)):
            capsys.readouterr()
            watching = ["--from-beginning", "--max-events", str(len(wanted)), "--timeout-s", "60", "--json"]
            assert run(["watch", *watching, *options]) == 0
    found = events_of(capsys)

    assert len(wanted) == len(found) == 2  # key frames at 0 and 10 s only
    for local, streamed in zip(wanted, found, strict=True):
        assert local["event_id"] == streamed["event_id"]
        for part in ("affect", "incongruity", "modalities"):
            assert numbers(local[part]) == pytest.approx(numbers(streamed[part]), abs=1e-5)
            assert words(local[part]) == words(streamed[part])


def events_of(capsys: pytest.CaptureFixture[str]) -> list[Json]:
    return [json.loads(line) for line in capsys.readouterr().out.splitlines()]


def leaves(value: object, path: str = "") -> Iterator[tuple[str, object]]:
    """Everything that is no container, with the way to it."""
    if isinstance(value, dict):
        for key, item in value.items():
            yield from leaves(item, f"{path}.{key}")
    elif isinstance(value, list):
        for index, item in enumerate(value):
            yield from leaves(item, f"{path}.{index}")
    else:
        yield path, value


def numbers(value: object) -> dict[str, float]:
    return {path: leaf for path, leaf in leaves(value) if isinstance(leaf, float)}


def words(value: object) -> dict[str, object]:
    return {path: leaf for path, leaf in leaves(value) if not isinstance(leaf, float)}
