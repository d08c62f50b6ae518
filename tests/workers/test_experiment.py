"""`hctdmg experiment`: what it prints and leaves, that it resumes, and one line for every mistake."""

import json
import subprocess
import sys
from pathlib import Path

import psutil
import pytest

from tests.topics import wait_until
from workers.cli import run

PROGRAM = Path(sys.executable).parent / "hctdmg"


def test_it_leaves_records_tables_pictures_and_a_page_and_does_nothing_twice(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    command = ["experiment", "modalities", "--quick", "--seeds", "2", "--out", str(tmp_path)]
    assert run(command) == 0
    first = capsys.readouterr()
    assert "6/6 modalities 4 seed 1" in first.err
    assert "Does the model work with two, three and four modalities?" in first.out
    assert {"modalities.json", "modalities.html", "modalities-1.svg"} <= {
        one.name for one in tmp_path.iterdir()
    }
    table = (tmp_path / "modalities.json").read_text()
    assert run(command) == 0
    again = capsys.readouterr()
    assert "modalities 4" not in again.err
    assert (tmp_path / "modalities.json").read_text() == table


def test_json_is_a_record_a_line_and_nothing_else(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["experiment", "hierarchy", "--quick", "--seeds", "1", "--out", str(tmp_path), "--json"]) == 0
    lines = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert [one["variant"] for one in lines] == ["hct-dmg", "fixed-text", "fixed-audio", "fixed-vision"]
    assert all(one["metrics"]["mae"] > 0 for one in lines)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["hierachy"], "did you mean hierarchy?"),
        (["nonsense"], "no experiment 'nonsense'"),
        (["layers", "--data", "x.pkl"], "--data is for incongruity, not for layers"),
        (["incongruity", "--data", "nowhere.pkl"], "there is no such file"),
        (["layers", "--encoder", "here"], "--encoder is for text"),
        (["text"], "text needs --encoder DIR"),
        (["text", "--encoder", "nowhere"], "holds no config.json"),
        (["layers", "--seeds", "0"], "seeds"),
        (["layers", "--jobs", "0"], "jobs"),
    ],
)
def test_a_mistake_is_one_line(
    options: list[str], message: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(["experiment", "--quick", "--out", str(tmp_path / "out"), *options]) == 2
    error = capsys.readouterr().err.strip().splitlines()[-1]
    assert error.startswith("error: ")
    assert message in error


def test_quick_and_full_results_do_not_mix(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["experiment", "modalities", "--quick", "--seeds", "1", "--out", str(tmp_path)]) == 0
    assert run(["experiment", "modalities", "--seeds", "1", "--out", str(tmp_path)]) == 2
    assert "holds quick results" in capsys.readouterr().err
    (tmp_path / "quick").unlink()
    assert run(["experiment", "modalities", "--quick", "--seeds", "1", "--out", str(tmp_path)]) == 2
    assert "holds full results" in capsys.readouterr().err


def test_no_process_outlives_one_that_is_killed(tmp_path: Path) -> None:
    command = [PROGRAM, "experiment", "hierarchy", "--quick", "--jobs", "2", "--out", str(tmp_path)]
    parent = psutil.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    wait_until(lambda: any((tmp_path / "records").rglob("*.json")), "a run has a record", 120)
    children = parent.children(recursive=True)
    assert len(children) >= 2
    parent.kill()
    parent.wait()
    wait_until(lambda: not any(child.is_running() for child in children), "they are gone", 60)
