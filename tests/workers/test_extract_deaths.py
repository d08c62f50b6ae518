"""`hctdmg extract` goes on, whoever is killed or hangs on the way."""

import dataclasses
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from pathlib import Path

import psutil
import pytest

from hctdmg.data.errors import DataError
from hctdmg.data.own import SAMPLES, load_features
from hctdmg.data.read import read_dataset
from pipelines.videos import read_video
from tests.extraction import contents, lines_of, many_rows, planned, write_manifest
from workers.cli import run
from workers.clips import Clip
from workers.extract_pool import LoneProcess, extract_here


def start(arguments: Sequence[str]) -> subprocess.Popen[bytes]:
    code = "from workers.cli import main; main()"
    return subprocess.Popen([sys.executable, "-c", code, *arguments], start_new_session=True)


def wait_for(condition: Callable[[], bool], timeout_s: float = 120.0) -> None:
    until_s = time.monotonic() + timeout_s
    while not condition():
        assert time.monotonic() < until_s, "it did not come to pass"
        time.sleep(0.02)


def extractors(process: psutil.Process) -> list[psutil.Process]:
    """Those that a process has started."""
    return [child for child in process.children() if "spawn_main" in " ".join(child.cmdline())]


def num_samples(out: Path) -> int:
    return len(list((out / SAMPLES).glob("*.safetensors")))


def test_a_run_that_was_killed_goes_on_to_the_same_files(
    tmp_path: Path, clips: list[Clip], capsys: pytest.CaptureFixture[str]
) -> None:
    rows = many_rows(clips, 12)
    manifest = write_manifest(tmp_path / "m.csv", rows)
    out = tmp_path / "killed"
    process = start(["extract", str(manifest), "--out", str(out), "--jobs", "2"])
    wait_for(lambda: num_samples(out) >= 3 or process.poll() is not None)
    family = psutil.Process(process.pid).children(recursive=True)
    os.kill(process.pid, signal.SIGKILL)
    process.wait()
    assert len(family) >= 2
    _, alive = psutil.wait_procs(family, timeout=60)
    assert not alive, "what it started outlives it"
    num_done = num_samples(out)
    assert 3 <= num_done < len(rows)
    assert not (out / "features.json").exists()
    damaged = next(iter((out / SAMPLES).glob("*.safetensors")))
    data = damaged.read_bytes()
    damaged.write_bytes(data[:-1] + bytes([data[-1] ^ 1]))

    assert run(["extract", str(manifest), "--out", str(out), "--jobs", "2", "--json"]) == 0
    last = lines_of(capsys)[-1]
    assert (last["num_reused"], last["num_extracted"]) == (num_done - 1, len(rows) - num_done + 1)
    assert run(["extract", str(manifest), "--out", str(tmp_path / "fresh"), "--jobs", "1"]) == 0
    assert contents(out) == contents(tmp_path / "fresh")
    assert len(contents(out)) == len(rows) + 1


def test_what_an_earlier_run_made_is_not_taken_for_what_a_killed_one_was_to_make(
    tmp_path: Path, clips: list[Clip]
) -> None:
    out = tmp_path / "out"
    manifest = write_manifest(tmp_path / "m.csv", many_rows(clips, 1))
    assert run(["extract", str(manifest), "--out", str(out), "--jobs", "1"]) == 0
    assert read_dataset(out).splits["train"].num_samples == 1
    process = start(["extract", str(write_manifest(manifest, many_rows(clips, 8))), "--out", str(out)])
    wait_for(lambda: num_samples(out) >= 2 or process.poll() is not None)
    process.kill()
    assert process.wait() == -signal.SIGKILL
    with pytest.raises(DataError, match="an extraction writes it at its end; run it again"):
        read_dataset(out)


def test_a_process_that_dies_takes_no_row_with_it(tmp_path: Path, clips: list[Clip]) -> None:
    rows = many_rows(clips, 8)
    manifest = write_manifest(tmp_path / "m.csv", rows)
    out = tmp_path / "out"
    process = start(["extract", str(manifest), "--out", str(out), "--jobs", "2"])
    wait_for(lambda: num_samples(out) >= 2)
    extractors(psutil.Process(process.pid))[0].kill()
    assert process.wait(240) == 0
    assert [one.id for one in load_features(out).examples] == [
        f"{path}#{start_s}-{end_s}" for path, start_s, end_s, *_ in rows
    ]


def test_rows_in_which_the_process_hangs_are_given_up(tmp_path: Path, clips: list[Clip]) -> None:
    plan, rows = planned(tmp_path, clips, 2)
    # The alarm rings 10 s after the deadline: here at once.
    hasty = dataclasses.replace(plan, deadline_s=-9.999)
    outcomes = sorted(extract_here(rows, hasty, 2), key=lambda one: one.line)
    assert [one.line for one in outcomes] == [2, 3]
    assert {one.reason for one in outcomes} == {"extract: its process died, or hung for more than 0.001 s"}


def test_no_time_of_a_row_goes_by_while_its_video_is_read_whole(tmp_path: Path, clips: list[Clip]) -> None:
    """A recording of hours is not read again beside the alarm: what is kept of it is taken without any look at it."""
    plan, rows = planned(tmp_path, clips, 1)
    copy = tmp_path / "long.mp4"
    copy.write_bytes(rows[0].path.read_bytes())
    row = dataclasses.replace(rows[0], path=copy, video=read_video(copy))
    with closing(LoneProcess(plan)) as process:
        first = process.extract(row)
        copy.unlink()
        again = process.extract(row)
        missing = process.extract(dataclasses.replace(row, start_s=1.0))
        copy.write_bytes(b"another")
        changed = process.extract(dataclasses.replace(row, start_s=1.0))
    assert first.stored == again.stored is not None
    assert (first.is_reused, again.is_reused) == (False, True)
    assert missing.reason == "fetch: No such file or directory: mend the path, or put the video there"
    assert changed.reason == "fetch: has changed since the extraction began: extract again"


def test_a_row_that_kills_its_process_is_told_and_the_next_has_another(
    tmp_path: Path, clips: list[Clip]
) -> None:
    """What every actor on a cluster does; whether the process is killed or hangs, its row is the one that is told."""
    plan, rows = planned(tmp_path, clips, 3)
    with closing(LoneProcess(plan)) as process, ThreadPoolExecutor(1) as thread:
        assert process.extract(rows[0]).reason is None
        (child,) = extractors(psutil.Process())
        child.suspend()
        killed = thread.submit(process.extract, rows[1])
        child.kill()
        assert killed.result(120).reason == "extract: its process died, or hung for more than 70 s"
        assert process.extract(rows[2]).reason is None
