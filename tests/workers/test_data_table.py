import json
from pathlib import Path

import pytest

from tests.hctdmg.data import files
from workers.cli import run


def test_a_data_set_is_shown_in_figures(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = files.save(tmp_path / "humor.pkl", files.multibench())
    assert run(["data", "describe", str(path)]) == 0
    out = capsys.readouterr().out
    assert "humor.pkl: multibench, classes" in out
    assert "371" in out
    assert run(["data", "describe", str(path), "--json"]) == 0
    lines = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert [(line["split"], line["num_samples"]) for line in lines] == list(files.ROWS.items())
    assert lines[0]["labels"] == {"no": 3, "yes": 3}


def test_what_was_put_right_is_a_warning_and_what_can_not_be_read_is_exit_2(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = files.save(tmp_path / "mosi.pkl", files.mult("mosi"))
    assert run(["data", "describe", str(path), "--json"]) == 0
    assert "warning: train: 1 values of audio are -inf, read as 0" in capsys.readouterr().err
    path.write_bytes(b"cposix\nsystem\n(S'true'\ntR.")
    assert run(["data", "describe", str(path)]) == 2
    captured = capsys.readouterr()
    assert captured.out == ""
    assert captured.err.count("\n") == 1
    assert "it calls posix.system" in captured.err
