"""Does the runs of experiments that have no record yet, in order, in one process or several. Knows runs and records.

Does not know what is measured, nor how to print.
"""

import dataclasses
import multiprocessing
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from dataclasses import dataclass
from pathlib import Path

from hctdmg.experiments.experiment import Experiment
from hctdmg.experiments.record import Record, Run, find_record, write_record
from hctdmg.experiments.setup import Setup
from hctdmg.following import follow_parent
from hctdmg.training.versions import versions


@dataclass(frozen=True)
class Progress:
    """After a run.

    Attributes:
        record: What it gave.
        num_done: Runs that now have a record.
        num_all: Runs altogether.
        left_s: Seconds until all have one, if they go on like those so far.
    """

    record: Record
    num_done: int
    num_all: int
    left_s: float


def plan(experiment: Experiment, seeds: Sequence[int], setup: Setup) -> list[Run]:
    """Its runs; all variants of a seed before the next seed, so that what is there can be compared early."""
    parameters = {**dataclasses.asdict(experiment.setup(setup)), **experiment.constants}
    del parameters["fit"]["seed"]
    return [
        Run(experiment.name, variant, seed, parameters) for seed in seeds for variant in experiment.variants
    ]


def execute(
    experiments: Sequence[Experiment],
    seeds: Sequence[int],
    setup: Setup,
    folder: Path,
    num_jobs: int = 1,
    report: Callable[[Progress], None] = lambda _: None,
) -> None:
    """Do what is missing, and write each record as soon as it is there.

    Args:
        experiments: In order.
        seeds: Of each.
        setup: Full or quick.
        folder: Of the records.
        num_jobs: Processes; 1 does everything in this one.
        report: Called after each run.

    Raises:
        RecipeError: A record is damaged.
        TrainingError: A run failed; the records of the others stay.
    """
    runs = [(one, run) for one in experiments for run in plan(one, seeds, setup)]
    missing = [(one, run) for one, run in runs if find_record(folder, run) is None]
    begun_s, num_before = time.monotonic(), len(runs) - len(missing)
    for number, record in enumerate(_records(missing, setup, num_jobs), start=1):
        write_record(folder, record)
        left_s = (time.monotonic() - begun_s) / number * (len(missing) - number)
        report(Progress(record, num_before + number, len(runs), left_s))


def perform(experiment: Experiment, run: Run, setup: Setup) -> Record:
    """Do one run."""
    begun_s = time.process_time()
    metrics = experiment.measure(run.variant, run.seed, experiment.setup(setup))
    seconds = round(time.process_time() - begun_s, 2)
    return Record(run.experiment, run.variant, run.seed, run.parameters, metrics, seconds, versions())


def _records(missing: Sequence[tuple[Experiment, Run]], setup: Setup, num_jobs: int) -> Iterator[Record]:
    if num_jobs == 1 or len(missing) < 2:
        yield from (perform(experiment, run, setup) for experiment, run in missing)
        return
    # Spawned: a forked child would inherit torch's threads in whatever state they are.
    pool = ProcessPoolExecutor(num_jobs, multiprocessing.get_context("spawn"), initializer=follow_parent)
    try:
        for future in as_completed([pool.submit(perform, one, run, setup) for one, run in missing]):
            yield future.result()
    finally:
        pool.shutdown(cancel_futures=True)
