"""Every experiment runs from end to end at its quick size, and reads what it measured."""

import dataclasses
import math
from pathlib import Path

import numpy as np
import pytest

from hctdmg.data.errors import DataError
from hctdmg.experiments.experiment import Experiment
from hctdmg.experiments.harness import execute, plan
from hctdmg.experiments.incongruity import incongruity_in
from hctdmg.experiments.record import find_record
from hctdmg.experiments.registry import EXPERIMENTS
from hctdmg.experiments.report import digest, markdown, read_records, write_report
from hctdmg.experiments.setup import FULL, QUICK
from tests.hctdmg.data import files


def run_quick(experiment: Experiment, folder: Path, seeds: tuple[int, ...] = (0, 1)) -> str:
    execute([experiment], seeds, QUICK, folder / "records")
    records = read_records(folder / "records", experiment)
    assert len(records) == len(seeds) * len(experiment.variants)
    assert all(math.isfinite(value) for one in records for value in one.metrics.values())
    findings = write_report(folder, experiment, records)
    page = (folder / f"{experiment.name}.html").read_text()
    assert digest(records) in page
    assert "<script" not in page
    assert "http://" not in page.replace("http://www.w3.org", "")
    for number in range(1, len(findings.pictures) + 1):
        assert (folder / f"{experiment.name}-{number}.svg").read_bytes().startswith(b"<?xml")
    return markdown(experiment, findings, "science")


@pytest.mark.parametrize("name", [one for one in EXPERIMENTS if one != "compare"])
def test_it_runs_and_reads(name: str, tmp_path: Path) -> None:
    text = run_quick(EXPERIMENTS[name], tmp_path)
    assert "±" in text
    assert "nan" not in text


def test_compare_runs_and_reads_some_of_all_models(tmp_path: Path) -> None:
    some = dataclasses.replace(EXPERIMENTS["compare"], variants=("hct-dmg", "ef-lstm", "mult"))
    text = run_quick(some, tmp_path, (0,))
    assert "1,073,731" in text
    assert "| raven | 0 | - |" in text


@pytest.mark.parametrize("name", EXPERIMENTS)
def test_what_is_partly_there_is_read(name: str, tmp_path: Path) -> None:
    """One run of one variant: tables say how many seeds there are, and where there is nothing."""
    experiment = EXPERIMENTS[name]
    one = dataclasses.replace(experiment, variants=experiment.variants[-1:])
    execute([one], (0,), QUICK, tmp_path)
    assert experiment.read(read_records(tmp_path, experiment)).tables


def test_the_same_run_gives_the_same_numbers(tmp_path: Path) -> None:
    experiment = dataclasses.replace(EXPERIMENTS["recovery"], variants=("samples+unimodal-audio",))
    found = []
    for folder in (tmp_path / "a", tmp_path / "b"):
        execute([experiment], (3,), QUICK, folder)
        record = find_record(folder, plan(experiment, (3,), QUICK)[0])
        assert record is not None
        found.append(record.metrics)
    assert found[0] == found[1]


@pytest.mark.parametrize("name", ["compare", "noise"])
def test_models_are_compared_by_what_all_of_them_are_told(name: str) -> None:
    for setup in (FULL, QUICK):
        assert EXPERIMENTS[name].setup(setup).fit.unimodal_truth == "sample"


def test_the_full_parameters_are_those_that_the_page_states() -> None:
    page = (Path(__file__).parents[3] / "docs" / "results" / "science.md").read_text()
    assert f"{FULL.fit.num_epochs} epochs on {FULL.num_train} samples" in page
    compare, flag = (EXPERIMENTS[name].setup(FULL) for name in ("compare", "incongruity"))
    assert f"{compare.num_train} samples and {compare.fit.num_epochs} epochs" in page
    assert f"{flag.num_train:,} to\nlearn from and {flag.num_valid} to calibrate" in page


def sims(folder: Path, opposed: bool = True) -> Path:
    """A file as CH-SIMS', enough samples to learn from, some whose voice contradicts."""
    rng = np.random.default_rng(0)
    content = files.mmsa(sims=True)
    for fields in content.values():
        times = 6
        for name, value in fields.items():
            fields[name] = list(value) * times if isinstance(value, list) else np.concatenate([value] * times)
        labels = rng.choice([-0.8, 0.8], size=len(fields["id"])).astype(np.float32)
        turned = np.where(np.arange(len(labels)) % 3 == 0, -1, 1) if opposed else 1
        fields |= {"regression_labels": labels, "regression_labels_T": labels, "regression_labels_V": labels}
        fields["regression_labels_A"] = labels * turned
    return files.save(folder / "unaligned_39.pkl", content)


def test_the_flag_is_scored_against_people_where_a_file_has_their_labels(tmp_path: Path) -> None:
    experiment = incongruity_in(sims(tmp_path))
    text = run_quick(experiment, tmp_path / "out", (0,))
    assert experiment.name.startswith("incongruity-")
    assert "| flag | 1 | " in text
    assert "noise x2" not in text


def test_a_file_without_such_labels_or_without_contradictions_is_refused(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="CH-SIMS is such a set"):
        incongruity_in(files.save(tmp_path / "mosi.pkl", files.mult("mosi")))
    with pytest.raises(DataError, match="0 of 24 test samples contradict"):
        incongruity_in(sims(tmp_path, opposed=False))
