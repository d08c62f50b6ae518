"""The command `hctdmg experiment`: options and their help.

What it does is in a module of its own, imported when it runs.
"""

from pathlib import Path
from typing import Annotated

import typer

from workers.cli_options import AsJson
from workers.output import working


def experiment(
    name: Annotated[
        str,
        typer.Argument(
            metavar="NAME",
            help="attention-distortion, recovery, hierarchy, incongruity, noise, freeze, compare, layers, modalities, "
            "text, or all.",
            show_default=False,
        ),
    ],
    seeds: Annotated[int, typer.Option(min=1, help="How many, from 0 on.")] = 5,
    out: Annotated[
        Path,
        typer.Option(
            metavar="DIR",
            file_okay=False,
            help="Folder of the results; runs whose record lies in DIR/records are not done again.",
        ),
    ] = Path("docs/results/science"),
    jobs: Annotated[int, typer.Option(min=1, help="Processes; each computes with one thread.")] = 1,
    quick: Annotated[
        bool, typer.Option("--quick", help="Tiny sizes, to see that it runs: the numbers mean nothing.")
    ] = False,
    data: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE",
            help="incongruity: judge it on this data set, whose modalities people labelled on their own (CH-SIMS).",
            show_default=False,
        ),
    ] = None,
    encoder: Annotated[
        Path | None,
        typer.Option(
            metavar="DIR",
            help="text: folder of a Hugging Face encoder; nothing is downloaded.",
            show_default=False,
        ),
    ] = None,
    as_json: AsJson = False,
) -> int:
    """Try what the paper claims on a world whose truth is known; DIR then holds records, tables, pictures and pages.

    Example:  hctdmg experiment hierarchy --out results --jobs 2
    """
    with working("starting"):
        from workers.experiment import Request, run_experiments

    return run_experiments(Request(name, seeds, out, jobs, quick, data, encoder, as_json))
