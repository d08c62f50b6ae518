"""Queues of c servers, first come, first served; work takes as long every time, or as long as it took.

Knows no segments.
"""

import heapq
from collections.abc import Sequence
from typing import Any

import numpy as np


def simulate(
    num_servers: int, busy: float, work_s: float, number: int, seed: int = 1
) -> "np.ndarray[Any, Any]":
    """Waiting times in an M/D/c queue, in the order of arrival, after the first fifth."""
    arrivals_s = np.cumsum(np.random.default_rng(seed).exponential(work_s / (num_servers * busy), number))
    return waits(arrivals_s, num_servers, work_s)[number // 5 :]


def waits(arrivals_s: "np.ndarray[Any, Any]", num_servers: int, work_s: float) -> "np.ndarray[Any, Any]":
    """How long each of these arrivals waits, in their order.

    As all work takes as long, it ends in the order in which it began: a segment begins when it has come, and when the
    one `num_servers` before it has ended.
    """
    begins_s = np.array(arrivals_s, np.float64)
    for first in range(num_servers, len(arrivals_s), num_servers):
        last = min(first + num_servers, len(arrivals_s))
        free_s = begins_s[first - num_servers : last - num_servers] + work_s
        begins_s[first:last] = np.maximum(begins_s[first:last], free_s)
    waits_s: np.ndarray[Any, Any] = begins_s - arrivals_s
    return waits_s


def latencies(arrivals_s: "np.ndarray[Any, Any]", num_servers: int, works_s: Sequence[float]) -> list[float]:
    """From arrival to the end of its work, of each of these arrivals, each with work of its own."""
    free_s = [0.0] * num_servers
    found_s = []
    for arrival_s, work_s in zip(arrivals_s.tolist(), works_s, strict=True):
        end_s = max(arrival_s, free_s[0]) + work_s
        heapq.heapreplace(free_s, end_s)
        found_s.append(end_s - arrival_s)
    return found_s
