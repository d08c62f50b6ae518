"""The benchmark's pictures: rates of a backlog, latency against load, the model's backends.

Knows the record's figures and matplotlib. Does not measure.
"""

import statistics
from collections.abc import Sequence
from pathlib import Path

import matplotlib as mpl

mpl.use("Agg")

import matplotlib.pyplot as plt
from matplotlib.figure import Figure

from tests.bench.benchmark_figures import Record, by_load, percentile, rates

COLOURS = ("#2f5d8a", "#d9822b", "#4c9f70", "#8a929c")


def draw(record: Record, folder: Path) -> None:
    """Each picture whose part was measured."""
    if rates(record):
        backlog(record, folder / "benchmarks-backlog.png")
    if "latency" in record["parts"]:
        latency(record, folder / "benchmarks-latency.png")
    if "model" in record["parts"]:
        model(record, folder / "benchmarks-model.png")


def backlog(record: Record, path: Path) -> None:
    """A bar for each contender and number of processes, its rounds as dots: throughput against replicas."""
    found, replicas = rates(record), [str(one) for one in record["replicas"]]
    figure, axes = plt.subplots(figsize=(9, 4.5), dpi=110, layout="constrained")
    height = 0.8 / len(replicas)
    for place, name in enumerate(found):
        for index, number in enumerate(replicas):
            values = found[name].get(number, [])
            if not values:
                continue
            at = place + (index - (len(replicas) - 1) / 2) * height
            axes.barh(at, statistics.median(values), height * 0.9, color=COLOURS[index % len(COLOURS)])
            axes.plot(values, [at] * len(values), ".", color="black", markersize=4)
    axes.set_yticks(range(len(found)), list(found))
    axes.invert_yaxis()
    axes.set(xlabel="segments a second, of a backlog")
    handles = [mpl.patches.Patch(color=COLOURS[index % len(COLOURS)]) for index in range(len(replicas))]
    axes.legend(handles, [f"{number} on as many cores" for number in replicas], fontsize=8)
    save(figure, path)


def latency(record: Record, path: Path) -> None:
    """What was seen and what the queue says, against the load."""
    (found,) = record["parts"]["latency"]
    loads = by_load(found)
    figure, axes = plt.subplots(figsize=(9, 4.5), dpi=110, layout="constrained")
    busy = [100 * one for one in loads]
    for percent, colour in ((50, COLOURS[0]), (99, COLOURS[1])):
        seen_s = [percentile(load.seen_s, percent) for load in loads.values()]
        predicted_s = [percentile(load.predicted_s, percent) for load in loads.values()]
        traced_s = [percentile(load.traced_s, percent) for load in loads.values()]
        axes.plot(busy, seen_s, "o-", color=colour, label=f"p{percent}")
        axes.plot(busy, predicted_s, "x:", color=colour, label=f"p{percent}, M/D/c of the same arrivals")
        axes.plot(busy, traced_s, "+--", color=colour, label=f"p{percent}, traced")
    axes.set(xlabel="offered load, % of capacity", ylabel="s", ylim=0)
    axes.legend(fontsize=8)
    save(figure, path)


def model(record: Record, path: Path) -> None:
    """Items a second against the batch, a panel for each length."""
    (found,) = record["parts"]["model"]
    lengths = sorted({one["steps"] for one in found["speeds"]})
    backends: Sequence[str] = list(dict.fromkeys(one["backend"] for one in found["speeds"]))
    figure, panels = plt.subplots(
        1, len(lengths), figsize=(9, 3.5), dpi=110, layout="constrained", sharey=True, squeeze=False
    )
    for axes, steps in zip(panels[0], lengths, strict=True):
        for backend, colour in zip(backends, COLOURS, strict=False):
            of_line = [one for one in found["speeds"] if (one["backend"], one["steps"]) == (backend, steps)]
            batches = [one["batch"] for one in of_line]
            axes.plot(
                batches,
                [statistics.median(one["items_per_s"]) for one in of_line],
                "o-",
                color=colour,
                label=backend,
            )
        axes.set_xscale("log", base=2)
        axes.set(title=f"{steps} steps", xlabel="batch", ylim=0)
    panels[0][0].set_ylabel("items a second")
    panels[0][0].legend(fontsize=8)
    save(figure, path)


def save(figure: Figure, path: Path) -> None:
    """And let it go."""
    figure.savefig(path)
    plt.close(figure)
