"""`hctdmg run --from` as users start it: it answers what is there once more, by the same ids, and ends by itself."""

import json
import re
import subprocess
import sys
from pathlib import Path

import pytest

from pipelines.events import AffectEvent
from tests.checkpoints import save_random_checkpoint
from tests.e2e.test_run import ours
from tests.kafka_broker import KafkaBroker
from tests.segments import configured, inline
from tests.topics import Message, Topics, make_topics

PROGRAM = Path(sys.executable).parent / "hctdmg"

pytestmark = [pytest.mark.kafka, pytest.mark.e2e]


def test_two_replays_have_the_same_ids_and_each_ends(kafka_broker: KafkaBroker, tmp_path: Path) -> None:
    topics = make_topics(kafka_broker, 2)
    kafka_broker.create_topics({"first": 2, "first.dlq": 1, "second": 2, "second.dlq": 1})
    settings = {"model.checkpoint": str(save_random_checkpoint(tmp_path / "checkpoint"))}
    configured(topics, tmp_path, settings)
    topics.send([inline(number % 2, f"run/{number}", number // 2) for number in range(20)])
    topics.send([Message(1, b"key", b"no segment")])
    replay(topics, tmp_path, settings, "--from=beginning", "--group=first", "--output-topic=first")
    replay(topics, tmp_path, settings, "--from=0:4,1:9", "--group=second", "--output-topic=second")
    first, second = (
        [AffectEvent.model_validate_json(record.value) for record in topics.read(name, 0)]
        for name in ("first", "second")
    )
    assert [(one.source.partition, one.source.offset) for one in first if one.source] == [
        (number, offset) for number in range(2) for offset in range(10)
    ]
    assert [one.event_id for one in second] == [
        one.event_id
        for one in first
        if one.source and one.source.offset >= (4 if one.source.partition == 0 else 9)
    ]
    assert len(topics.read("first.dlq", 1)) == len(topics.read("second.dlq", 1)) == 1
    assert topics.events(0) == topics.dead_letters(0) == []
    assert set(topics.committed().values()) == {None}


def replay(topics: Topics, folder: Path, settings: dict[str, str], *options: str) -> None:
    overrides = [f"--set={key}={json.dumps(value)}" for key, value in ours(topics, settings).items()]
    done = subprocess.run(
        [PROGRAM, "run", "ray_config.yaml", *options, "--until-end", *overrides],
        cwd=folder,
        capture_output=True,
        text=True,
        check=False,
        timeout=200,
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout == "ready\n"
    assert "replaying" in done.stderr
    assert not re.search("Traceback|ERROR", done.stderr), done.stderr
