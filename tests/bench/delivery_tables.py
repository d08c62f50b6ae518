"""What `tests.bench.delivery` found, as Markdown. Knows the record's fields, not how they came about."""

import statistics
from collections.abc import Sequence
from typing import Any

MODES = ("exactly_once", "at_least_once", "none")


def as_profile(raw: str) -> str:
    """Share of all samples in which a function of ours, or the client's outermost one, was on the stack."""
    total, inclusive, own = 0, dict[str, int](), dict[str, int]()
    for line in raw.splitlines():
        stack, _, count = line.rpartition(" ")
        frames = [frame.rsplit(":", 1)[0] for frame in stack.split(";")]
        total += int(count)
        for frame in set(frames):
            inclusive[frame] = inclusive.get(frame, 0) + int(count)
        own[frames[-1]] = own.get(frames[-1], 0) + int(count)
    lines = []
    for title, counts in (("with all that it calls", inclusive), ("itself", own)):
        lines += ["", f"| Function, {title} | Share |", "|---|---:|"]
        largest = sorted(counts.items(), key=lambda one: -one[1])[:40]
        lines += [f"| {name} | {100 * number / total:.1f} % |" for name, number in largest]
    return "\n".join(lines)


def as_tables(record: dict[str, Any]) -> str:
    """The record as Markdown."""
    return "\n".join(
        [
            as_table(record["session"], f"One session, {record['segments']} segments answered at once"),
            as_table(
                record["application"],
                f"The whole application, {record['application_segments']} cheap segments",
            ),
            f"Commit interval {record['commit_interval_s'] * 1000:g} ms, {record['machine']}; `{record['command']}`.",
            "",
        ]
    )


def as_table(runs: Sequence[dict[str, Any]], title: str) -> str:
    """Medians over the rounds, the spread in brackets."""
    if not runs:
        return ""
    lines = [
        f"{title}; median of {max(run['round'] for run in runs) + 1} rounds (least to most).",
        "",
        "| Delivery | Events/s | Of at least once | p50, ms | p99, ms | CPU per segment, ms |",
        "|---|---:|---:|---:|---:|---|",
    ]
    base = {run["round"]: run["events_per_s"] for run in runs if run["mode"] == "at_least_once"}
    for mode in MODES:
        of_mode = [run for run in runs if run["mode"] == mode]
        cpu = {
            name: spread([run["cpu_ms"].get(name, 0.0) for run in of_mode], ".2f")
            for name in of_mode[0]["cpu_ms"]
        }
        if "work_ms" in of_mode[0]:
            cpu["fetch to infer by the clock, with waits"] = spread(
                [run["work_ms"] for run in of_mode], ".1f"
            )
        cells = [
            mode.replace("_", " "),
            spread([run["events_per_s"] for run in of_mode], ".0f"),
            spread([100 * run["events_per_s"] / base[run["round"]] for run in of_mode], ".0f") + " %",
            spread([1000 * run["p50_s"] for run in of_mode], ".0f"),
            spread([1000 * run["p99_s"] for run in of_mode], ".0f"),
            "; ".join(f"{name} {text}" for name, text in cpu.items()),
        ]
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join([*lines, ""])


def spread(values: Sequence[float], form: str) -> str:
    return f"{statistics.median(values):{form}} ({min(values):{form}} to {max(values):{form}})"
