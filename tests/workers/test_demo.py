import json
import os
import signal
import subprocess
import sys
import tempfile
import uuid
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

from tests.checkpoints import save_random_checkpoint
from tests.topics import wait_until
from workers.clips import SCRIPTS, draw_clips

PROGRAM = Path(sys.executable).parent / "hctdmg"
START_TIMEOUT_S = 240
"""Ray loads its libraries once for each process: half a minute on two idle cores."""

pytestmark = pytest.mark.e2e


def test_its_own_clips_are_all_answered_and_show_each_status() -> None:
    finished = subprocess.run(
        [PROGRAM, "demo", "--json"], capture_output=True, text=True, check=False, timeout=START_TIMEOUT_S
    )
    assert finished.returncode == 0, finished.stderr
    assert "drawing clips of its own" in finished.stderr
    *events, last = map(json.loads, finished.stdout.splitlines())
    summary = last["summary"]
    assert summary["segments"] == summary["events"] == len(events) == 2 * len(SCRIPTS)
    assert summary["dead_letters"] == 0
    statuses = [event["incongruity"]["status"] for event in events]
    assert set(statuses) == {"congruent", "incongruent", "insufficient_evidence"}
    assert summary["incongruous"] == statuses.count("incongruent")
    for stream in {event["stream_id"] for event in events}:
        sequences = [event["sequence"] for event in events if event["stream_id"] == stream]
        assert sequences == sorted(sequences)


@pytest.fixture
def temporary() -> Iterator[Path]:
    """A folder with a short name: Ray's sockets lie in it, and a socket's path has at most 107 characters."""
    with tempfile.TemporaryDirectory(prefix="demo-") as folder:
        yield Path(folder)


# While Ray starts, SIGTERM finds Ray's own handler, which ends the program with 15.
@pytest.mark.parametrize(("number", "statuses"), [(signal.SIGINT, {130}), (signal.SIGTERM, {143, 15})])
def test_a_signal_ends_it_and_leaves_no_process_and_no_file(
    tmp_path: Path, temporary: Path, number: signal.Signals, statuses: set[int]
) -> None:
    (clip,) = draw_clips(tmp_path, SCRIPTS[-1:])
    checkpoint = save_random_checkpoint(tmp_path / "checkpoint")
    mark = {"HCTDMG_TEST_MARK": uuid.uuid4().hex, "TMPDIR": str(temporary)}
    demo = subprocess.Popen(
        [PROGRAM, "demo", clip.path, "--set", f"model.checkpoint={checkpoint}"],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, **mark},
        start_new_session=True,  # as from a terminal of its own: the signal goes to the program alone
    )
    try:
        assert demo.stderr is not None
        assert any("starting Ray" in line for line in demo.stderr)
        wait_until(lambda: "raylet" in _names(mark) or demo.poll() is not None, "Ray starts", START_TIMEOUT_S)
        assert demo.poll() is None, demo.stderr.read()
        demo.send_signal(number)
        assert demo.wait(timeout=60) in statuses
    finally:
        demo.kill()
    wait_until(lambda: not _names(mark), "every process has ended")
    assert not list(temporary.glob("hctdmg-*"))


def test_a_file_that_is_no_video_is_found_before_anything_starts(tmp_path: Path) -> None:
    path = tmp_path / "notes.mp4"
    path.write_text("no video")
    finished = subprocess.run(
        [PROGRAM, "demo", path], capture_output=True, text=True, check=False, timeout=START_TIMEOUT_S
    )
    assert finished.returncode == 2
    assert "starting Ray" not in finished.stderr
    assert finished.stderr.splitlines()[-1].startswith("error: ")


def _names(mark: dict[str, str]) -> list[str]:
    """Names of the living processes that inherited the mark."""
    found = []
    for process in psutil.process_iter(["name", "environ"]):
        environment = process.info["environ"] or {}
        if mark.items() <= environment.items():
            found.append(process.info["name"])
    return found
