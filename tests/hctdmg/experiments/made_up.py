"""Experiments and records that were never measured: known numbers in, known tables out."""

import os
import signal
from collections.abc import Sequence
from pathlib import Path

from hctdmg.experiments.experiment import Experiment, Findings
from hctdmg.experiments.record import Metrics, Record
from hctdmg.experiments.setup import Setup
from hctdmg.experiments.tables import variants_table

WAITS = "HCTDMG_TEST_WAITS"


def make_record(variant: str, seed: int, **metrics: float) -> Record:
    return Record("made-up", variant, seed, {"name": "full"}, metrics, 1.0, {"python": "3"})


def measure(variant: str, seed: int, setup: Setup) -> Metrics:
    """One number that tells the run; the second variant never ends where the environment says so."""
    if variant == "b" and os.environ.get(WAITS):
        Path(os.environ[WAITS]).touch()
        signal.pause()
    return {"mae": seed + (0.5 if variant == "b" else 0.0), "num_train": float(setup.num_train)}


def read(records: Sequence[Record]) -> Findings:
    return Findings((variants_table(records, ("a", "b"), {"mae": "error"}, "a"),))


MADE_UP = Experiment("made-up", "Which?", "None.", ("a", "b"), measure, read)
