"""Mixed lengths, for `python -m hctdmg.bench --mixed`: three ways to batch them, side by side.

    whole     one padded batch of what waits
    runs      the same, split into runs of similar lengths (`hctdmg.buckets`): what a replica does
    queues    a queue for each primary and length class, as several `serve.batch` queues would be; each runs what
              it holds of what waits

Knows batches and clocks. Does not know Ray.
"""

import math
import statistics
import time
from collections import defaultdict
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from hctdmg.batch import Batch, Sample, collate
from hctdmg.buckets import MAX_PADDING, padding_share, split_by_length
from hctdmg.model import HctDmg
from hctdmg.runner import Runner

NUM_WAITING = 32
"""Samples that wait when a batch begins: `model.max_batch_size`."""
RATES_HZ = {"text": 2.5, "audio": 10.0, "vision": 5.0}
"""Steps a second of the starter's extractors; of words, as people speak."""
SHORTEST_S, LONGEST_S = 2.0, 10.0
"""Segments are cut at key frames: most cameras and encoders have one each 2 to 10 s."""

Split = Callable[[Sequence[Sample], Sequence[str]], list[list[int]]]


@dataclass(frozen=True)
class Mixed:
    """One way, on one kind of lengths.

    Attributes:
        lengths: Which.
        way: Which.
        padding: Share of padding over all batches, as `hctdmg.buckets` counts it.
        runs_per_batch: Mean.
        items_per_s: Of the median round.
        seconds: Of each round.
    """

    lengths: str
    way: str
    padding: float
    runs_per_batch: float
    items_per_s: float
    seconds: list[float]


def measure_mixed(make_model: Callable[[], HctDmg], device: str, num_rounds: int) -> list[Mixed]:
    """Time each way on the same samples in turn; each round has samples of its own."""
    model = make_model()
    widths = model.config.widths
    names = tuple(widths)  # equal weights: roles in the configured order
    runner = Runner(model, device)
    runner.warm_up(NUM_WAITING)
    ways: dict[str, Split] = {"whole": _whole, "runs": split_by_length, "queues": _queues}
    found = []
    for name, draw in LENGTHS.items():
        rounds = [_samples(widths, draw, seed) for seed in range(num_rounds)]
        seconds: dict[str, list[float]] = {way: [] for way in ways}
        for samples in rounds:
            for way, split in ways.items():
                begun_s = time.perf_counter() if device == "cuda" else time.thread_time()
                runner.run(_batches(samples, split(samples, names), widths))
                ended_s = time.perf_counter() if device == "cuda" else time.thread_time()
                seconds[way].append(round(ended_s - begun_s, 6))
        for way, split in ways.items():
            splits = [(samples, split(samples, names)) for samples in rounds]
            padding, num_runs = _padding(splits, widths), statistics.mean(len(runs) for _, runs in splits)
            rate = NUM_WAITING / statistics.median(seconds[way])
            found.append(
                Mixed(name, way, round(padding, 4), round(num_runs, 2), round(rate, 1), seconds[way])
            )
    return found


def _batches(samples: Sequence[Sample], runs: list[list[int]], widths: dict[str, int]) -> list[Batch]:
    return [collate([samples[row] for row in rows], widths) for rows in runs]


def _padding(splits: list[tuple[list[Sample], list[list[int]]]], widths: dict[str, int]) -> float:
    """Of all batches together."""
    num_real = num_computed = 0.0
    for samples, runs in splits:
        for rows in runs:
            lengths = [tuple(len(samples[row][name]) for name in widths) for row in rows]
            real = sum(map(sum, lengths))
            num_real += real
            num_computed += real / (1 - padding_share(lengths))
    return 1 - num_real / num_computed


def _whole(samples: Sequence[Sample], _: Sequence[str]) -> list[list[int]]:
    return [list(range(len(samples)))]


def _queues(samples: Sequence[Sample], names: Sequence[str]) -> list[list[int]]:
    """Classes so narrow that the longest of one is 1 / (1 - MAX_PADDING) of the shortest: 11 %, by total length."""
    queues: dict[tuple[str, int], list[int]] = defaultdict(list)
    for row, sample in enumerate(samples):
        lengths = {name: len(sample[name]) for name in names}
        primary = next(name for name in names if lengths[name])
        length_class = int(math.log(sum(lengths.values())) / -math.log(1 - MAX_PADDING))
        queues[primary, length_class].append(row)
    return list(queues.values())


def _fixed(_: np.random.Generator) -> dict[str, float]:
    return dict.fromkeys(RATES_HZ, 5.0)


def _cut(random: np.random.Generator) -> dict[str, float]:
    """Seconds of each modality: segments as they are cut, one in ten without words or without a face."""
    seconds = random.uniform(SHORTEST_S, LONGEST_S)
    return {name: 0.0 if name != "audio" and random.random() < 0.1 else seconds for name in RATES_HZ}


def _wild(random: np.random.Generator) -> dict[str, float]:
    """Each modality of a length of its own, which no real video has."""
    return {name: random.uniform(0.5, LONGEST_S) for name in RATES_HZ}


LENGTHS: dict[str, Callable[[np.random.Generator], dict[str, float]]] = {
    "5 s each": _fixed,
    "2 to 10 s": _cut,
    "each modality on its own": _wild,
}


def _samples(
    widths: dict[str, int], draw: Callable[[np.random.Generator], dict[str, float]], seed: int
) -> list[Sample]:
    random = np.random.default_rng(seed)
    samples: list[Sample] = []
    for _ in range(NUM_WAITING):
        seconds = draw(random)
        samples.append(
            {
                name: random.standard_normal(
                    (round(seconds[name] * RATES_HZ[name] * random.uniform(0.9, 1.1)), width), np.float32
                )
                if seconds[name]
                else np.zeros((0, width), np.float32)
                for name, width in widths.items()
            }
        )
    return samples
