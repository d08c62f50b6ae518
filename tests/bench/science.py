"""Does the science again: every table and picture from the records, then a subset of the runs, compared with theirs.

    python -m tests.bench.science            # `make science`: seed 0 of every variant that has a record
    python -m tests.bench.science --quick    # `make science-quick`: two of them

Two numbers agree when they differ by at most 0.02 + 10 % of the recorded one: on one kind of machine they are the same
to the last digit, but another processor rounds differently, and training lets that grow. So `--quick`, for any
machine, compares the test error alone, and allows 0.15: as much as seeds differ by. Which modality comes out as
primary is not compared, for two gates as good as equal may change places; nor is anything timed. Knows records and
runs. Does not know what is measured.
"""

import argparse
import multiprocessing
import sys
from concurrent.futures import ProcessPoolExecutor

from hctdmg.experiments.experiment import Experiment
from hctdmg.experiments.harness import perform, plan
from hctdmg.experiments.record import Metrics, Record, Run, find_record
from hctdmg.experiments.setup import FULL
from hctdmg.following import follow_parent
from tests.bench import science_page

ABSOLUTE, RELATIVE = 0.02, 0.10
QUICK_COMPARED, QUICK_ABSOLUTE = "mae", 0.15
NOT_COMPARED = ("primary.", "after.primary.", "recovered", "frozen_after", "train_s", "items_per_s", "bin.")
QUICK = (("attention-distortion", "hct-dmg"), ("attention-distortion", "mult"))
SEED = 0

Task = tuple[Experiment, Run, Record]


def main() -> int:
    """Rebuild, retrain, compare; 1 when anything differs."""
    parser = argparse.ArgumentParser(prog="python -m tests.bench.science", description=__doc__)
    parser.add_argument("--quick", action="store_true", help="two runs, a minute")
    parser.add_argument("--jobs", type=int, default=2)
    arguments = parser.parse_args()
    drifted = science_page.drifted()
    science_page.write()
    tasks = subset(arguments.quick)
    print(
        f"tables and pictures rebuilt, {' '.join(drifted) or 'nothing'} had drifted; {len(tasks)} runs again"
    )
    differences = int(not tasks)
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(arguments.jobs, context, initializer=follow_parent) as pool:
        for (_, run, record), fresh in zip(tasks, pool.map(_again, tasks), strict=True):
            wrong = (
                far_apart(record.metrics, fresh.metrics)
                if arguments.quick
                else differing(record.metrics, fresh.metrics)
            )
            differences += bool(wrong)
            verdict = "; ".join(wrong[:3]) if wrong else "agrees"
            print(
                f"{run.experiment} {run.variant} seed {run.seed}: {fresh.seconds:.0f} s, {verdict}",
                flush=True,
            )
    return int(bool(differences or drifted))


def subset(is_quick: bool) -> list[Task]:
    """The runs to be done again; the contextual half of `text` needs an encoder and is left out."""
    tasks = []
    for experiment in science_page.experiments():
        for run in plan(experiment, (SEED,), FULL):
            record = find_record(science_page.RECORDS, run)
            is_wanted = (run.experiment, run.variant) in QUICK if is_quick else run.variant != "contextual"
            if record is not None and is_wanted:
                tasks.append((experiment, run, record))
    return tasks


def _again(task: Task) -> Record:
    experiment, run, _ = task
    return perform(experiment, run, FULL)


def far_apart(recorded: Metrics, fresh: Metrics) -> list[str]:
    """What no processor explains, in words."""
    before, now = recorded[QUICK_COMPARED], fresh.get(QUICK_COMPARED, float("inf"))
    is_near = abs(now - before) <= QUICK_ABSOLUTE
    return [] if is_near else [f"{QUICK_COMPARED} is {now:.4g}, recorded {before:.4g}"]


def differing(recorded: Metrics, fresh: Metrics) -> list[str]:
    """What is not equal within the tolerance, in words."""
    found = []
    for name, value in recorded.items():
        if name.startswith(NOT_COMPARED):
            continue
        if name not in fresh:
            found.append(f"{name} is missing")
        elif abs(fresh[name] - value) > ABSOLUTE + RELATIVE * abs(value):
            found.append(f"{name} is {fresh[name]:.4g}, recorded {value:.4g}")
    return found


if __name__ == "__main__":
    sys.exit(main())
