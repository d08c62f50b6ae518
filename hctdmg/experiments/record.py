"""One run of an experiment and what came out of it, as a small JSON file. Knows files. Does not know what is measured.

A record is written whole beside its place and then renamed, so that a kill at any time leaves nothing half written.
"""

import dataclasses
import json
import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from hctdmg.training.errors import RecipeError
from hctdmg.training.fit_config import FitConfig

Metrics = dict[str, float]
"""By name; a dotted name stands for a table, as in "mae.audio.x4"."""

SIGNIFICANT = 6
"""Digits that are kept: more than any interval here has, few enough to stay small."""


@dataclass(frozen=True)
class Run:
    """What is to be done.

    Attributes:
        experiment: Its name.
        variant: What is compared within it.
        seed: Of the world's matrices, samples, first weights and batches.
        parameters: Everything else that decides the result; JSON values.
    """

    experiment: str
    variant: str
    seed: int
    parameters: Mapping[str, Any]


@dataclass(frozen=True)
class Record:
    """What came out.

    Attributes:
        experiment: As in `Run`.
        variant: As in `Run`.
        seed: As in `Run`.
        parameters: As in `Run`.
        metrics: Finite numbers.
        seconds: Of processor time that it took.
        versions: Of what computed it.
    """

    experiment: str
    variant: str
    seed: int
    parameters: Mapping[str, Any]
    metrics: Metrics
    seconds: float
    versions: Mapping[str, str]

    def of(self, prefix: str) -> Metrics:
        """The metrics below a dotted name, without it."""
        return {
            name.removeprefix(f"{prefix}."): value
            for name, value in self.metrics.items()
            if name.startswith(f"{prefix}.")
        }


def path_of(folder: Path, run: Run | Record) -> Path:
    """Where a run's record lies."""
    return folder / run.experiment / f"{run.variant}-seed{run.seed}.json"


def write_record(folder: Path, record: Record) -> None:
    """Write it; folders are made if needed. Metrics that are not finite are left out."""
    path = path_of(folder, record)
    path.parent.mkdir(parents=True, exist_ok=True)
    content = dataclasses.asdict(record)
    content["metrics"] = {
        name: float(f"{value:.{SIGNIFICANT}g}")
        for name, value in record.metrics.items()
        if math.isfinite(value)
    }
    fresh = path.with_name(f"{path.name}.new")
    fresh.write_text(json.dumps(content, indent=1, allow_nan=False) + "\n", encoding="utf-8")
    fresh.replace(path)


def find_record(folder: Path, run: Run) -> Record | None:
    """The record of exactly this run; None where there is none, or one of other parameters.

    Raises:
        RecipeError: There is a file, but it is no record.
    """
    path = path_of(folder, run)
    if not path.is_file():
        return None
    record = read_record(path)
    is_same = record.parameters == json.loads(json.dumps(run.parameters))
    return record if is_same and (record.variant, record.seed) == (run.variant, run.seed) else None


def read_record(path: Path) -> Record:
    """Read one; a setting of training that is younger than the record had its default.

    Raises:
        RecipeError: It is no record.
    """
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
        record = Record(**content)
        record = dataclasses.replace(record, parameters=_complete(record.parameters))
        is_whole = all(isinstance(value, int | float) for value in record.metrics.values())
    except (OSError, ValueError, TypeError, AttributeError) as error:
        raise RecipeError(
            f"{path}: is no record ({type(error).__name__}): remove it to run it anew"
        ) from None
    if not is_whole:
        raise RecipeError(f"{path}: a metric is no number: remove it to run it anew")
    return record


def _complete(parameters: Mapping[str, Any]) -> Mapping[str, Any]:
    if "fit" not in parameters:
        return parameters
    defaults = dataclasses.asdict(FitConfig())
    del defaults["seed"]  # it is the run's own
    return {**parameters, "fit": {**defaults, **parameters["fit"]}}
