"""A worker whose every segment fails halts: `hctdmg run` exits 3, a deployed application waits for `hctdmg resume`."""

import json
import subprocess
import sys
from pathlib import Path

import pytest
import ray

from tests.checkpoints import save_random_checkpoint
from tests.kafka_broker import KafkaBroker
from tests.segments import TONE, configured
from tests.topics import Message, Topics, make_topics, wait_until
from workers.run import running

PROGRAM = Path(sys.executable).parent / "hctdmg"
MAX_RUN = 5

pytestmark = [pytest.mark.kafka, pytest.mark.e2e]


def segments(media: Path, number: int) -> list[Message]:
    """Of four streams in turn, all in one partition; the files are not there yet."""
    json_type = (("content-type", b"application/json"),)
    return [
        Message(
            0,
            b"cam-%d" % (index % 4),
            json.dumps(
                {
                    "stream_id": f"cam-{index % 4}",
                    "segment_id": f"{index}",
                    "uri": f"file://{media}/{index}.wav",
                }
            ).encode(),
            json_type,
        )
        for index in range(number)
    ]


def settings(folder: Path) -> dict[str, object]:
    media = folder / "media"
    media.mkdir()
    return {
        "model.checkpoint": str(save_random_checkpoint(folder / "checkpoint")),
        "media.allowed_roots": [str(media)],
        "flow.max_dead_letter_run": MAX_RUN,
    }


def operate(*arguments: str) -> list[dict[str, object]]:
    """Run a command with --json; what it prints."""
    done = subprocess.run(
        [PROGRAM, *arguments, "--json"], capture_output=True, text=True, timeout=120, check=True
    )
    return [json.loads(line) for line in done.stdout.splitlines()]


def assert_halted_at_the_cap(topics: Topics) -> None:
    assert len(topics.dead_letters(MAX_RUN)) == MAX_RUN
    assert topics.committed()[0] == MAX_RUN


def test_run_exits_3_with_one_line(kafka_broker: KafkaBroker, tmp_path: Path) -> None:
    topics = make_topics(kafka_broker, 1)
    config = configured(topics, tmp_path, settings(tmp_path))
    config.path.write_text(json.dumps(config.document))
    topics.send(segments(tmp_path / "media", 30))
    done = subprocess.run(
        [PROGRAM, "run", str(config.path)], capture_output=True, text=True, timeout=200, check=False
    )
    assert done.returncode == 3, done.stderr
    assert done.stdout == "ready\n"
    (line,) = [line for line in done.stderr.splitlines() if line.startswith("error: ")]
    assert "flow.max_dead_letter_run = 5 is passed: 6 dead letters" in line
    assert "hctdmg resume" in line
    assert_halted_at_the_cap(topics)
    assert topics.members() == []


def test_a_deployed_application_stays_halted_until_it_is_resumed(
    kafka_broker: KafkaBroker, tmp_path: Path
) -> None:
    topics = make_topics(kafka_broker, 1)
    config = configured(topics, tmp_path, settings(tmp_path))
    config.path.write_text(json.dumps(config.document))
    media = tmp_path / "media"
    with running(config) as application:
        where = (str(config.path), "--address", ray.get_runtime_context().gcs_address)
        assert [one["state"] for one in operate("status", *where)] == ["consuming"]
        assert operate("resume", *where) == []
        topics.send(segments(media, 30))
        wait_until(lambda: application.halted_by() is not None, "halted", 60)
        (status,) = operate("status", *where)
        assert status["state"] == "halted"
        assert status["progress"]["partitions"] == [0]  # type: ignore[index]
        assert_halted_at_the_cap(topics)

        for number in range(MAX_RUN, 30):
            (media / f"{number}.wav").write_bytes(TONE)
        (resumed,) = operate("resume", *where)
        assert "max_dead_letter_run" in str(resumed["halted_by"])
        assert len(topics.events(30 - MAX_RUN, 60)) == 30 - MAX_RUN
        assert len(topics.dead_letters(0)) == MAX_RUN
        assert [one["state"] for one in operate("status", *where)] == ["consuming"]


def test_a_cluster_that_is_not_there_is_told_in_one_line() -> None:
    missing = subprocess.run(
        [PROGRAM, "status", "--address", "127.0.0.1:1"],
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert missing.returncode == 2
    assert "--address" in missing.stderr
    assert len(missing.stderr.splitlines()) == 1
