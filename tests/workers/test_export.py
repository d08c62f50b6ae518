"""`hctdmg export` as users call it; what it writes is tested in `tests/hctdmg/test_export.py` and on a real server."""

import json
from pathlib import Path

import onnxruntime
import pytest

from hctdmg.checkpoint import load_checkpoint
from tests.checkpoints import save_random_checkpoint
from workers.cli import run


def test_it_writes_one_file_and_says_how_near_it_comes(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    checkpoint = save_random_checkpoint(tmp_path / "checkpoint")
    out = tmp_path / "new" / "folder"
    assert run(["export", str(checkpoint), "--format", "onnx", "--out", str(out), "--json"]) == 0
    said = json.loads(capsys.readouterr().out)
    assert said["checkpoint_sha256"] == load_checkpoint(str(checkpoint)).sha256
    assert 0 <= said["max_difference"] < 1e-4
    assert [file.name for file in out.iterdir()] == ["model.onnx"]
    onnxruntime.InferenceSession(out / "model.onnx", providers=["CPUExecutionProvider"])


def test_a_checkpoint_that_is_not_there_is_the_users_mistake(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(["export", "nowhere", "--format", "onnx", "--out", str(tmp_path / "out")]) == 2
    captured = capsys.readouterr()
    assert captured.out == ""
    assert "no checkpoint 'nowhere'" in captured.err
    assert not (tmp_path / "out").exists()
