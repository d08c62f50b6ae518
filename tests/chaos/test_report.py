"""A run passes only when every fault was injected, everything came out right, and nothing else went wrong."""

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from tests.chaos.judge import Verdict
from tests.chaos.report import Injected, Report, summary
from tests.chaos.schedule import Fault

RIGHT = Verdict(10, 10, (), (), (), (), (), (), ())
FAULT = Fault(0, "kill-consumer", 3, 0.5, 0.5)
INJECTED = Injected(FAULT, 1.0, 3, 5, "consumer 12", 2.0, "", is_right=True)


def good(delivery: str = "exactly_once") -> Report:
    return Report({"delivery": delivery, "seed": 7}, (FAULT,), [INJECTED], RIGHT)


def test_a_good_run_is_written_as_passed(tmp_path: Path) -> None:
    report = good()
    assert report.failures == []
    written = json.loads(report.write(tmp_path).read_text())
    assert written["passed"] is True
    assert written["counts"]["expected"] == 10
    assert written["recovery_s"]["killed_consumers"] == {
        "num": 1,
        "p50": 2.0,
        "p95": 2.0,
        "p99": 2.0,
        "max": 2.0,
    }
    assert written["schedule"] == [
        {"number": 0, "kind": "kill-consumer", "after_answers": 3, "choice": 0.5, "variant": 0.5}
    ]


BREAKS: dict[str, Callable[[Report], object]] = {
    "nothing was read back": lambda report: setattr(report, "verdict", None),
    "one was lost": lambda report: setattr(report, "verdict", replace(RIGHT, lost=((0, 1),))),
    "one was doubled": lambda report: setattr(report, "verdict", replace(RIGHT, doubled=((0, 1),))),
    "a fault did not come": lambda report: report.injected.clear(),
    "a fault did not end as it must": lambda report: report.injected.append(
        replace(INJECTED, is_right=False)
    ),
    "something else": lambda report: report.problems.append("the worker drained with exit status 1"),
}


@pytest.mark.parametrize("name", BREAKS)
def test_each_break_fails_the_run(name: str, tmp_path: Path) -> None:
    report = good()
    BREAKS[name](report)
    assert report.failures
    assert json.loads(report.write(tmp_path).read_text())["passed"] is False


def test_at_least_once_may_double_but_not_with_another_answer() -> None:
    report = good("at_least_once")
    report.verdict = replace(RIGHT, doubled=((0, 1),))
    assert report.failures == []
    report.verdict = replace(RIGHT, doubled=((0, 1),), doubled_differently=((0, 1),))
    assert report.failures


def test_percentiles_are_values_that_were_measured() -> None:
    assert summary([float(number) for number in range(1, 101)]) == {
        "num": 100, "p50": 50.5, "p95": 95.0, "p99": 99.0, "max": 100.0,
    }  # fmt: skip
    assert summary([])["p95"] is None
