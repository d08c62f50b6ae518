"""The command `hctdmg train`: reads the data, shows how training goes, says what came out.

Knows how to print. Does not know how anything is learned.
"""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import yaml
from rich.console import Console, Group
from rich.live import Live
from rich.table import Table
from rich.text import Text

from hctdmg.data.dataset import Dataset
from hctdmg.data.read import read_dataset
from hctdmg.data.synthetic import DEFAULT_WORLD, make_dataset
from hctdmg.training.fit_state import FitEpoch
from hctdmg.training.recipe import Recipe, make_recipe
from hctdmg.training.run import CHECKPOINT, Run, train_run
from pipelines.errors import ConfigError
from workers.folders import make_folder
from workers.output import note, print_json, print_line

SYNTHETIC = "synthetic"
SYNTHETIC_ROWS = (2_000, 500, 1_000)
SYNTHETIC_SEED = 0
NUM_SHOWN_EPOCHS = 12
BAR_WIDTH = 16


@dataclass(frozen=True)
class Request:
    """What the user asked for.

    Attributes:
        source: A path, or "synthetic".
        out: The run's folder.
        model: Name of a model.
        preset: Name of a preset; None takes the one that fits.
        settings: "KEY=VALUE", the value as YAML.
        is_resumed: Go on with what is in the folder.
        as_json: JSON lines on stdout.
        command: What was typed.
    """

    source: str
    out: Path
    model: str
    preset: str | None
    settings: Sequence[str]
    is_resumed: bool
    as_json: bool
    command: Sequence[str]


def train(request: Request) -> int:
    """Run the command.

    Raises:
        ConfigError: The data is nowhere, a setting has no value, or there is no room for the run.
        DataError: The data can't be read.
        TrainingError: It can't be trained.
    """
    data = read_source(request.source)
    recipe = make_recipe(request.model, request.preset, parse_settings(request.settings), data)
    make_folder(request.out)
    note(f"{request.source}: {data.name}, {data.task}; {recipe.model}, preset {recipe.preset}")
    with _reporting(recipe, request.as_json) as report:
        run = train_run(
            data, recipe, request.out, request.source, request.command, request.is_resumed, report
        )
    _show(run, request)
    return 0


def read_source(source: str) -> Dataset:
    """The default world, or whatever `hctdmg data describe` reads; what was put right is told.

    Raises:
        ConfigError: There is no such file.
        DataError: It can't be read.
    """
    if source == SYNTHETIC and not Path(source).exists():
        return make_dataset(DEFAULT_WORLD, *SYNTHETIC_ROWS, SYNTHETIC_SEED)
    if not Path(source).exists():
        raise ConfigError(f"{source}: there is no such file or folder; {SYNTHETIC!r} is a world made here")
    data = read_dataset(Path(source))
    for warning in data.warnings:
        note(f"warning: {warning}")
    return data


def parse_settings(settings: Sequence[str]) -> list[tuple[str, Any]]:
    """Names and values of "KEY=VALUE".

    Raises:
        ConfigError: One has no "=", or its value is no YAML.
    """
    parsed = []
    for setting in settings:
        name, equals, value = setting.partition("=")
        if not equals:
            raise ConfigError(f"--set {setting}: KEY=VALUE is needed")
        try:
            parsed.append((name.strip(), yaml.safe_load(value)))
        except yaml.YAMLError:
            raise ConfigError(f"--set {setting}: the value is no YAML") from None
    return parsed


@contextmanager
def _reporting(recipe: Recipe, as_json: bool) -> Iterator[Callable[[FitEpoch], None]]:
    """JSON lines, a live table on a terminal, or a line an epoch elsewhere."""
    console, seen = Console(stderr=True), list[FitEpoch]()
    if as_json:
        yield lambda epoch: print_json(asdict(epoch))
    elif not console.is_terminal:
        yield lambda epoch: note(_line(epoch, recipe))
    else:
        with Live(Text("first epoch"), console=console, refresh_per_second=4) as live:

            def show(epoch: FitEpoch) -> None:
                seen.append(epoch)
                live.update(_live(seen, recipe))

            yield show


def _line(epoch: FitEpoch, recipe: Recipe) -> str:
    weights = ", ".join(f"{name} {weight:.3f}" for name, weight in (epoch.gate_weights or {}).items())
    gate = f"; gate {weights}{' (frozen)' if epoch.is_gate_frozen else ''}" if weights else ""
    return (
        f"epoch {epoch.epoch}/{recipe.fit.num_epochs}: loss {epoch.loss:.4f}, "
        f"validation {epoch.valid_loss:.4f}{gate}"
    )


def _live(seen: Sequence[FitEpoch], recipe: Recipe) -> Group:
    table = Table("epoch", "loss", "validation", "rate", "seconds", box=None)
    best = min(seen, key=lambda one: one.valid_loss)
    for one in seen[-NUM_SHOWN_EPOCHS:]:
        mark = " *" if one is best else ""
        table.add_row(
            f"{one.epoch}/{recipe.fit.num_epochs}",
            f"{one.loss:.4f}",
            f"{one.valid_loss:.4f}{mark}",
            f"{one.learning_rate:.1g}",
            f"{one.seconds:.0f}",
        )
    last, gate = seen[-1], Text()
    for name, weight in (last.gate_weights or {}).items():
        bar = "█" * round(weight * BAR_WIDTH)
        role = " primary" if name == last.primary else ""
        gate.append(f"{name:>10} {weight:.3f} {bar}{role}\n")
    if last.is_gate_frozen:
        gate.append("    frozen: converged\n")
    return Group(table, gate)


def _show(run: Run, request: Request) -> None:
    checkpoint, best = request.out / CHECKPOINT, run.result.best
    if request.as_json:
        print_json(
            {
                "out": str(request.out),
                "checkpoint": str(checkpoint),
                "checkpoint_sha256": run.checkpoint_sha256,
                "best_epoch": best.epoch,
                "valid_loss": best.valid_loss,
                "gate_frozen_after": run.result.gate_frozen_after,
                "parameters": run.num_parameters,
                "servable": run.is_servable,
            }
        )
        return
    print_line(
        f"{checkpoint}: {request.model}, {run.num_parameters:,} parameters, best of {len(run.result.history)} "
        f"epochs: {best.epoch}, validation loss {best.valid_loss:.4f}"
    )
    if not run.is_servable:
        print_line("It can be evaluated, not served: no extractor here makes such features, or such answers.")
    print_line(f"Next:  hctdmg evaluate {checkpoint} {request.source}")
