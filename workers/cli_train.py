"""The commands `hctdmg train` and `hctdmg evaluate`: options and their help.

What a command does is in a module of its own, imported when it runs. Importing this loads neither torch nor numpy.
"""

import sys
from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from workers.cli_options import AsJson
from workers.output import working

Source = Annotated[
    str,
    typer.Argument(
        metavar="DATA",
        help="Whatever `hctdmg data describe` reads, a folder that `hctdmg extract` filled, or 'synthetic', a world "
        "that is made here.",
        show_default=False,
    ),
]


class SplitName(StrEnum):
    """A split of a data set."""

    TRAIN = "train"
    VALID = "valid"
    TEST = "test"


def train(
    source: Source,
    out: Annotated[
        Path,
        typer.Option(
            metavar="DIR", file_okay=False, help="Folder of the run; made if needed.", show_default=False
        ),
    ],
    model: Annotated[str, typer.Option(help="hct-dmg, or a peer: mult, ef-lstm, lf-lstm, ...")] = "hct-dmg",
    preset: Annotated[
        str | None,
        typer.Option(
            help="mosi, mosei, iemocap, synthetic or own. Default: what the data looks like.",
            show_default=False,
        ),
    ] = None,
    settings: Annotated[
        list[str] | None,
        typer.Option(
            "--set",
            metavar="KEY=VALUE",
            help="Change a setting of the preset, such as num_epochs=5, modality_dropout=0.2, dim=32 or "
            "kernel_size.text=1. Repeatable.",
            show_default=False,
        ),
    ] = None,
    resume: Annotated[
        bool, typer.Option("--resume", help="Go on with the run in DIR; the same settings are needed.")
    ] = False,
    as_json: AsJson = False,
) -> int:
    """Train a model; DIR then holds the checkpoint, metrics, curves and all that is needed to repeat it.

    Example:  hctdmg train mosi_data.pkl --out runs/mosi
    """
    with working("reading", announce=False):
        from workers.train import Request, train

        request = Request(
            source, out, model, preset, settings or (), resume, as_json, ["hctdmg", *sys.argv[1:]]
        )
    return train(request)


def evaluate(
    checkpoint: Annotated[
        str,
        typer.Argument(
            metavar="CHECKPOINT",
            help="Folder of a checkpoint or of a run, or a shipped one's name.",
            show_default=False,
        ),
    ],
    source: Source,
    split: Annotated[SplitName, typer.Option(help="Which samples.")] = SplitName.TEST,
    out: Annotated[
        Path | None,
        typer.Option(
            metavar="DIR",
            file_okay=False,
            help="Also write report.html and report.json there.",
            show_default=False,
        ),
    ] = None,
    as_json: AsJson = False,
) -> int:
    """Score a checkpoint on a data set: both conventions, floors, 95 % intervals, and its incongruity.

    Example:  hctdmg evaluate runs/mosi mosi_data.pkl --out reports/mosi
    """
    with working("starting"):
        from workers.evaluate import Request, evaluate

        request = Request(checkpoint, source, split.value, out, as_json)
    return evaluate(request)
