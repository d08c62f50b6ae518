"""`hctdmg run` as users start it: a process that says when it is ready, and drains when it is told to end."""

import json
import re
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from pipelines.events import AffectEvent
from tests.checkpoints import save_random_checkpoint
from tests.kafka_broker import KafkaBroker
from tests.segments import configured, inline
from tests.topics import Topics, make_topics, wait_until

PROGRAM = Path(sys.executable).parent / "hctdmg"

pytestmark = [pytest.mark.kafka, pytest.mark.e2e]


def test_sigterm_drains_and_leaves_nothing_half_done(kafka_broker: KafkaBroker, tmp_path: Path) -> None:
    topics = make_topics(kafka_broker, 4, delivery="at_least_once")
    settings = {"model.checkpoint": str(save_random_checkpoint(tmp_path / "checkpoint"))}
    configured(topics, tmp_path, settings)
    overrides = [f"--set={key}={json.dumps(value)}" for key, value in ours(topics, settings).items()]
    worker = subprocess.Popen(
        [PROGRAM, "run", "ray_config.yaml", *overrides],
        cwd=tmp_path,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    try:
        assert worker.stdout is not None
        assert worker.stdout.readline() == "ready\n"
        topics.send([inline(number % 4, f"run/{number}", number // 4) for number in range(400)])
        wait_until(lambda: sum(offset or 0 for offset in topics.committed().values()) > 40, "mid-stream")
        worker.send_signal(signal.SIGTERM)
        _, log = worker.communicate(timeout=60)
    finally:
        worker.kill()
    assert worker.returncode == 0, log
    assert "draining" in log
    assert not re.search("Traceback|ERROR", log), log
    committed = {number: offset or 0 for number, offset in topics.committed().items()}
    assert 40 < sum(committed.values()) < 400
    events = [AffectEvent.model_validate_json(record.value) for record in topics.events(0)]
    sources = [(event.source.partition, event.source.offset) for event in events if event.source]
    assert sources == [(number, offset) for number in range(4) for offset in range(committed[number])]
    assert topics.members() == []


def ours(topics: Topics, settings: dict[str, str]) -> dict[str, str]:
    names = ("bootstrap_servers", "input_topic", "output_topic", "dead_letter_topic", "group_id", "delivery")
    return {**{f"kafka.{name}": getattr(topics.config, name) for name in names}, **settings}
