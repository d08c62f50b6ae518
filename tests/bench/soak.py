"""The whole application at a steady rate for long, and the memory of each of its processes against time.

    python -m tests.bench.soak --minutes 30 --rate 20 --out docs/results/soak.json     # and soak.png beside it

On a real Apache Kafka, with cheap real segments (0.3 s of a tone), which show a leak per segment as well as large
ones do, and more of them. Looks only at processes that it has started. Memory is USS, what a process would give back
if it ended: shared pages, such as those of Ray's object store, count for nobody.

The slope is Theil and Sen's, the median over all pairs of samples, which single jumps do not move. Its 95 % interval
comes from a moving-block bootstrap of the residuals, because the memory of one moment is much like that of the moment
before: an interval for independent samples would be far too narrow. The first fifth is warm-up and does not count.
"""

import argparse
import json
import os
import platform
import sys
import tempfile
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import psutil
from confluent_kafka import Producer
from scipy import stats

from tests.bench.processes import ours
from tests.checkpoints import save_random_checkpoint
from tests.kafka_broker import running_kafka
from tests.segments import configured, inline
from tests.topics import Topics, make_topics
from workers.run import running

NUM_PARTITIONS = 4
SAMPLE_S = 2.0
WARM_UP = 0.2
MAX_SLOPE_MB_PER_H = 10.0
NUM_RESAMPLES = 400
NUM_BLOCKS = 10
"""Blocks of a tenth of the time: far longer than garbage collections and log rotations keep memory up."""
NOT_WATCHED = ("broker", "other")
Samples = dict[str, list[tuple[float, float]]]
"""Of each process: seconds since the begin, and MB."""


@dataclass(frozen=True)
class Slope:
    """How fast a process grows, in MB an hour.

    Attributes:
        median: Theil and Sen's slope.
        lower: Begin of its 95 % interval.
        upper: End of it.
    """

    median: float
    lower: float
    upper: float

    @property
    def is_flat(self) -> bool:
        """The interval includes zero, or lies under the limit."""
        return self.upper < MAX_SLOPE_MB_PER_H or self.lower <= 0


def main() -> int:
    """Run, measure, write."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--minutes", type=float, default=30)
    parser.add_argument("--rate", type=float, default=20, help="segments a second")
    parser.add_argument("--out", type=Path, required=True)
    arguments = parser.parse_args()
    samples, counts = soak(60 * arguments.minutes, arguments.rate)
    record = {
        "command": " ".join(["python -m tests.bench.soak", *sys.argv[1:]]),
        "machine": f"{os.cpu_count()} cores, {platform.machine()}, Python {platform.python_version()}",
        "date": time.strftime("%Y-%m-%d", time.gmtime()),
        "minutes": arguments.minutes,
        "rate_hz": arguments.rate,
        **counts,
        "samples_s_mb": samples,
    }
    arguments.out.write_text(json.dumps(record) + "\n")
    plot(samples, arguments.out.with_suffix(".png"))
    print(as_table(record))
    return 0


def soak(seconds: float, rate_hz: float) -> tuple[Samples, dict[str, int]]:
    """Run the application under load.

    Returns:
        The memory of each process, and how many segments were sent and answered.
    """
    with running_kafka() as broker, tempfile.TemporaryDirectory() as place:
        topics = make_topics(broker, NUM_PARTITIONS)
        checkpoint = str(save_random_checkpoint(Path(place) / "checkpoint"))
        config = configured(topics, Path(place), {"model.checkpoint": checkpoint})
        with running(config), load(topics, rate_hz) as num_sent:
            samples = watch(seconds)
        answered = sum(offset or 0 for offset in topics.committed().values())
    return samples, {"num_sent": num_sent[0], "num_answered": answered}


@contextmanager
def load(topics: Topics, rate_hz: float) -> Iterator[list[int]]:
    """Segments at a steady rate, from a thread; yields how many were sent."""
    over, num_sent = threading.Event(), [0]

    def send() -> None:
        producer = Producer({"bootstrap.servers": topics.config.bootstrap_servers, "linger.ms": 5})
        begun_s = time.monotonic()
        while not over.wait(max(0.0, begun_s + num_sent[0] / rate_hz - time.monotonic())):
            number = num_sent[0]
            one = inline(number % NUM_PARTITIONS, f"soak/{number}", number // NUM_PARTITIONS)
            producer.produce(
                topics.config.input_topic, one.value, one.key, one.partition, headers=list(one.headers)
            )
            producer.poll(0)
            num_sent[0] += 1
        producer.flush()

    thread = threading.Thread(target=send)
    thread.start()
    try:
        yield num_sent
    finally:
        over.set()
        thread.join()


def watch(seconds: float) -> Samples:
    """Sample the memory of our processes."""
    samples: Samples = {}
    begun_s = time.monotonic()
    while (now_s := time.monotonic() - begun_s) < seconds:
        for pid, kind in ours().items():
            if kind not in NOT_WATCHED:
                try:
                    used = psutil.Process(pid).memory_full_info().uss / 1e6
                except psutil.Error:
                    continue
                samples.setdefault(f"{kind} {pid}", []).append((round(now_s, 1), round(used, 2)))
        time.sleep(SAMPLE_S)
    return samples


def slope_of(series: Sequence[tuple[float, float]]) -> Slope:
    """Theil and Sen's slope after the warm-up, and its interval."""
    points = np.array(series)
    points = points[points[:, 0] >= WARM_UP * points[-1, 0]]
    hours, used = points[:, 0] / 3600, points[:, 1]
    slope, intercept, *_ = stats.theilslopes(used, hours)
    trend = intercept + slope * hours
    blocks = resampled(used - trend, np.random.default_rng(1))
    resamples = [stats.theilslopes(trend + noise, hours)[0] for noise in blocks]
    lower, upper = np.percentile(resamples, [2.5, 97.5])
    return Slope(float(slope), float(lower), float(upper))


def resampled(residuals: np.ndarray[Any, Any], chance: np.random.Generator) -> Iterator[np.ndarray[Any, Any]]:
    """Series of as many residuals, put together from blocks that begin anywhere."""
    length = max(1, len(residuals) // NUM_BLOCKS)
    for _ in range(NUM_RESAMPLES):
        begins = chance.integers(0, len(residuals) - length + 1, -(-len(residuals) // length))
        yield np.concatenate([residuals[begin : begin + length] for begin in begins])[: len(residuals)]


def as_table(record: dict[str, Any]) -> str:
    """The record as Markdown."""
    run = f"{record['minutes']:g} minutes at {record['rate_hz']:g} segments a second"
    lines = [
        f"{run}: {record['num_sent']} sent, {record['num_answered']} answered.",
        f"{record['machine']}; `{record['command']}`.",
        "",
        "| Process | After warm-up, MB | At the end, MB | Slope, MB an hour (95 %) | Flat |",
        "|---|---:|---:|---:|---|",
    ]
    for name, series in sorted(record["samples_s_mb"].items()):
        if series[-1][0] - series[0][0] < record["minutes"] * 60 * 0.9:
            lines.append(f"| {name} | | | lived from {series[0][0]:.0f} to {series[-1][0]:.0f} s | |")
            continue
        slope = slope_of(series)
        warm = next(used for at_s, used in series if at_s >= WARM_UP * series[-1][0])
        interval = f"{slope.median:+.1f} ({slope.lower:+.1f} to {slope.upper:+.1f})"
        flat = "yes" if slope.is_flat else "**no**"
        lines.append(f"| {name} | {warm:.0f} | {series[-1][1]:.0f} | {interval} | {flat} |")
    return "\n".join(lines) + "\n"


def plot(samples: Samples, path: Path) -> None:
    """Each process's memory against time."""
    import matplotlib as mpl

    mpl.use("Agg")
    from matplotlib import pyplot as plt

    figure, axes = plt.subplots(figsize=(9, 5), layout="constrained")
    for name, series in sorted(samples.items()):
        minutes, used = np.array(series).T
        axes.plot(minutes / 60, used, label=name, linewidth=1)
    axes.set(xlabel="minutes", ylabel="USS, MB", title="Memory of each process at a steady rate", ylim=0)
    axes.legend(fontsize="small", loc="center left", bbox_to_anchor=(1, 0.5))
    figure.savefig(path, dpi=110)


if __name__ == "__main__":
    sys.exit(main())
