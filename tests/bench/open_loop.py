"""Latency against offered load: segments at random moments, whether or not the last ones are answered.

Latency is from when a segment was due, not from when it could be sent. What an M/D/c queue would make of the very same
arrivals stands beside it: c extractors, and for D what a segment costs of a busy extractor, that is c / capacity, by
backlogs just before and just after.
"""

import json
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import numpy as np
from confluent_kafka import Producer

from tests.bench.delivery import received
from tests.bench.mdc_queue import latencies, waits
from tests.bench.whole_worker import Worker

OF_EXTRACTOR = ("fetch", "decode", "extract", "align")


@dataclass(frozen=True)
class Offered:
    """What was offered, and what came of it.

    Attributes:
        busy: Wanted, as a share of the capacity before.
        due_s: When each segment was due, after the begin.
        latencies_s: In the order of arrival.
        works_s: How long an extractor took for each; its turn, not the wait for it.
    """

    busy: float
    due_s: "np.ndarray[Any, Any]"
    latencies_s: "np.ndarray[Any, Any]"
    works_s: "np.ndarray[Any, Any]"


@dataclass(frozen=True)
class Load:
    """What was seen at one load.

    Attributes:
        busy: Wanted, as a share of the capacity before.
        capacity_per_s: Segments a second, before and after.
        latencies_s: In the order of arrival.
        predicted_s: By the queue, of the same arrivals.
        traced_s: The same, if each segment takes what it took.
    """

    busy: float
    capacity_per_s: tuple[float, float]
    latencies_s: list[float]
    predicted_s: list[float]
    traced_s: list[float]


def offer(
    worker: Worker, capacity_per_s: float, busy: float, seconds: float, first: int, seed: int
) -> Offered:
    """Offer a load for some time, and wait until all is answered.

    Args:
        worker: Who answers.
        capacity_per_s: Segments a second of a backlog.
        busy: Share of it.
        seconds: How long segments arrive.
        first: The number of the first segment.
        seed: Of the arrivals.
    """
    number = max(2, round(busy * capacity_per_s * seconds))
    random = np.random.default_rng(seed)
    due_s = np.cumsum(random.exponential(1 / (busy * capacity_per_s), number))
    begun_s = time.monotonic() + 0.1
    latencies_s, works_s = np.zeros(number), np.zeros(number)
    with sending(worker, due_s + begun_s, first):
        for event in received(worker.reader, number):
            answer = json.loads(event.value())
            place = answer["sequence"] - first
            works_s[place] = sum(answer["timings_s"][stage] for stage in OF_EXTRACTOR)
            latencies_s[place] = time.monotonic() - begun_s - due_s[place]
    return Offered(busy, due_s, latencies_s, works_s)


def beside_the_queue(offered: Offered, num_extractors: int, before_per_s: float, after_per_s: float) -> Load:
    """What was seen beside what the queue says.

    Args:
        offered: What was seen.
        num_extractors: The queue's servers.
        before_per_s: Capacity just before.
        after_per_s: The same just after: what a segment takes is the mean of both, for a machine's speed drifts.
    """
    work_s = num_extractors * (1 / before_per_s + 1 / after_per_s) / 2
    return Load(
        busy=offered.busy,
        capacity_per_s=(before_per_s, after_per_s),
        latencies_s=offered.latencies_s.round(4).tolist(),
        predicted_s=(work_s + waits(offered.due_s, num_extractors, work_s)).round(4).tolist(),
        traced_s=np.round(latencies(offered.due_s, num_extractors, offered.works_s.tolist()), 4).tolist(),
    )


@contextmanager
def sending(worker: Worker, due_s: "np.ndarray[Any, Any]", first: int) -> Iterator[None]:
    """Publish each segment when it is due, from a thread."""
    producer = Producer({"bootstrap.servers": worker.topics.config.bootstrap_servers, "linger.ms": 0})

    def send() -> None:
        for place, at_s in enumerate(due_s):
            time.sleep(max(0.0, at_s - time.monotonic()))
            worker.topics.produce(producer, worker.workload.message(first + place))
            producer.poll(0)
        producer.flush()

    thread = threading.Thread(target=send)
    thread.start()
    try:
        yield
    finally:
        thread.join()
