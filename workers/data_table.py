"""The command `hctdmg data describe`: a data set in figures, as tables or JSON lines.

Knows how to print. Does not know any file format.
"""

from dataclasses import asdict
from pathlib import Path

from rich.console import Console
from rich.table import Table

from hctdmg.data.dataset import Dataset
from hctdmg.data.describe import SplitSummary, describe
from hctdmg.data.read import read_dataset
from workers.output import note, print_json


def show_dataset(path: Path, as_json: bool) -> None:
    """Run the command.

    Raises:
        DataError: The file can't be read.
    """
    dataset = read_dataset(path)
    summaries = describe(dataset)
    for warning in dataset.warnings:
        note(f"warning: {warning}")
    if as_json:
        for name, summary in summaries.items():
            print_json({"split": name, "format": dataset.name, "task": dataset.task, **asdict(summary)})
        return
    console = Console()
    console.print(f"{path.name}: {dataset.name}, {dataset.task}")
    console.print(_modalities(summaries))
    console.print(_labels(dataset, summaries))


def _modalities(summaries: dict[str, SplitSummary]) -> Table:
    table = Table("split", "rows", "modality", "width", "steps, median", "steps, most", "missing", box=None)
    for split, summary in summaries.items():
        for index, (name, one) in enumerate(summary.modalities.items()):
            table.add_row(
                split if index == 0 else "",
                str(summary.num_samples) if index == 0 else "",
                name + (" (labelled)" if name in summary.unimodal else ""),
                str(one.width),
                f"{one.median_steps:g}",
                str(one.max_steps),
                f"{one.missing_share:.1%}",
            )
    return table


def _labels(dataset: Dataset, summaries: dict[str, SplitSummary]) -> Table:
    names = list(next(iter(summaries.values())).labels)
    table = Table("label" if dataset.task != "regression" else "label in", *summaries, box=None)
    for name in names:
        table.add_row(name, *(str(summary.labels[name]) for summary in summaries.values()))
    return table
