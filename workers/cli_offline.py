"""Commands of `hctdmg` that work on checkpoints, away from any stream: options and their help.

What a command does is in a module of its own, imported when it runs.
"""

from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from workers.output import print_json, print_line, working


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
    as_json: Annotated[
        bool, typer.Option("--json", help="One JSON object a line on stdout, nothing else there.")
    ] = False,
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
