"""Writes what docs/results/science.md shows of the experiments' records, and their pictures; also the world's picture.

    python -m tests.bench.science_page            # from docs/results/science/records
    python -m tests.bench.science_page --check    # fails if tables or page say anything else

Knows Markdown and where things lie. Does not know how a record came about.
"""

import sys
from pathlib import Path

from hctdmg.data.synthetic import DEFAULT_WORLD
from hctdmg.experiments.experiment import Experiment
from hctdmg.experiments.registry import EXPERIMENTS
from hctdmg.experiments.report import as_text, markdown, read_findings, read_records, write_report
from hctdmg.experiments.setup import NUM_SEEDS
from hctdmg.experiments.world_picture import world_picture
from pipelines.text_experiment import text_experiment

REPO = Path(__file__).parent.parent.parent
PAGE = REPO / "docs" / "results" / "science.md"
FOLDER = REPO / "docs" / "results" / "science"
RECORDS = FOLDER / "records"
WORLD = REPO / "docs" / "images" / "world.svg"


def main() -> int:
    """Write, or check."""
    if "--check" not in sys.argv[1:]:
        write()
        return 0
    for name in (names := drifted()):
        print(f"{name} is not what the records say: run python -m tests.bench.science_page")
    return int(bool(names))


def drifted() -> list[str]:
    """Names of the committed files that the records do not give: the page, and tables."""
    page = PAGE.read_text(encoding="utf-8")
    found = [] if page == rewritten(page) else [PAGE.name]
    for experiment in experiments():
        path, records = FOLDER / f"{experiment.name}.json", read_records(RECORDS, experiment)
        expected = as_text(experiment, records) if records else None
        if (path.read_text(encoding="utf-8") if path.is_file() else None) != expected:
            found.append(path.name)
    return found


def write() -> None:
    """Everything anew."""
    for experiment in experiments():
        if records := read_records(RECORDS, experiment):
            write_report(FOLDER, experiment, records)
    WORLD.write_bytes(world_picture(DEFAULT_WORLD, "vision").svg)
    PAGE.write_text(rewritten(PAGE.read_text(encoding="utf-8")), encoding="utf-8")


def experiments() -> list[Experiment]:
    """All of them, in order."""
    return [*EXPERIMENTS.values(), text_experiment(None)]


def rewritten(page: str) -> str:
    """The page with each block between its markers."""
    blocks = {"runs": runs()}
    for experiment in experiments():
        findings = read_findings(experiment, read_records(RECORDS, experiment))
        blocks[experiment.name] = markdown(experiment, findings, FOLDER.name)
    for name, text in blocks.items():
        begin, end = (
            f"<!-- {name}: written by python -m tests.bench.science_page -->\n",
            f"<!-- end of {name} -->",
        )
        before, has_begin, rest = page.partition(begin)
        _, has_end, after = rest.partition(end)
        if not has_begin or not has_end:
            raise ValueError(f"{PAGE.name} has no place for {name!r}: put {begin.strip()} and {end} there")
        page = f"{before}{begin}{text}{end}{after}"
    return page


def runs() -> str:
    """How many runs of each experiment have a record, and what they cost."""
    lines = ["| Experiment | Runs with a record | Planned | Processor minutes |", "|---|---:|---:|---:|"]
    total_s, done, planned = 0.0, 0, 0
    for experiment in experiments():
        records = read_records(RECORDS, experiment)
        spent_s = sum(one.seconds for one in records)
        num = len(experiment.variants) * NUM_SEEDS
        lines.append(f"| {experiment.name} | {len(records)} | {num} | {spent_s / 60:.1f} |")
        total_s, done, planned = total_s + spent_s, done + len(records), planned + num
    lines.append(f"| **all** | {done} | {planned} | {total_s / 60:.1f} |")
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    sys.exit(main())
