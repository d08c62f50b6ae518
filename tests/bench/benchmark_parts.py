"""The parts of the benchmark, by name: each measures once and says what it found, ready for JSON.

Knows how much of each is measured. Does not know rounds, files or pages.
"""

import itertools
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from typing import Any

from tests.bench import mult_app
from tests.bench.pipeline import ask
from tests.bench.pipeline import worker as stages_process
from tests.bench.plain_loop import Work, plain_loop
from tests.bench.workload import Workload, in_lots
from tests.kafka_broker import KafkaBroker

Found = dict[str, Any]


@dataclass(frozen=True)
class Sizes:
    """How much is measured.

    Attributes:
        rounds: Of the contenders.
        segments: Of a backlog, for each process; of one that says a load's capacity, for all.
        lots: Small arrivals.
        lot_size: Segments in each.
        loads: Offered, as shares of capacity.
        load_s: How long each.
        passes: Over the loads, every second one backwards.
        batches: Samples in a batch of the model.
        steps: Of each modality of a sample.
        model_rounds: Of the model's backends.
        stage_rounds: Of the stages.
    """

    rounds: int
    segments: int
    lots: int
    lot_size: int
    loads: tuple[float, ...]
    load_s: float
    passes: int
    batches: tuple[int, ...]
    steps: tuple[int, ...]
    model_rounds: int
    stage_rounds: int


@dataclass(frozen=True)
class Setup:
    """What all parts share.

    Attributes:
        broker: Running.
        workload: The segments.
        sizes: How much is measured.
        replicas: Of the extractor; as many processes of the others.
        settings: Of the worker, other than the shipped ones.
    """

    broker: KafkaBroker
    workload: Workload
    sizes: Sizes
    replicas: tuple[int, ...]
    settings: Mapping[str, Any]


Part = Callable[[Setup], Found]


def decode(setup: Setup) -> Found:
    """Decoding alone: the limit."""
    return _plain(setup, "decode")


def plain(setup: Setup) -> Found:
    """All of a segment's work, in a plain loop."""
    return _plain(setup, "all")


def _plain(setup: Setup, work: Work) -> Found:
    rates = {
        str(number): plain_loop(setup.workload, work, number, setup.sizes.segments)
        for number in setup.replicas
    }
    return {"segments_per_s": rates}


def worker(setup: Setup) -> Found:
    """The worker with each number of extractors: a backlog, then small arrivals."""
    from tests.bench.whole_worker import whole_worker

    sizes, found = setup.sizes, {}
    for number in setup.replicas:
        with whole_worker(setup.broker, setup.workload, number, setup.settings) as running:
            backlog = running.backlog(0, number * sizes.segments)
            lots_s = in_lots(
                running.topics, running.reader, setup.workload, LOTS_FROM, sizes.lot_size, sizes.lots + 1
            )
            found[str(number)] = {
                **asdict(backlog),
                "lots_s": lots_s[1:],
                "consuming_s": running.consuming_s,
                "processes": [asdict(one) for one in running.processes()],
            }
    return {"replicas": found}


def mult(setup: Setup) -> Found:
    """The worker with as many extractors as it gets, and MulT."""
    from tests.bench.whole_worker import whole_worker

    number = max(setup.replicas)
    with whole_worker(setup.broker, setup.workload, number, setup.settings, mult_app.IMPORT_PATH) as running:
        return {"replicas": {str(number): asdict(running.backlog(0, number * setup.sizes.segments))}}


def ray_data(setup: Setup) -> Found:
    """Ray Data: a backlog with each number of actors, then small arrivals in both ways."""
    from tests.bench.on_ray_data import bulk, on_ray, stream

    sizes, most = setup.sizes, max(setup.replicas)
    with on_ray():
        backlogs = {
            str(number): asdict(bulk(setup.broker, setup.workload, number, number * sizes.segments))
            for number in setup.replicas
        }
        lots_s = {
            way: stream(setup.broker, setup.workload, way, most, sizes.lot_size, sizes.lots)
            for way in ("tasks", "actors")
        }
    return {"replicas": backlogs, "lots_s": lots_s}


def latency(setup: Setup) -> Found:
    """The worker under random arrivals; backlogs before and after each load say what its capacity is."""
    from tests.bench.open_loop import beside_the_queue, offer
    from tests.bench.whole_worker import whole_worker

    sizes, most = setup.sizes, max(setup.replicas)
    loads = []
    with whole_worker(setup.broker, setup.workload, most, setup.settings) as running:
        numbers = itertools.count(LOTS_FROM, LOTS_FROM)  # of the first segment of each backlog or load

        def capacity_per_s() -> float:
            return running.backlog(next(numbers), sizes.segments).segments_per_s

        capacity_per_s()  # warms up
        before_per_s = capacity_per_s()
        for number in range(sizes.passes):
            for busy in sizes.loads[:: 1 if number % 2 == 0 else -1]:
                first = next(numbers)
                offered = offer(running, before_per_s, busy, sizes.load_s, first, first)
                after_per_s = capacity_per_s()
                loads.append(asdict(beside_the_queue(offered, most, before_per_s, after_per_s)))
                before_per_s = after_per_s
    return {"replicas": most, "loads": loads}


def model(setup: Setup) -> Found:
    """The model alone, by each backend."""
    from tests.bench.model_backends import measure_backends

    sizes = setup.sizes
    return {
        "speeds": [asdict(one) for one in measure_backends(sizes.batches, sizes.steps, sizes.model_rounds)]
    }


def stages(setup: Setup) -> Found:
    """CPU and bytes of a segment at each stage, of each clip; the first round warms up."""
    from tests.bench.pipeline import REPO

    clips: dict[str, Found] = {}
    with stages_process(REPO) as process:
        for number in range(setup.sizes.stage_rounds + 1):
            for clip in setup.workload.clips:
                answer = ask(process, clip)
                if number:
                    of_clip = clips.setdefault(clip.stem, {"num_bytes": answer["num_bytes"], "seconds": []})
                    of_clip["seconds"].append(answer["seconds"])
    return {"clips": clips}


LOTS_FROM = 100_000
"""Numbers of the segments after a backlog: beyond any of its own, and a multiple of the partitions."""
IN_TURN: Mapping[str, Part] = {
    "decode": decode,
    "plain": plain,
    "worker": worker,
    "mult": mult,
    "ray-data": ray_data,
}
AT_THE_END: Mapping[str, Part] = {"latency": latency, "model": model, "stages": stages}
