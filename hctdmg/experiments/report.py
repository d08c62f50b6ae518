"""What an experiment's records say, as JSON, pictures, one HTML page and Markdown. Knows findings, not measurements."""

import dataclasses
import hashlib
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from hctdmg.experiments.experiment import Experiment, Findings
from hctdmg.experiments.record import Record, read_record
from hctdmg.training.page import Cell, Page, Section, Table, settings_table, write_page

NOTHING = "No records yet."


def read_records(folder: Path, experiment: Experiment) -> list[Record]:
    """The records that there are of its variants, in their order and by seed.

    Raises:
        RecipeError: One is damaged.
    """
    found = [read_record(path) for path in sorted((folder / experiment.name).glob("*.json"))]
    order = {variant: place for place, variant in enumerate(experiment.variants)}
    kept = [one for one in found if one.variant in order]
    return sorted(kept, key=lambda one: (order[one.variant], one.seed))


def read_findings(experiment: Experiment, records: Sequence[Record]) -> Findings:
    """What they say; without any, nothing."""
    return experiment.read(records) if records else Findings(())


def write_report(folder: Path, experiment: Experiment, records: Sequence[Record]) -> Findings:
    """Write NAME.json, NAME-1.svg and so on, and NAME.html.

    Args:
        folder: Made if needed.
        experiment: Its words.
        records: At least one.
    """
    findings = experiment.read(records)
    folder.mkdir(parents=True, exist_ok=True)
    _write(folder / f"{experiment.name}.json", _text(experiment, len(records), findings))
    for number, picture in enumerate(findings.pictures, start=1):
        (folder / f"{experiment.name}-{number}.svg").write_bytes(picture.svg)
    write_page(folder / f"{experiment.name}.html", _page(experiment, records, findings))
    return findings


def as_text(experiment: Experiment, records: Sequence[Record]) -> str:
    """What NAME.json holds."""
    return _text(experiment, len(records), experiment.read(records))


def _text(experiment: Experiment, num_runs: int, findings: Findings) -> str:
    content = {
        "experiment": experiment.name,
        "question": experiment.question,
        "method": experiment.method,
        "runs": num_runs,
        "tables": [_as_json(table) for table in findings.tables],
    }
    return json.dumps(content, indent=1, ensure_ascii=False) + "\n"


def markdown(experiment: Experiment, findings: Findings, folder: str) -> str:
    """Tables and pictures for a page that lies beside the folder of the report."""
    parts = [_table(table) for table in findings.tables]
    parts += [
        f"![{picture.caption}]({folder}/{experiment.name}-{number}.svg)"
        for number, picture in enumerate(findings.pictures, start=1)
    ]
    return "\n\n".join(parts) + "\n" if parts else f"{NOTHING}\n"


def plain(table: Table) -> str:
    """A table for a terminal."""
    rows = [[*table.columns], *[[_show(cell) for cell in row] for row in table.rows]]
    widths = [max(len(row[column]) for row in rows) for column in range(len(table.columns))]
    lines = [
        "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in rows
    ]
    return "\n".join([table.caption, *lines] if table.caption else lines)


def _page(experiment: Experiment, records: Sequence[Record], findings: Findings) -> Page:
    runs = Table(
        ("variant", "seed", "processor seconds"), [[one.variant, one.seed, one.seconds] for one in records]
    )
    first = records[0]
    return Page(
        f"Experiment: {experiment.name}",
        (
            Section(experiment.question, (experiment.method,)),
            Section("Findings", tables=findings.tables, pictures=findings.pictures),
            Section(
                "Configuration",
                (
                    "All data are made from these parameters and the seed.",
                    f"SHA-256 of the records' numbers: {digest(records)}",
                ),
                (
                    settings_table(first.parameters),
                    settings_table(first.versions, "Versions of the first run"),
                ),
            ),
            Section("Runs", tables=(runs,)),
        ),
    )


def digest(records: Sequence[Record]) -> str:
    """Of what the findings rest on: runs, parameters and metrics, not seconds or versions."""
    content = [[one.experiment, one.variant, one.seed, one.parameters, one.metrics] for one in records]
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()


def _as_json(table: Table) -> dict[str, Any]:
    return {**dataclasses.asdict(table), "rows": [list(row) for row in table.rows]}


def _table(table: Table) -> str:
    aligned = "|".join("---" if column == 0 else "---:" for column in range(len(table.columns)))
    lines = [f"| {' | '.join(table.columns)} |", f"|{aligned}|"]
    lines += [f"| {' | '.join(map(_show, row))} |" for row in table.rows]
    return "\n".join([f"{table.caption}:", "", *lines] if table.caption else lines)


def _show(cell: Cell) -> str:
    if cell is None:
        return "-"
    return f"{cell:.4g}" if isinstance(cell, float) else str(cell)


def _write(path: Path, text: str) -> None:
    fresh = path.with_name(f"{path.name}.new")
    fresh.write_text(text, encoding="utf-8")
    fresh.replace(path)
