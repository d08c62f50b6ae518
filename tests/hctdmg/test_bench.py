"""`python -m hctdmg.bench`: runs with torch, numpy and safetensors alone, and says what it measured."""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from hctdmg.bench import HCT_DMG, MULT, MULT_AS_WRITTEN, main

REPO = Path(__file__).parent.parent.parent
OTHERS = ("av", "cv2", "fsspec", "kafka", "matplotlib", "pipelines", "pydantic", "ray", "rich", "scipy", "sklearn",
          "tokenizers", "typer", "workers", "yaml")  # fmt: skip
"""What must not be needed. The bench is carried to machines with a GPU that have nothing but torch."""
BLOCKED = f"""
import sys, runpy
for name in {OTHERS!r}:
    sys.modules[name] = None  # whoever imports it fails
sys.argv[0] = "bench"
runpy.run_module("hctdmg.bench", run_name="__main__")
"""


def bench(*options: str) -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, "PYTHONPATH": str(REPO)}
    return subprocess.run(
        [sys.executable, "-c", BLOCKED, *options],
        capture_output=True,
        text=True,
        env=environment,
        check=False,
    )


def test_it_needs_nothing_but_torch_numpy_and_safetensors() -> None:
    done = bench("--rounds", "2", "--batch", "2", "--steps", "4")
    assert done.returncode == 0, done.stderr
    record = json.loads(done.stdout)
    assert {one["name"] for one in record["timings"]} == {HCT_DMG, MULT, MULT_AS_WRITTEN}


def test_each_shape_and_way_is_measured_and_compared(capsys: pytest.CaptureFixture[str]) -> None:
    options = ["--rounds", "3", "--batch", "1", "2", "--steps", "3", "--precision", "fp32", "bf16"]
    assert main(options) == 0
    record: dict[str, Any] = json.loads(capsys.readouterr().out)
    ours = [one for one in record["timings"] if one["name"] == HCT_DMG]
    assert {(one["batch"], one["steps"], one["precision"]) for one in ours} == {
        (batch, 3, precision) for batch in (1, 2) for precision in ("fp32", "bf16")
    }
    for one in record["timings"]:
        assert len(one["seconds"]) == 3
        assert one["items_per_s"] == pytest.approx(one["batch"] / sorted(one["seconds"])[1], rel=0.01)
    assert {(one["theirs"], one["batch"]) for one in record["ratios"]} == {
        (name, batch) for name in (MULT, MULT_AS_WRITTEN) for batch in (1, 2)
    }
    assert " ".join(options) in record["command"]


def test_mixed_lengths_stay_below_the_limit_in_runs(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--mixed", "--rounds", "1"]) == 0
    mixed = json.loads(capsys.readouterr().out)["mixed"]
    padding = {(one["lengths"], one["way"]): one["padding"] for one in mixed}
    assert len(padding) == 9
    assert all(share <= 0.1 for (_, way), share in padding.items() if way == "runs")
    assert padding["2 to 10 s", "whole"] > 0.3


def test_a_profile_names_operations_and_adds_up(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--profile", "--rounds", "1", "--batch", "2", "--steps", "5"]) == 0
    shares = json.loads(capsys.readouterr().out)["profile"]
    assert any(name.startswith("aten::") and share >= 0.02 for name, share in shares.items())
    assert sum(shares.values()) == pytest.approx(1)


def test_help_has_an_example() -> None:
    done = bench("--help")
    assert done.returncode == 0
    assert "python -m hctdmg.bench --device cuda" in done.stdout


@pytest.mark.parametrize(
    ("options", "message"),
    [(["--execution", "graphs"], "CUDA graphs need --device cuda"), (["--batch", "0"], "--batch is 0")],
)
def test_what_can_not_be_measured_is_refused_in_one_line(
    options: list[str], message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(options) == 2
    assert capsys.readouterr().err.startswith(f"error: {message}")
