"""`hctdmg extract` on a real Ray cluster."""

import dataclasses
from pathlib import Path

import numpy as np
import pytest

from hctdmg.data.read import read_dataset
from tests.extraction import contents, lines_of, many_rows, planned, write_manifest
from workers.cli import run
from workers.clips import Clip
from workers.extract_cluster import extract_on_cluster


@pytest.mark.e2e
def test_a_ray_cluster_makes_the_same_samples(
    tmp_path: Path, clips: list[Clip], capsys: pytest.CaptureFixture[str]
) -> None:
    rows = [*many_rows(clips, 10), ("missing.mp4", "", "", "x", 0, "train")]
    manifest = write_manifest(tmp_path / "m.csv", rows)
    arguments = ["extract", str(manifest), "--json", "--out"]
    assert run([*arguments, str(tmp_path / "ray"), "--address", "local"]) == 2
    lines = lines_of(capsys)
    assert sorted(line["line"] for line in lines[:-1]) == list(range(2, 13))
    assert lines[-1]["num_extracted"] == 10
    assert lines[-1]["skipped"][0]["reason"].startswith("fetch: No such file")
    assert run([*arguments, str(tmp_path / "here"), "--jobs", "2"]) == 2
    assert set(contents(tmp_path / "ray")) == set(contents(tmp_path / "here"))
    # Ray's processes compute with one thread, which adds up in another order: the last bits of sound may differ.
    ours, theirs = (read_dataset(tmp_path / name).splits for name in ("here", "ray"))
    for name, split in ours.items():
        other = theirs[name]
        assert (split.ids, split.labels_NK.tolist()) == (other.ids, other.labels_NK.tolist())
        for modality, x_NTD in split.features.items():
            np.testing.assert_array_equal(split.masks[modality], other.masks[modality])
            np.testing.assert_allclose(other.features[modality], x_NTD, atol=1e-4)


@pytest.mark.e2e
def test_rows_that_hang_on_a_cluster_are_given_up(tmp_path: Path, clips: list[Clip]) -> None:
    plan, rows = planned(tmp_path, clips, 3)
    # The alarm rings 10 s after the deadline: here at once.
    hasty = dataclasses.replace(plan, deadline_s=-9.999)
    outcomes = sorted(extract_on_cluster(rows, hasty, 1, "local"), key=lambda one: one.line)
    assert [one.line for one in outcomes] == [2, 3, 4]
    assert {one.reason for one in outcomes} == {"extract: its process died, or hung for more than 0.001 s"}


def test_a_cluster_that_is_not_there_is_one_line(
    tmp_path: Path, clips: list[Clip], capsys: pytest.CaptureFixture[str]
) -> None:
    manifest = write_manifest(tmp_path / "m.csv", many_rows(clips, 3))
    assert run(["extract", str(manifest), "--out", str(tmp_path / "out"), "--address", "127.0.0.1:1"]) == 2
    captured = capsys.readouterr()
    assert captured.out == ""
    assert captured.err.splitlines()[-1].startswith("error: no Ray cluster at '127.0.0.1:1' (")
