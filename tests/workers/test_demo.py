import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import psutil
import pytest

from workers.clips import SCRIPTS, draw_clips

PROGRAM = Path(sys.executable).parent / "hctdmg"

pytestmark = pytest.mark.e2e


def test_its_own_clips_are_all_answered_and_show_each_status() -> None:
    finished = subprocess.run(
        [PROGRAM, "demo", "--json"], capture_output=True, text=True, check=False, timeout=240
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


def test_control_c_ends_it_and_leaves_no_process(tmp_path: Path) -> None:
    (clip,) = draw_clips(tmp_path, SCRIPTS[-1:])
    before = {process.pid for process in psutil.process_iter()}
    running = subprocess.Popen(
        [PROGRAM, "demo", str(clip.path)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, "HCTDMG_DEBUG": "0"},
        start_new_session=True,
    )
    try:
        assert running.stderr is not None
        for line in running.stderr:
            if "starting Ray" in line:
                break
        running.send_signal(signal.SIGINT)
        running.wait(timeout=60)
    finally:
        running.kill()
    assert running.returncode == 130
    left = [
        p
        for p in psutil.process_iter(["pid", "cmdline"])
        if p.pid not in before and "ray" in " ".join(p.info["cmdline"] or [])
    ]
    _, alive = psutil.wait_procs(left, timeout=20)
    assert alive == []


def test_a_file_that_is_no_video_is_found_before_anything_starts(tmp_path: Path) -> None:
    path = tmp_path / "notes.mp4"
    path.write_text("no video")
    finished = subprocess.run(
        [PROGRAM, "demo", path], capture_output=True, text=True, check=False, timeout=60
    )
    assert finished.returncode == 2
    assert "starting Ray" not in finished.stderr
    assert finished.stderr.splitlines()[-1].startswith("error: ")
