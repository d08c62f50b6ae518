"""The command `hctdmg evaluate`: scores a checkpoint, prints them, writes the report.

Knows how to print. Does not know how anything is scored.
"""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from rich.console import Console
from rich.table import Table

from hctdmg.data.fingerprint import fingerprint
from hctdmg.training.evaluate import Evaluation, Judged, as_json, evaluate_split, load_judged
from hctdmg.training.page import write_page
from hctdmg.training.report import SCORE_COLUMNS, evaluation_page, flag_rows, score_table
from hctdmg.training.versions import versions
from workers.folders import make_folder
from workers.output import note, print_json, working
from workers.train import read_source

HTML, JSON = "report.html", "report.json"


@dataclass(frozen=True)
class Request:
    """What the user asked for.

    Attributes:
        checkpoint: Folder or name.
        source: A path, or "synthetic".
        split: Its name.
        out: Where the report goes; None writes none.
        as_json: One JSON line on stdout.
    """

    checkpoint: str
    source: str
    split: str
    out: Path | None
    as_json: bool


def evaluate(request: Request) -> int:
    """Run the command.

    Raises:
        ConfigError: There is no room for the report.
        CheckpointError: The checkpoint can't be read or does not fit the data.
        DataError: The data can't be read or has nothing to score.
    """
    if request.out is not None:
        make_folder(request.out)
    judged = load_judged(request.checkpoint)
    data = read_source(request.source)
    with working("scoring"):
        evaluation = evaluate_split(judged, data, request.split)
    record = {
        "checkpoint": {"name": judged.name, "sha256": judged.sha256},
        "data": {"source": request.source, "format": data.name, "sha256": fingerprint(data)},
        "split": request.split,
        **as_json(evaluation),
        "versions": versions(),
    }
    if request.out is not None:
        write_page(
            request.out / HTML, evaluation_page(judged, data, request.source, request.split, evaluation)
        )
        (request.out / JSON).write_text(json.dumps(record, indent=1, ensure_ascii=False) + "\n", "utf-8")
    if request.as_json:
        print_json(record)
    else:
        _print(judged, evaluation, request)
    return 0


def _print(judged: Judged, evaluation: Evaluation, request: Request) -> None:
    console = Console()
    console.print(f"{judged.name} on {request.split}: {evaluation.num_samples} samples")
    if evaluation.num_left_out:
        note(f"warning: {evaluation.num_left_out} samples left out: no modality, or no label")
    console.print(_table(SCORE_COLUMNS, score_table(evaluation.scores).rows))
    if evaluation.flags is not None:
        console.print(_table(("incongruity", ""), flag_rows(evaluation.flags)))
        rows = [(name, one.num_samples, one.right, one.r) for name, one in evaluation.flags.readings.items()]
        console.print(_table(("reading", "samples", "right class", "r"), rows))
    if request.out is not None:
        console.print(f"{request.out / HTML}", soft_wrap=True)


def _table(columns: Sequence[str], rows: Sequence[Sequence[str | int | float | None]]) -> Table:
    table = Table(*columns, box=None)
    for row in rows:
        table.add_row(*(_cell(cell) for cell in row))
    return table


def _cell(value: str | int | float | None) -> str:
    if value is None:
        return "-"
    return f"{value:.3f}" if isinstance(value, float) else str(value)
