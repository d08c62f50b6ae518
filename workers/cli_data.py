"""The commands `hctdmg data`: options and their help. What they do is in `workers.data_table`.

Importing this loads neither torch nor numpy.
"""

from pathlib import Path
from typing import Annotated

import typer

from workers.output import working

app = typer.Typer(no_args_is_help=True, help="Look at data sets.")


@app.command("describe")
def _describe(
    path: Annotated[
        Path,
        typer.Argument(
            metavar="FILE",
            exists=True,
            readable=True,
            help="A pickle of MulT, MMSA or MultiBench, MFN's folder, or one that `hctdmg extract` filled.",
            show_default=False,
        ),
    ],
    as_json: Annotated[
        bool, typer.Option("--json", help="JSON lines on stdout, and nothing else there.")
    ] = False,
) -> None:
    """Print a data set's splits, widths, lengths, labels and what is missing.

    Example:  hctdmg data describe mosi_data.pkl
    """
    with working("reading"):
        from workers.data_table import show_dataset

        show_dataset(path, as_json)
