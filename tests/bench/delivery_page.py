"""Writes the measured tables of docs/delivery.md from the committed results.

    python -m tests.bench.delivery_page            # from docs/results/chaos/*.json, delivery.json and soak.json
    python -m tests.bench.delivery_page --check    # fails if the page says anything else

Knows the results' fields and Markdown. Does not know how they came about.
"""

import json
import sys
from typing import Any

from tests.bench import delivery_tables, soak
from tests.bench.blocks import DOCS, RESULTS, check_or_write

PAGE = DOCS / "delivery.md"
COMMAND = "python -m tests.bench.delivery_page"
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
    blocks = {"chaos": chaos(), "cost": cost(), "soak": memory()}
    return check_or_write(PAGE.name, blocks, COMMAND, "--check" in sys.argv[1:])


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
