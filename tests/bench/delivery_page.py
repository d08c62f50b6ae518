"""Writes the measured tables of docs/delivery.md from the committed results.

    python -m tests.bench.delivery_page            # from docs/results/chaos/*.json, delivery.json and soak.json
    python -m tests.bench.delivery_page --check    # fails if the page says anything else

Knows the results' fields and Markdown. Does not know how they came about.
"""

import json
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from tests.bench import delivery_tables, soak

REPO = Path(__file__).parent.parent.parent
PAGE = REPO / "docs" / "delivery.md"
RESULTS = REPO / "docs" / "results"
NOTHING = "Not run yet.\n"
COLUMNS = (
    "Delivery",
    "Seed",
    "Faults",
    "Records",
    "Answered",
    "Lost",
    "Doubled",
    "Out of order",
    "Stray",
    "Dead letters wrong or missing",
    "Answers/s without, with faults",
    "Recovery p50, p99, most, s",
    "Kept",
)
MUST_BE_ZERO = ("lost", "doubled", "out_of_order", "stray")


def main() -> int:
    """Write, or check."""
    page = PAGE.read_text()
    written = rewritten(page, {"chaos": chaos(), "cost": cost(), "soak": memory()})
    if "--check" in sys.argv[1:]:
        if page != written:
            print(f"{PAGE.name} is not what the results say: run python -m tests.bench.delivery_page")
        return int(page != written)
    PAGE.write_text(written)
    return 0


def rewritten(page: str, blocks: Mapping[str, str]) -> str:
    """The page with each block between its markers."""
    for name, text in blocks.items():
        begin, end = (
            f"<!-- {name}: written by python -m tests.bench.delivery_page -->\n",
            f"<!-- end of {name} -->",
        )
        before, has_begin, rest = page.partition(begin)
        _, has_end, after = rest.partition(end)
        if not has_begin or not has_end:
            raise ValueError(f"{PAGE.name} has no place for {name!r}: put {begin.strip()} and {end} there")
        page = f"{before}{begin}{text}{end}{after}"
    return page


def chaos() -> str:
    """A row for each run, then what the largest one did by kind of fault."""
    runs = [json.loads(path.read_text()) for path in sorted((RESULTS / "chaos").glob("*.json"))]
    if not runs:
        return NOTHING
    runs.sort(key=lambda run: -run["arguments"]["num_faults"])
    return "\n".join([*chaos_runs(runs), "", *chaos_kinds(runs[0])]) + "\n"


def chaos_runs(runs: list[dict[str, Any]]) -> list[str]:
    """What came out of each run."""
    lines = [
        f"| {' | '.join(COLUMNS)} |",
        f"|---|{'---:|' * (len(COLUMNS) - 2)}---|",
    ]
    for run in runs:
        counts, arguments, recovery = run["counts"], run["arguments"], run["recovery_s"]["all"]
        rates = (number(run["throughput_per_s"][name]) for name in ("without_faults", "with_faults"))
        wrong = counts.get("not_dead_lettered", 0) + counts.get("wrongly_dead_lettered", 0)
        cells = [
            arguments["delivery"].replace("_", " "),
            arguments["seed"],
            sum(run["faults_by_kind"].values()),
            counts.get("expected", "-"),
            counts.get("distinct", "-"),
            *(counts.get(name, "-") for name in MUST_BE_ZERO),
            f"{wrong} of {run['dead_letters_planted']}",
            ", ".join(rates),
            ", ".join(number(recovery[name]) for name in ("p50", "p99", "max")),
            "yes" if run["passed"] else "**no**",
        ]
        lines.append(f"| {' | '.join(map(str, cells))} |")
    return lines


def chaos_kinds(run: dict[str, Any]) -> list[str]:
    """Faults and recovery of one run."""
    lines = [
        f"Seconds until each partition is answered again, by fault, of seed {run['arguments']['seed']}:",
        "",
        "| Fault | Number | p50 | p95 | Most |",
        "|---|---:|---:|---:|---:|",
    ]
    by_kind = run["recovery_s"]["by_kind"] | {"killed consumers": run["recovery_s"]["killed_consumers"]}
    for kind, found in by_kind.items():
        num = run["faults_by_kind"].get(kind, found["num"])
        lines.append(
            f"| {kind} | {num} | {' | '.join(number(found[one]) for one in ('p50', 'p95', 'max'))} |"
        )
    return lines


def cost() -> str:
    """As the bench prints it."""
    path = RESULTS / "delivery.json"
    return delivery_tables.as_tables(json.loads(path.read_text())) if path.is_file() else NOTHING


def memory() -> str:
    """As the soak prints it, with its picture."""
    path = RESULTS / "soak.json"
    if not path.is_file():
        return NOTHING
    picture = "\n![memory of each process](results/soak.png)\n"
    return soak.as_table(json.loads(path.read_text())) + picture


def number(value: float | None) -> str:
    """A number, or that there is none."""
    return "-" if value is None else f"{value:.1f}"


if __name__ == "__main__":
    sys.exit(main())
