"""A short run of the kit: three brokers, the real application, the cheap faults; `make chaos` is the long one."""

from pathlib import Path

import pytest

from tests.chaos.run import Options, run_chaos
from tests.chaos.schedule import Kind
from tests.conftest import skip_or_fail
from tests.kafka_broker import KafkaMissingError, fetch_jars

pytestmark = [pytest.mark.kafka, pytest.mark.e2e, pytest.mark.timeout(600)]

SHORT: tuple[Kind, ...] = (
    "kill-consumer",
    "kill-extractor",
    "kill-model",
    "kill-broker",
    "die-before-commit",
    "die-after-commit",
)
"""Kinds that need no second start of the application."""


@pytest.mark.parametrize("seed", [1])
def test_ten_faults_lose_double_and_reorder_nothing(seed: int, tmp_path: Path) -> None:
    try:
        fetch_jars()
    except KafkaMissingError as error:
        skip_or_fail(str(error))
    report = run_chaos(Options(num_faults=10, num_segments=1500, seed=seed, kinds=SHORT), print, tmp_path)
    print(report.as_json())
    assert report.failures == []
    assert report.verdict is not None
    assert (report.verdict.expected, report.verdict.distinct) == (1500, 1500)
    assert len(report.injected) == 10
    assert {one.fault.kind for one in report.injected} == set(SHORT)
    assert all(one.in_flight > 0 for one in report.injected)
