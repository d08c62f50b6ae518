"""What `make science` compares: a run that came out otherwise is named, rounding is not."""

import dataclasses

import pytest

from hctdmg.experiments.harness import perform, plan
from hctdmg.experiments.record import read_record
from hctdmg.experiments.registry import EXPERIMENTS
from hctdmg.experiments.setup import FULL, QUICK
from tests.bench import science, science_page
from tests.hctdmg.experiments.made_up import MADE_UP, make_record


def test_a_number_outside_the_tolerance_is_named_and_one_inside_is_not() -> None:
    recorded = {"mae": 0.5, "gate.text": 0.4, "primary.text": 1.0, "items_per_s": 900.0}
    rounded = {"mae": 0.5 + 0.02 + 0.049, "gate.text": 0.39, "primary.text": 0.0, "items_per_s": 100.0}
    assert science.differing(recorded, rounded) == []
    assert science.differing(recorded, rounded | {"mae": 0.58}) == ["mae is 0.58, recorded 0.5"]
    assert science.differing(recorded, {"mae": 0.5}) == ["gate.text is missing"]


def test_two_runs_are_done_again_in_ci_and_both_have_a_record() -> None:
    tasks = science.subset(is_quick=True)
    assert [(run.experiment, run.variant, run.seed) for _, run, _ in tasks] == [
        (experiment, variant, science.SEED) for experiment, variant in science.QUICK
    ]
    wider = {(run.experiment, run.variant) for _, run, _ in science.subset(is_quick=False)}
    assert set(science.QUICK) <= wider


def test_a_run_that_is_done_again_by_the_same_code_gives_its_record() -> None:
    experiment = EXPERIMENTS["modalities"]
    record, again = (
        perform(experiment, run, QUICK)
        for run in plan(dataclasses.replace(experiment, variants=("2", "2")), (0,), QUICK)
    )
    assert science.differing(record.metrics, again.metrics) == []
    assert record.metrics == again.metrics


def test_the_page_says_which_block_it_lacks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(science_page, "experiments", lambda: [MADE_UP])
    with pytest.raises(ValueError, match="no place for 'made-up'"):
        science_page.rewritten(science_page.PAGE.read_text())


def test_every_committed_record_is_of_the_full_setup_and_small() -> None:
    paths = sorted(science_page.RECORDS.rglob("*.json"))
    known = {(run.experiment, run.variant): run.parameters for one in science_page.experiments()
             for run in plan(one, (0,), FULL)}  # fmt: skip
    for path in paths:
        record = read_record(path)
        assert record.parameters == known[record.experiment, record.variant]
        assert path.stat().st_size < 16_000
    assert make_record("a", 0).experiment not in {path.parent.name for path in paths}
