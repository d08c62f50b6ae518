"""What the benchmark's record says: rates by contender, and the targets held against them.

Knows the record's fields. Does not know Markdown or pictures.
"""

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np

Record = Mapping[str, Any]
Relation = Literal["at least", "at most"]
OF_PLAIN, OF_RAY_DATA, OF_QUEUE = 0.9, 1.5, 1.3
"""End to end beside the plain loop; small arrivals beside Ray Data; p99 beside the queue."""
CONTENDERS = {
    "decode": "decoding alone (the limit)",
    "plain": "plain loop",
    "worker": "worker",
    "mult": "worker with MulT",
    "ray-data": "Ray Data",
}
WITH_START = "Ray Data, with its actors' start"


@dataclass(frozen=True)
class Target:
    """One target.

    Attributes:
        name: What is compared.
        relation: "at least" or "at most".
        limit: Wanted.
        figures: Of each round, or one; none where it was not measured.
    """

    name: str
    relation: Relation
    limit: float
    figures: list[float]

    @property
    def is_met(self) -> bool | None:
        """By the median; None without figures."""
        if not self.figures:
            return None
        median = float(np.median(self.figures))
        return median >= self.limit if self.relation == "at least" else median <= self.limit


def rates(record: Record) -> dict[str, dict[str, list[float]]]:
    """Segments a second of a backlog in each round, by contender, by number of processes."""
    found: dict[str, dict[str, list[float]]] = {}
    for part, name in CONTENDERS.items():
        for one in of_rounds(record, part).values():
            for replicas, rate in of_part(one).items():
                found.setdefault(name, {}).setdefault(replicas, []).append(rate)
            if part == "ray-data":
                for replicas, values in one["replicas"].items():
                    found.setdefault(WITH_START, {}).setdefault(replicas, []).append(values["whole_per_s"])
    return found


def of_part(found: Mapping[str, Any]) -> dict[str, float]:
    """Segments a second by number of processes, of one round."""
    if "replicas" in found:
        return {replicas: one["segments_per_s"] for replicas, one in found["replicas"].items()}
    return dict(found["segments_per_s"])


def of_rounds(record: Record, part: str) -> dict[int, Any]:
    """What a part found, by round."""
    return {one["round"]: one for one in record["parts"].get(part, ())}


def lots_per_s(record: Record) -> dict[str, list[float]]:
    """Segments a second of each lot, by contender; with the largest number of processes."""
    size, most = record["sizes"]["lot_size"], str(max(record["replicas"]))
    found: dict[str, list[float]] = defaultdict(list)
    for one in of_rounds(record, "worker").values():
        found["worker"] += [size / seconds for seconds in one["replicas"][most]["lots_s"]]
    for one in of_rounds(record, "ray-data").values():
        for way, lots_s in one["lots_s"].items():
            found[f"Ray Data, {way}"] += [size / seconds for seconds in lots_s]
    return dict(found)


def targets(record: Record) -> list[Target]:
    """Each with its figures."""
    return [*_beside_plain(record), *_beside_ray_data(record), *_beside_the_queue(record)]


def _beside_plain(record: Record) -> list[Target]:
    worker, plain = of_rounds(record, "worker"), of_rounds(record, "plain")
    found = []
    for replicas in map(str, record["replicas"]):
        figures = [
            of_part(worker[one])[replicas] / of_part(plain[one])[replicas] for one in worker if one in plain
        ]
        name = f"end to end beside the plain loop, {replicas} on as many cores"
        found.append(Target(name, "at least", OF_PLAIN, figures))
    return found


def _beside_ray_data(record: Record) -> list[Target]:
    """Beside its faster way, in each round."""
    worker, theirs, most = (
        of_rounds(record, "worker"),
        of_rounds(record, "ray-data"),
        str(max(record["replicas"])),
    )
    figures = []
    for one in worker:
        if one in theirs:
            best_s = min(float(np.median(lots_s)) for lots_s in theirs[one]["lots_s"].values())
            figures.append(best_s / float(np.median(worker[one]["replicas"][most]["lots_s"])))
    return [Target("small arrivals, beside Ray Data's faster way", "at least", OF_RAY_DATA, figures)]


def _beside_the_queue(record: Record) -> list[Target]:
    name = "p99 beside M/D/c"
    found = []
    for measured in record["parts"].get("latency", ()):
        for busy, load in by_load(measured).items():
            ratio = percentile(load.seen_s, 99) / percentile(load.predicted_s, 99)
            found.append(Target(f"{name}, {100 * busy:.0f} % load", "at most", OF_QUEUE, [ratio]))
    return found or [Target(name, "at most", OF_QUEUE, [])]


@dataclass(frozen=True)
class Latencies:
    """At one load, in all passes.

    Attributes:
        seen_s: What was measured.
        predicted_s: By the queue in which every segment takes as long.
        traced_s: By the one in which each takes what it took.
    """

    seen_s: list[float]
    predicted_s: list[float]
    traced_s: list[float]


def by_load(found: Mapping[str, Any]) -> dict[float, Latencies]:
    """By the share of the capacity that was offered."""
    together: dict[float, Latencies] = defaultdict(lambda: Latencies([], [], []))
    for one in found["loads"]:
        load = together[one["busy"]]
        load.seen_s.extend(one["latencies_s"])
        load.predicted_s.extend(one["predicted_s"])
        load.traced_s.extend(one["traced_s"])
    return dict(sorted(together.items()))


def percentile(values: Sequence[float], percent: float) -> float:
    """Between the values where it must be."""
    return float(np.percentile(values, percent))


def failures(record: Record) -> list[str]:
    """What was not measured, and why."""
    return [f"{one['part']}, round {one['round'] + 1} ({one['why']})" for one in record["failed"]]
