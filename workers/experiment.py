"""The command `hctdmg experiment`: chooses experiments, shows how they go and what they say.

Knows how to print. Does not know what any of them measures.
"""

import dataclasses
import difflib
from dataclasses import dataclass
from pathlib import Path

from hctdmg.experiments.experiment import Experiment
from hctdmg.experiments.harness import Progress, execute
from hctdmg.experiments.incongruity import incongruity_in
from hctdmg.experiments.registry import EXPERIMENTS
from hctdmg.experiments.report import plain, read_records, write_report
from hctdmg.experiments.setup import FULL, QUICK
from hctdmg.training.errors import RecipeError
from pipelines.errors import ConfigError
from pipelines.text_experiment import NAME as TEXT
from pipelines.text_experiment import STATIC, text_experiment
from workers.output import note, print_json, print_line

ALL = "all"
RECORDS = "records"


@dataclass(frozen=True)
class Request:
    """What the user asked for.

    Attributes:
        name: Of an experiment, or "all".
        num_seeds: From 0 on.
        out: Folder of the results.
        num_jobs: Processes.
        is_quick: Tiny sizes.
        data: A data set for the flag; None takes the synthetic world.
        encoder: Folder of an encoder for contextual vectors.
        as_json: JSON lines on stdout.
    """

    name: str
    num_seeds: int
    out: Path
    num_jobs: int
    is_quick: bool
    data: Path | None
    encoder: Path | None
    as_json: bool


def run_experiments(request: Request) -> int:
    """Run the command.

    Raises:
        ConfigError: There is no such experiment, or an option does not belong to it.
        DataError: The data set can't be read.
        TrainingError: A run failed; what was done before it stays.
    """
    chosen = choose(request)
    _check_out(request)
    setup = QUICK if request.is_quick else FULL
    folder = request.out / RECORDS
    execute(
        chosen,
        range(request.num_seeds),
        setup,
        folder,
        request.num_jobs,
        lambda one: _show(one, request.as_json),
    )
    for experiment in chosen:
        findings = write_report(request.out, experiment, read_records(folder, experiment))
        if not request.as_json:
            print_line(f"\n{experiment.name}: {experiment.question}")
            for table in findings.tables:
                print_line(plain(table))
    if not request.as_json:
        print_line(f"\n{request.out}: tables, pictures and pages of {', '.join(one.name for one in chosen)}")
    return 0


def choose(request: Request) -> list[Experiment]:
    """The experiments that are asked for, in order.

    Raises:
        ConfigError: There is no such experiment, or an option does not belong to it.
    """
    known = {**EXPERIMENTS, TEXT: text_experiment(request.encoder)}
    if request.name != ALL and request.name not in known:
        near = difflib.get_close_matches(request.name, [*known, ALL], 1)
        hint = f"; did you mean {near[0]}?" if near else ""
        raise ConfigError(f"no experiment {request.name!r}{hint} There are {', '.join(known)} and {ALL}")
    if request.data is not None:
        if request.name != "incongruity":
            raise ConfigError(f"--data is for incongruity, not for {request.name}: leave it out")
        if not request.data.exists():
            raise ConfigError(f"--data {request.data}: there is no such file or folder")
        return [incongruity_in(request.data)]
    if request.encoder is None and request.name == TEXT:
        raise ConfigError(
            "text needs --encoder DIR, the folder of a Hugging Face encoder with its safetensors"
        )
    if request.encoder is not None and request.name not in (TEXT, ALL):
        raise ConfigError(f"--encoder is for text, not for {request.name}: leave it out")
    if request.name != ALL:
        return [known[request.name]]
    if request.encoder is None:
        note("text: its contextual half is left out, for it needs --encoder DIR")
        known[TEXT] = dataclasses.replace(known[TEXT], variants=(STATIC,))
    return list(known.values())


def _check_out(request: Request) -> None:
    """Quick numbers must not come to lie among those that mean something."""
    marker = request.out / RECORDS
    if (
        request.is_quick
        and marker.is_dir()
        and not (request.out / "quick").exists()
        and any(marker.iterdir())
    ):
        raise RecipeError(f"{request.out} holds full results: give --quick another folder with --out")
    if request.is_quick:
        request.out.mkdir(parents=True, exist_ok=True)
        (request.out / "quick").touch()
    elif (request.out / "quick").exists():
        raise RecipeError(f"{request.out} holds quick results: give another folder with --out")


def _show(progress: Progress, as_json: bool) -> None:
    record = progress.record
    if as_json:
        print_json(dataclasses.asdict(record))
        return
    left = (
        f"{progress.left_s / 60:.0f} min left" if progress.left_s >= 60 else f"{progress.left_s:.0f} s left"
    )
    note(
        f"{progress.num_done}/{progress.num_all} {record.experiment} {record.variant} seed {record.seed}: "
        f"{record.seconds:.0f} s; about {left}"
    )
