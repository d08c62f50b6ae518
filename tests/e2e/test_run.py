"""`hctdmg run` as users start it: a process that says when it is ready, and drains when it is told to end."""

import json
import os
import re
import signal
import subprocess
import sys
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import psutil
import pytest
from kafka.consumer.fetcher import ConsumerRecord

from pipelines.events import AffectEvent
from tests.checkpoints import save_random_checkpoint
from tests.kafka_broker import KafkaBroker
from tests.segments import configured, inline
from tests.topics import Topics, make_topics, wait_until
from tests.workers.test_session import consuming
from workers.config import Settings
from workers.messages import Answer, Record

PROGRAM = Path(sys.executable).parent / "hctdmg"

pytestmark = [pytest.mark.kafka, pytest.mark.e2e]


def only(worker: "subprocess.Popen[str]") -> None:
    """As a service manager ends it."""
    worker.send_signal(signal.SIGTERM)


def whole_group(worker: "subprocess.Popen[str]") -> None:
    """As a terminal does at Ctrl-C: Ray's processes get it too."""
    os.killpg(worker.pid, signal.SIGINT)


@pytest.mark.parametrize("end", [only, whole_group])
def test_a_signal_drains_and_leaves_nothing_half_done(
    kafka_broker: KafkaBroker, tmp_path: Path, end: "Callable[[subprocess.Popen[str]], None]"
) -> None:
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
        start_new_session=True,
    )
    try:
        assert worker.stdout is not None
        assert worker.stdout.readline() == "ready\n"
        topics.send([inline(number % 4, f"run/{number}", number // 4) for number in range(400)])
        wait_until(lambda: sum(offset or 0 for offset in topics.committed().values()) > 40, "mid-stream")
        end(worker)
        _, log = worker.communicate(timeout=60)
    finally:
        worker.kill()
    assert worker.returncode == 0, log
    assert "draining" in log
    assert re.search(r"metrics at http://\S+:\d+/metrics\n", log)
    assert not re.search("Traceback|ERROR", log), log
    committed = {number: offset or 0 for number, offset in topics.committed().items()}
    assert 40 < sum(committed.values()) < 400
    events = [AffectEvent.model_validate_json(record.value) for record in topics.events(0)]
    sources = [(event.source.partition, event.source.offset) for event in events if event.source]
    assert sources == [(number, offset) for number in range(4) for offset in range(committed[number])]
    assert topics.members() == []


def test_a_second_signal_ends_it_at_once_and_a_successor_finishes(
    kafka_broker: KafkaBroker, tmp_path: Path
) -> None:
    topics = make_topics(kafka_broker, 4, transaction_timeout_s=2.0, session_timeout_s=3.0)
    settings = {
        "model.checkpoint": str(save_random_checkpoint(tmp_path / "checkpoint")),
        "kafka.transaction_timeout_s": 2.0,
        "kafka.session_timeout_s": 3.0,
    }
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
        assert worker.stderr is not None
        assert worker.stdout.readline() == "ready\n"
        processes = psutil.Process(worker.pid).children(recursive=True)
        topics.send([inline(number % 4, f"run/{number}", number // 4) for number in range(400)])
        wait_until(lambda: sum(offset or 0 for offset in topics.committed().values()) > 40, "mid-stream")
        worker.send_signal(signal.SIGTERM)
        while "draining" not in worker.stderr.readline():
            pass
        worker.send_signal(signal.SIGTERM)
        worker.wait(5)
    finally:
        worker.kill()
        worker.communicate()
    assert worker.returncode == 128 + signal.SIGTERM
    # Ray's agents end by themselves once they miss their raylet, which they look for now and then.
    _, alive = psutil.wait_procs(processes, timeout=120)
    assert alive == []
    assert sum(offset or 0 for offset in topics.committed().values()) < 400
    with (
        ThreadPoolExecutor(4) as threads,
        consuming(Settings(kafka=topics.config), lambda record: threads.submit(event_of, record)),
    ):
        wait_until(lambda: topics.committed() == dict.fromkeys(range(4), 100), "a successor finishes")
    assert [source(record) for record in topics.events(400)] == [(p, o) for p in range(4) for o in range(100)]


def source(record: ConsumerRecord) -> tuple[int, int]:
    """Where the segment of an event was read."""
    found = json.loads(record.value)["source"]
    return found["partition"], found["offset"]


def event_of(record: Record) -> Answer:
    """A stand-in for an event: which record it answers."""
    found = {"source": {"partition": record.partition, "offset": record.offset}}
    return Answer(record.key, json.dumps(found).encode(), ())


def ours(topics: Topics, settings: dict[str, Any]) -> dict[str, Any]:
    names = ("bootstrap_servers", "input_topic", "output_topic", "dead_letter_topic", "group_id", "delivery")
    return {**{f"kafka.{name}": getattr(topics.config, name) for name in names}, **settings}
