"""Commands of `hctdmg` that work on labelled videos and checkpoints, away from any stream: options and their help.

What a command does is in a module of its own, imported when it runs.
"""

from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from workers.cli_options import AsJson
from workers.output import print_json, print_line, working


class Align(StrEnum):
    """What one step of `hctdmg extract`'s features is."""

    UNALIGNED = "unaligned"
    WORD = "word"


class Format(StrEnum):
    """What `hctdmg export` writes."""

    ONNX = "onnx"
    TRITON = "triton"


def export(
    checkpoint: Annotated[
        str,
        typer.Argument(
            metavar="CHECKPOINT", help="A shipped checkpoint's name, or a folder.", show_default=False
        ),
    ],
    out: Annotated[
        Path,
        typer.Option(metavar="DIR", file_okay=False, help="Where to; made if needed.", show_default=False),
    ],
    kind: Annotated[
        Format,
        typer.Option(
            "--format", help="onnx: DIR/model.onnx; triton: DIR is a model repository.", show_default=False
        ),
    ],
    as_json: AsJson = False,
) -> int:
    """Write a checkpoint as ONNX or as a Triton model repository, checked against the checkpoint.

    Example:  hctdmg export hct-dmg-starter --format triton --out models
    """
    with working("exporting", announce=True):
        from hctdmg.checkpoint import find_checkpoint, load_checkpoint
        from hctdmg.export.onnx import FILE, ExportError, export_onnx
        from hctdmg.export.triton import export_triton
        from pipelines.errors import HctDmgError

        try:
            loaded = load_checkpoint(checkpoint)
            if kind is Format.ONNX:
                difference = export_onnx(loaded, out / FILE)
            else:
                difference = export_triton(loaded, find_checkpoint(checkpoint), out)
        except ExportError as error:
            raise HctDmgError(str(error)) from None
    if as_json:
        print_json(
            {
                "out": str(out),
                "format": kind.value,
                "checkpoint_sha256": loaded.sha256,
                "max_difference": difference,
            }
        )
    else:
        print_line(
            f"{out}: {loaded.manifest.name} as {kind.value}, within {difference:.1g} of the checkpoint"
        )
    return 0


def extract(
    manifest: Annotated[
        Path,
        typer.Argument(
            metavar="MANIFEST.csv",
            exists=True,
            dir_okay=False,
            readable=True,
            help="Columns path, start_s, end_s, transcript, label (or label_NAME ...), and maybe split and language.",
            show_default=False,
        ),
    ],
    out: Annotated[
        Path,
        typer.Option(
            metavar="DIR",
            help="Where features go; made if needed. What is there is kept.",
            show_default=False,
        ),
    ],
    jobs: Annotated[
        int | None,
        typer.Option(min=1, help="Processes at a time. Default: one for each core.", show_default=False),
    ] = None,
    alignment: Annotated[
        Align, typer.Option(help="unaligned: each modality's own steps; word: one step for each word.")
    ] = Align.UNALIGNED,
    seed: Annotated[
        int, typer.Option(min=0, help="Of the split by video, when the manifest has no column for it.")
    ] = 0,
    address: Annotated[
        str | None,
        typer.Option(
            metavar="ADDRESS",
            help="Ray cluster to extract on, with the same paths on every node. Default: this machine, without Ray.",
            show_default=False,
        ),
    ] = None,
    as_json: AsJson = False,
) -> int:
    """Extract features from labelled videos with the worker's own pipeline; run again to go on after an interruption.

    Bad rows are reported and skipped, and then the exit status is 2.

    Example:  hctdmg extract labels.csv --out features
    """
    with working("starting"):
        from workers.extract import Request, extract

    return extract(Request(manifest, out, alignment.value, seed, jobs, address, as_json))
