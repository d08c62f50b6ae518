"""The same segments, extractors and model on Ray Data: `read_kafka`, `map_batches`, `write_kafka`.

As a user would write it who knows Ray Data: on a Ray that runs already; for a backlog a pool of actors that load the
model once, small batches so that reading, work and writing overlap, and fractions of a core for reading and writing.
Ray Data's reads are bounded, so a stream is read again and again, from the offsets where the last read ended, and each
read is an execution that starts its actors anew. So a second way is measured for a stream: tasks, whose processes Ray
keeps and uses again, with the model in a cache of the process. Delivery is at best at least once, in no order.

Knows Ray Data. Does not know the worker.
"""

import functools
import logging
import os
import statistics
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import ray.data
from ray.data import ActorPoolStrategy, Dataset

from tests.bench.delivery import reading
from tests.bench.plain_loop import answering
from tests.bench.processes import last_cores, pin
from tests.bench.workload import NUM_PARTITIONS, Workload, answered_s, steady_rate
from tests.kafka_broker import KafkaBroker
from tests.topics import Topics, make_topics
from workers.ray_start import start_ray, stop_ray

Way = Literal["actors", "tasks"]
BATCH_SIZE = 4
"""Of a backlog: two seconds of work for an actor, beside which a task's overhead is small."""
ACTOR_CPUS, IO_CPUS = 0.8, 0.2
"""So that reading and writing find room beside as many actors as there are cores."""


@dataclass(frozen=True)
class Bulk:
    """How a backlog was worked off.

    Attributes:
        segments_per_s: While all actors were busy.
        whole_per_s: Of all, from the call until it returned: with the start of the actors.
        actors_s: From the call until they were ready, on average.
    """

    segments_per_s: float
    whole_per_s: float
    actors_s: float


class Answerer:
    """An actor: loads, says so by a file, and answers batches.

    Args:
        folder: Of the clips.
        ready: Folder for a file of each actor.
        cores: Where it may run.
    """

    def __init__(self, folder: Path, ready: Path, cores: list[int]) -> None:
        pin(os.getpid(), cores)
        self._answer = answering(folder)
        (ready / str(os.getpid())).touch()

    def __call__(self, batch: dict[str, Any]) -> dict[str, list[str]]:
        """Answer each row's message."""
        return answered(batch, self._answer)


def answered(batch: dict[str, Any], answer: Callable[[bytes], bytes]) -> dict[str, list[str]]:
    """The rows to write, of which `write_kafka` makes JSON."""
    return {
        "stream_id": [key.decode() for key in batch["key"]],
        "event": [answer(value).decode() for value in batch["value"]],
    }


_answering_once = functools.cache(answering)
"""In a process that Ray uses for one task after another."""


def answered_by_task(batch: dict[str, Any], folder: Path) -> dict[str, list[str]]:
    """A task: loads only where no task of its process has."""
    return answered(batch, _answering_once(folder))


@contextmanager
def on_ray() -> Iterator[None]:
    """A Ray of our own, quiet."""
    start_ray(None, relay_logs=False)
    context = ray.data.DataContext.get_current()
    context.enable_progress_bars = False
    logging.getLogger("ray.data").setLevel(logging.ERROR)
    try:
        yield
    finally:
        stop_ray()


def bulk(broker: KafkaBroker, workload: Workload, num_actors: int, number: int) -> Bulk:
    """A backlog, by actors.

    Args:
        broker: The broker.
        workload: The segments.
        num_actors: On as many cores.
        number: Segments that count; two batches for each actor come before, and after.
    """
    topics = make_topics(broker, NUM_PARTITIONS)
    ramp = 2 * BATCH_SIZE * num_actors
    total = number + 2 * ramp
    workload.send(topics, range(total))
    with tempfile.TemporaryDirectory() as place, reading(topics) as reader:
        begun_s = time.time()
        # Ray Data splits what it reads into many blocks: a batch is put together from some of them.
        read = read_from(topics, "earliest", IO_CPUS)
        write(by_actors(read, workload.folder, num_actors, BATCH_SIZE, Path(place)), topics, IO_CPUS)
        whole_s = time.time() - begun_s
        ready_s = [file.stat().st_mtime - begun_s for file in Path(place).iterdir()]
        times_s = answered_s(reader, total)
    return Bulk(steady_rate(times_s, ramp, number), total / whole_s, statistics.mean(ready_s))


def stream(
    broker: KafkaBroker, workload: Workload, way: Way, num_processes: int, size: int, number: int
) -> list[float]:
    """Small arrivals, each read when it has come.

    Args:
        broker: The broker.
        workload: The segments.
        way: Of working them off.
        num_processes: At a time.
        size: Segments of a lot.
        number: Lots; one more comes before, so that tasks have loaded.

    Returns:
        The seconds that each lot took, until its events could be read.
    """
    topics = make_topics(broker, NUM_PARTITIONS)
    seconds, first = [], 0
    with tempfile.TemporaryDirectory() as place, reading(topics) as reader:
        for _ in range(number + 1):
            begun_s = time.monotonic()
            workload.send(topics, range(first, first + size))
            start = offsets(topics, first)
            if way == "actors":
                batch_size = max(1, size // num_processes)
                read = read_from(topics, start, IO_CPUS, num_blocks=size)
                answers = by_actors(read, workload.folder, num_processes, batch_size, Path(place))
                write(answers, topics, IO_CPUS)
            else:
                write(by_tasks(topics, start, workload.folder, num_processes), topics, cpus_of(num_processes))
            answered_s(reader, size)
            seconds.append(time.monotonic() - begun_s)
            first += size
    return seconds[1:]


def offsets(topics: Topics, num_sent: int) -> dict[str, dict[int, int]]:
    """Where the next read begins when so many segments were sent: they went to each partition in turn."""
    numbers = {one: len(range(one, num_sent, NUM_PARTITIONS)) for one in range(NUM_PARTITIONS)}
    return {topics.config.input_topic: numbers}


def read_from(topics: Topics, start: Any, num_cpus: float, num_blocks: int | None = None) -> Dataset:
    """All that is there from some offsets on."""
    config = topics.config
    return ray.data.read_kafka(
        config.input_topic,
        bootstrap_servers=config.bootstrap_servers,
        start_offset=start,
        num_cpus=num_cpus,
        override_num_blocks=num_blocks,
    )


def by_actors(read: Dataset, folder: Path, num_actors: int, batch_size: int, ready: Path) -> Dataset:
    """Answered by a pool."""
    return read.map_batches(
        Answerer,
        fn_constructor_args=(folder, ready, last_cores(num_actors)),
        batch_size=batch_size,
        compute=ActorPoolStrategy(size=num_actors),
        num_cpus=ACTOR_CPUS,
    )


def by_tasks(topics: Topics, start: Any, folder: Path, num_processes: int) -> Dataset:
    """Answered by tasks, one for each partition: reading, work and writing ask for the same and so become one task."""
    num_cpus = cpus_of(num_processes)
    read = read_from(topics, start, num_cpus, num_blocks=NUM_PARTITIONS)
    return read.map_batches(
        answered_by_task, fn_kwargs={"folder": folder}, batch_size=None, num_cpus=num_cpus
    )


def cpus_of(num_processes: int) -> float:
    """What a task asks for, so that this many run at a time."""
    return float(ray.cluster_resources()["CPU"]) / num_processes


def write(answers: Dataset, topics: Topics, num_cpus: float) -> None:
    """To the output topic."""
    config = topics.config
    answers.write_kafka(
        config.output_topic,
        config.bootstrap_servers,
        key_field="stream_id",
        producer_config={"acks": "all"},
        ray_remote_args={"num_cpus": num_cpus},
    )
