"""A sample is taken again only where nothing that decides its numbers has changed."""

import dataclasses
import importlib.metadata
from pathlib import Path

import pytest

from pipelines.extraction import PACKAGES, ExtractionPlan, RowExtractor
from pipelines.labelled import Row
from pipelines.media import MediaConfig
from pipelines.videos import read_video
from tests.clips import Audio, write_clip


def test_whatever_decides_the_numbers_decides_the_name(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "sound.m4a"
    path.write_bytes(write_clip("mp4", None, Audio(duration_s=1)))
    plan = ExtractionPlan(tmp_path, "unaligned", MediaConfig(), 60.0)
    row = Row(2, "a", path, 0.0, None, None, None, (1.0,), "train", read_video(path))
    first = RowExtractor(plan).extract(row)
    assert first.stored is not None
    assert RowExtractor(plan).extract(dataclasses.replace(row, line=9, labels=(2.0,))).is_reused
    real, keys = importlib.metadata.version, {first.stored.key}
    for package in PACKAGES:
        monkeypatch.setattr(
            importlib.metadata, "version", lambda name, of=package: real(name) + (".1" if name == of else "")
        )
        other = RowExtractor(plan).extract(row)
        assert not other.is_reused
        assert other.stored is not None
        keys.add(other.stored.key)
    assert len(keys) == 1 + len(PACKAGES)
