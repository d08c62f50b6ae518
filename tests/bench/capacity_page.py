"""Writes the tables of docs/capacity.md from docs/results/capacity.json.

    python -m tests.bench.capacity_page            # --check: fails if the page says anything else

Knows the result's fields and Markdown. Does not reckon.
"""

import json
import sys
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from tests.bench.blocks import RESULTS, check_or_write

PAGE = "capacity.md"
COMMAND = "python -m tests.bench.capacity_page"
NUM_SHOWN = 3
"""Digits: the inputs are not known to more."""


def main() -> int:
    """Write, or check."""
    found = json.loads((RESULTS / "capacity.json").read_text())
    blocks = {
        "measured": inputs(found["measured"]),
        "assumed": inputs(found["assumed"]),
        "plans": plans(found["plans"]),
        "shares": shares(found["plans"][0]["shares"]),
        "limits": limits(found["limits"]),
        "waits": waits(found["waits"]),
        "variations": variations(found["variations"]),
    }
    return check_or_write(PAGE, blocks, COMMAND, "--check" in sys.argv[1:])


def inputs(values: Mapping[str, float]) -> str:
    """A row for each."""
    return table(["Input", "Value"], [[f"`{name}`", number(value)] for name, value in values.items()])


ROWS: tuple[tuple[str, Callable[[Mapping[str, Any]], str]], ...] = (
    ("Segments a second", lambda one: number(one["segments_per_s"])),
    ("Extractors (a core each)", lambda one: number(one["extractors"])),
    (
        "Consumers (a core each)",
        lambda one: f"{number(one['consumers'])}, bound by {one['consumers_bound_by']}",
    ),
    ("Models (a core each)", lambda one: number(one["models"])),
    ("CPU nodes for all of these", lambda one: number(one["cpu_nodes"])),
    ("or GPUs for the models (not measured)", lambda one: number(one["gpus"])),
    ("of which used (not measured)", lambda one: f"{100 * one['gpu_share']:.1f} %"),
    ("Partitions of the input", lambda one: f"{one['partitions']:,}"),
    ("Brokers", lambda one: number(one["brokers"])),
    ("Shards: Ray clusters with a group of their own", lambda one: number(one["shards"])),
    ("Media fetched", lambda one: f"{quantity(8 * one['media_bytes_per_s'], 'bit')}/s"),
    ("Requests to the media store", lambda one: f"{number(one['media_requests_per_s'])}/s"),
    ("Features to models", lambda one: f"{quantity(8 * one['feature_bytes_per_s'], 'bit')}/s"),
    ("Into Kafka", lambda one: f"{quantity(8 * one['kafka_bytes_per_s'], 'bit')}/s"),
    ("Kept by Kafka, with copies", lambda one: quantity(one["kafka_bytes_stored"], "B")),
    ("Memory of all replicas", lambda one: quantity(one["memory_bytes"], "B")),
    ("Core-hours for 1,000 stream-hours", lambda one: number(one["core_hours_per_1000_stream_hours"])),
    ("CPU-node-hours a day", lambda one: number(24 * one["cpu_nodes"])),
)


def plans(found: Sequence[Mapping[str, Any]]) -> str:
    """A column for each number of streams."""
    head = ["", *(f"{number(one['streams'])} streams" for one in found)]
    return table(head, [[name, *(show(one) for one in found)] for name, show in ROWS])


def shares(found: Mapping[str, float]) -> str:
    """What the cores are spent on."""
    return table(
        ["What the cores do", "Share"], [[name, f"{100 * share:.1f} %"] for name, share in found.items()]
    )


def limits(found: Mapping[str, Mapping[str, float]]) -> str:
    """The nearest limit first, by the largest number of streams."""
    names = list(found[max(found, key=int)])
    head = ["Limit", *(f"{number(int(streams))} streams" for streams in found)]
    return table(head, [[name, *(number(one[name]) for one in found.values())] for name in names])


def waits(found: Sequence[Mapping[str, float]]) -> str:
    """Mean and 99th percentile of the wait for an extractor."""
    rows = [
        [
            number(one["extractors"]),
            f"{100 * one['busy']:.0f} %",
            f"{one['mean_s']:.3f}",
            f"{one['p99_s']:.3f}",
        ]
        for one in found
    ]
    return table(["Extractors", "Busy", "Mean wait, s", "p99, s"], rows)


def variations(found: Sequence[Mapping[str, Any]]) -> str:
    """What each change would do."""
    rows = [
        [
            one["change"],
            number(one["cpu_nodes"]),
            f"{100 * one['of_before']:.0f} %",
            number(one["consumers"]),
            f"{number(one['media_requests_per_s'])}/s",
        ]
        for one in found
    ]
    return table(["100,000 streams with", "CPU nodes", "Of as it is", "Consumers", "Media requests"], rows)


def table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """Markdown; all but the first column to the right."""
    lines = [head, ["---", *["---:"] * (len(head) - 1)], *rows]
    return "".join(f"| {' | '.join(line)} |\n" for line in lines)


def number(value: float) -> str:
    """Three digits, thousands apart."""
    if value == 0 or abs(value) >= 100:
        digits = 0 if value == 0 else len(str(int(abs(value)))) - NUM_SHOWN
        return f"{int(round(value, -digits)):,}"
    return f"{value:.{NUM_SHOWN}g}"


def quantity(value: float, unit: str) -> str:
    """With the prefix that leaves one to three digits before the point."""
    for prefix in ("", "k", "M", "G", "T", "P"):
        if value < 1000 or prefix == "P":
            return f"{value:.{NUM_SHOWN}g} {prefix}{unit}"
        value /= 1000
    raise AssertionError


if __name__ == "__main__":
    sys.exit(main())
