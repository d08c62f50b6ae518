"""Writes the tables of docs/results/benchmarks.md from docs/results/benchmarks.json.

    python -m tests.bench.benchmark_page            # --check: fails if the page says anything else

Knows the record's fields and Markdown. Does not measure.
"""

import json
import statistics
import sys
from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence

from tests.bench.benchmark_figures import (
    Record,
    by_load,
    failures,
    lots_per_s,
    percentile,
    rates,
    targets,
)
from tests.bench.blocks import RESULTS, check_or_write
from tests.bench.capacity_page import number, quantity, table

PAGE = "results/benchmarks.md"
COMMAND = "python -m tests.bench.benchmark_page"
RECORD = RESULTS / "benchmarks.json"
NOTHING = "Not measured.\n"
STAGES = ("plain decode", "parse", "fetch", "decode", "text", "audio", "vision", "align", "infer")


def main() -> int:
    """Write, or check."""
    record = json.loads(RECORD.read_text()) if RECORD.is_file() else None
    return write(record, "--check" in sys.argv[1:])


def write(record: Record | None, is_check: bool = False) -> int:
    """The page's tables."""
    return check_or_write(PAGE, blocks(record), COMMAND, is_check)


def as_text(record: Record) -> str:
    """All tables, for a terminal."""
    return "\n".join(f"{name}\n\n{text}" for name, text in blocks(record).items())


def blocks(record: Record | None) -> dict[str, str]:
    """Each table by its name; those of parts that were not measured say so."""
    needs: dict[str, tuple[tuple[str, ...], Callable[[Record], str]]] = {
        "run": ((), the_run),
        "targets": ((), target_table),
        "backlog": (("decode", "plain", "worker", "mult", "ray-data"), backlog),
        "small arrivals": (("worker", "ray-data"), small_arrivals),
        "latency": (("latency",), latency),
        "model": (("model",), model),
        "CPU by stage": (("stages",), cpu_by_stage),
        "bytes by stage": (("stages",), bytes_by_stage),
        "CPU by process": (("worker", "mult"), cpu_by_process),
        "processes": (("worker",), processes),
    }
    written = {}
    for name, (parts, make) in needs.items():
        is_there = record is not None and (not parts or any(part in record["parts"] for part in parts))
        written[name] = make(record) if is_there and record is not None else NOTHING
    return written


def the_run(record: Record) -> str:
    """How it came about, and what failed."""
    sizes = record["sizes"]
    changed = f" With {', '.join(record['settings'])}." if record["settings"] else ""
    lines = [
        f"`{record['command']}` at {record['commit']}, {record['date']} UTC, {record['minutes']:g} minutes.{changed}",
        f"{record['machine']}; load average before: {record['load_average']:.1f}.",
        f"{sizes['rounds']} rounds of the contenders in turn, a backlog of {sizes['segments']} segments a process.",
        "Figures are medians, in brackets least to most.",
    ]
    lines += [
        f"{', '.join(one['parts'])} measured again at {one['commit']}, {one['date']} UTC."
        for one in record.get("again", ())
    ]
    lines += [f"**Not measured**: {one}." for one in failures(record)]
    return "\n".join(lines) + "\n"


def target_table(record: Record) -> str:
    """Each target, its figure, and whether it is met."""
    verdict = {True: "met", False: "**missed**", None: "not measured"}
    rows = [
        [
            one.name,
            f"{one.relation} {one.limit:g}",
            "-" if not one.figures else spread(one.figures, ".2f"),
            verdict[one.is_met],
        ]
        for one in targets(record)
    ]
    return table(["Target", "Wanted", "Figure", ""], rows)


def backlog(record: Record) -> str:
    """Segments a second by contender and number of processes."""
    found = rates(record)
    rows = []
    for name, by_replicas in found.items():
        cells = [by_replicas.get(str(one), []) for one in record["replicas"]]
        rows.append([name, *(spread(values, ".2f") if values else "-" for values in cells)])
    return table(["Segments a second", *(f"{one} on as many cores" for one in record["replicas"])], rows)


def small_arrivals(record: Record) -> str:
    """Segments a second where the next lot comes when the last one is answered."""
    size = record["sizes"]["lot_size"]
    rows = [
        [name, spread(values, ".2f"), spread([size / value for value in values], ".2f")]
        for name, values in lots_per_s(record).items()
    ]
    return table([f"Lots of {size}", "Segments a second", "Seconds a lot"], rows)


def latency(record: Record) -> str:
    """Beside the queue's prediction."""
    (found,) = record["parts"]["latency"]
    rows = []
    for busy, load in by_load(found).items():
        p99_s, wanted_s, traced_s = (
            percentile(values, 99) for values in (load.seen_s, load.predicted_s, load.traced_s)
        )
        rows.append(
            [
                f"{100 * busy:.0f} %",
                str(len(load.seen_s)),
                f"{percentile(load.seen_s, 50):.2f}",
                f"{percentile(load.predicted_s, 50):.2f}",
                f"{p99_s:.2f}",
                f"{wanted_s:.2f}",
                f"{p99_s / wanted_s:.2f}",
                f"{traced_s:.2f}",
                f"{p99_s / traced_s:.2f}",
            ]
        )
    head = ["Load", "Segments", "p50, s", "M/D/c", "p99, s", "M/D/c", "Ratio", "Traced", "Ratio"]
    capacities = [capacity for load in found["loads"] for capacity in load["capacity_per_s"]]
    capacity = (
        f"Capacity {spread(capacities, '.2f')} segments a second, with {found['replicas']} extractors.\n\n"
    )
    return capacity + table(head, rows)


def model(record: Record) -> str:
    """Items a second by backend, batch and length."""
    (found,) = record["parts"]["model"]
    by_shape: dict[tuple[int, int], dict[str, list[float]]] = defaultdict(dict)
    for one in found["speeds"]:
        by_shape[one["batch"], one["steps"]][one["backend"]] = one["items_per_s"]
    backends = list(next(iter(by_shape.values())))
    rows = [
        [str(batch), str(steps), *(spread(speeds[name], ".0f") for name in backends)]
        for (batch, steps), speeds in by_shape.items()
    ]
    return table(["Batch", "Steps", *(f"{name}, items/s" for name in backends)], rows)


def cpu_by_stage(record: Record) -> str:
    """Milliseconds of a core, of each clip."""
    (found,) = record["parts"]["stages"]
    rows = [
        [
            stage,
            *(
                spread([1000 * one[stage] for one in clip["seconds"]], ".1f")
                for clip in found["clips"].values()
            ),
        ]
        for stage in STAGES
    ]
    return table(["ms of CPU", *found["clips"]], rows)


def bytes_by_stage(record: Record) -> str:
    """What goes from one stage to the next, and the event."""
    (found,) = record["parts"]["stages"]
    clips = list(found["clips"].values())
    rows = [
        [name, *(quantity(clip["num_bytes"][name], "B") for clip in clips)] for name in clips[0]["num_bytes"]
    ]
    sizes = [
        one["event_bytes"] for run in record["parts"].get("worker", ()) for one in run["replicas"].values()
    ]
    if sizes:
        rows.append(["event", *[quantity(statistics.median(sizes), "B")] * len(clips)])
    return table(["Bytes of a segment", *found["clips"]], rows)


def cpu_by_process(record: Record) -> str:
    """Milliseconds of a core, of each kind of process, by application."""
    by_application: dict[str, list[Mapping[str, float]]] = defaultdict(list)
    for part, name in (("worker", "HCT-DMG"), ("mult", "MulT")):
        for run in record["parts"].get(part, ()):
            for replicas, one in run["replicas"].items():
                by_application[f"{name}, {replicas} extractors"].append(one["cpu_ms"])
    kinds = sorted({kind for runs in by_application.values() for run in runs for kind in run})
    rows = [
        [kind, *(spread([run.get(kind, 0.0) for run in runs], ".1f") for runs in by_application.values())]
        for kind in kinds
    ]
    return table(["ms of CPU a segment", *by_application], rows)


def processes(record: Record) -> str:
    """Start-up and memory, of the largest number of replicas; processes of one kind together."""
    runs = [run["replicas"][str(max(record["replicas"]))] for run in record["parts"]["worker"]]
    by_kind: dict[str, list[list[Mapping[str, float]]]] = defaultdict(list)
    for run in runs:
        for kind in {one["kind"] for one in run["processes"]}:
            by_kind[kind].append([one for one in run["processes"] if one["kind"] == kind])
    rows = [
        [
            kind,
            number(statistics.mean(map(len, of_runs))),
            spread([min(one["begun_s"] for one in found) for found in of_runs], ".1f"),
            spread([sum(one["start_cpu_s"] for one in found) for found in of_runs], ".1f"),
            spread([sum(one["memory_mb"] for one in found) for found in of_runs], ".0f"),
        ]
        for kind, of_runs in sorted(by_kind.items())
    ]
    ready = f"All consume {spread([run['consuming_s'] for run in runs], '.1f')} s after the start.\n\n"
    head = ["Processes", "Number", "First begins after, s", "CPU until all consume, s", "Memory of all, MB"]
    return ready + table(head, rows)


def spread(values: Sequence[float], form: str) -> str:
    """Median, least and most."""
    return f"{statistics.median(values):{form}} ({min(values):{form}} to {max(values):{form}})"


if __name__ == "__main__":
    sys.exit(main())
