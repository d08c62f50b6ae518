"""Manifests of drawn clips, and what an extraction left, for tests of `hctdmg extract`."""

import json
from collections.abc import Sequence
from csv import writer
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from hctdmg.data.own import SAMPLES, load_features, load_sample
from pipelines.extraction import ExtractionPlan
from pipelines.labelled import Row, read_labelled
from pipelines.media import MediaConfig
from pipelines.videos import identified, read_video
from workers.clips import Clip

HEADER = ("path", "start_s", "end_s", "transcript", "label", "split")
Cells = Sequence[object]


def write_manifest(path: Path, rows: Sequence[Cells]) -> Path:
    with open(path, "w", newline="", encoding="utf-8") as file:
        writer(file).writerows([HEADER, *rows])
    return path


def many_rows(clips: list[Clip], num: int) -> list[tuple[Path, float, float, str, int, str]]:
    """Short stretches, each of its own."""
    splits = ("train", "valid", "test")
    return [
        (clips[n % 4].path, round(0.1 * n, 1), round(0.1 * n + 2, 1), "one two", n % 3, splits[n % 3])
        for n in range(num)
    ]


def features_of(folder: Path) -> dict[str, dict[str, np.ndarray]]:
    found = load_features(folder)
    widths = {name: one.width for name, one in found.contract.modalities.items()}
    return {one.id: load_sample(folder, one.stored.key, widths)[0] for one in found.examples}


def lines_of(capsys: pytest.CaptureFixture[str]) -> list[dict[str, Any]]:
    return [json.loads(line) for line in capsys.readouterr().out.splitlines()]


def contents(out: Path) -> dict[str, bytes]:
    files = (out / "features.json", *(out / SAMPLES).iterdir())
    return {path.name: path.read_bytes() for path in files if not path.name.startswith(".")}


def planned(folder: Path, clips: list[Clip], num: int) -> tuple[ExtractionPlan, tuple[Row, ...]]:
    """Rows of the first clip or of several, and how they would be extracted."""
    manifest = read_labelled(write_manifest(folder / "m.csv", many_rows(clips, num)))
    videos = {row.path: read_video(row.path) for row in manifest.rows}
    return ExtractionPlan(folder / "out", "unaligned", MediaConfig(), 60.0), identified(
        manifest, videos, 0
    ).rows
