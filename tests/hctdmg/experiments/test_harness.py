"""Runs are done once, whatever happens in between: killed, damaged, with other parameters."""

import dataclasses
import json
import os
import resource
import subprocess
import sys
import time
from pathlib import Path

import pytest

from hctdmg.experiments.harness import Progress, execute, plan
from hctdmg.experiments.record import find_record, path_of, read_record, write_record
from hctdmg.experiments.setup import FULL, QUICK, on_equal_terms
from hctdmg.training.errors import RecipeError
from tests.hctdmg.experiments.made_up import MADE_UP, WAITS, make_record

PROGRAM = """
from pathlib import Path
import sys
from hctdmg.experiments.harness import execute
from hctdmg.experiments.setup import QUICK
from tests.hctdmg.experiments.made_up import MADE_UP
execute([MADE_UP], (0, 1), QUICK, Path(sys.argv[1]))
"""


def done(folder: Path, num_jobs: int = 1) -> list[tuple[str, int]]:
    """The runs that had to be done."""
    seen: list[Progress] = []
    execute([MADE_UP], (0, 1), QUICK, folder, num_jobs, seen.append)
    return [(one.record.variant, one.record.seed) for one in seen]


def test_a_run_with_a_record_is_not_done_again(tmp_path: Path) -> None:
    assert done(tmp_path) == [("a", 0), ("b", 0), ("a", 1), ("b", 1)]
    assert done(tmp_path) == []
    path_of(tmp_path, make_record("b", 0)).unlink()
    assert done(tmp_path) == [("b", 0)]


def test_killed_it_leaves_whole_records_and_goes_on_where_it_was(tmp_path: Path) -> None:
    marker, folder = tmp_path / "waits", tmp_path / "records"
    child = subprocess.Popen(
        [sys.executable, "-c", PROGRAM, str(folder)], env={**os.environ, WAITS: str(marker)}
    )
    try:
        end_s = time.monotonic() + 120
        while not marker.exists():
            assert child.poll() is None
            assert time.monotonic() < end_s
            time.sleep(0.02)
    finally:
        child.kill()
        child.wait()
    assert [path.name for path in (folder / "made-up").iterdir()] == ["a-seed0.json"]
    (folder / "made-up" / "b-seed0.json.new").write_text('{"experiment": "made-')  # killed while it wrote
    assert done(folder) == [("b", 0), ("a", 1), ("b", 1)]
    assert all(read_record(path).metrics for path in (folder / "made-up").glob("*.json"))


def test_a_record_that_can_not_be_written_whole_is_not_there(tmp_path: Path) -> None:
    """The disk takes 100 bytes: what was there before stays, and nothing half written takes its place."""
    before, after = make_record("a", 0, mae=1.0), make_record("a", 0, mae=2.0)
    write_record(tmp_path, before)
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (100, hard))
    try:
        with pytest.raises(OSError, match="too large"):
            write_record(tmp_path, after)
        with pytest.raises(OSError, match="too large"):
            write_record(tmp_path, make_record("b", 0))
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert read_record(path_of(tmp_path, before)) == before
    assert not path_of(tmp_path, make_record("b", 0)).exists()


def test_several_processes_do_the_same(tmp_path: Path) -> None:
    assert sorted(done(tmp_path / "two", num_jobs=2)) == sorted(done(tmp_path / "one"))
    for path in (tmp_path / "one" / "made-up").iterdir():
        assert read_record(path).metrics == read_record(tmp_path / "two" / "made-up" / path.name).metrics


def test_other_parameters_are_another_run(tmp_path: Path) -> None:
    done(tmp_path)
    (quick, *_), (full, *_) = plan(MADE_UP, (0,), QUICK), plan(MADE_UP, (0,), FULL)
    assert find_record(tmp_path, quick) is not None
    assert find_record(tmp_path, full) is None
    changed = dataclasses.replace(MADE_UP, constants={"noise": 2})
    assert find_record(tmp_path, plan(changed, (0,), QUICK)[0]) is None


def test_a_record_that_is_older_than_a_setting_had_its_default(tmp_path: Path) -> None:
    done(tmp_path)
    (run, *_) = plan(MADE_UP, (0,), QUICK)
    path = path_of(tmp_path, run)
    content = json.loads(path.read_text())
    del content["parameters"]["fit"]["unimodal_truth"]
    path.write_text(json.dumps(content))
    assert find_record(tmp_path, run) is not None
    (fair, *_) = plan(dataclasses.replace(MADE_UP, setup=on_equal_terms), (0,), QUICK)
    assert find_record(tmp_path, fair) is None


@pytest.mark.parametrize("content", ["", "[]", '{"experiment": "a"}', '{"metrics": 3}', "\xff"])
def test_a_damaged_record_is_named(tmp_path: Path, content: str) -> None:
    path = path_of(tmp_path, make_record("a", 0))
    path.parent.mkdir()
    path.write_bytes(content.encode("latin-1"))
    with pytest.raises(RecipeError, match=r"a-seed0\.json: is no record"):
        done(tmp_path)


def test_a_record_holds_finite_numbers_of_six_digits(tmp_path: Path) -> None:
    write_record(tmp_path, make_record("a", 3, mae=1 / 3, r=float("nan"), worst=float("inf")))
    assert read_record(tmp_path / "made-up" / "a-seed3.json").metrics == {"mae": 0.333333}
