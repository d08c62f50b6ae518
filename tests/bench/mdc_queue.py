"""The M/D/c queue: arrivals at random, work that always takes as long, c servers. Knows no segments."""

from typing import Any

import numpy as np


def simulate(
    num_servers: int, busy: float, work_s: float, number: int, seed: int = 1
) -> "np.ndarray[Any, Any]":
    """Waiting times in an M/D/c queue, in the order of arrival, after the first fifth.

    As all work takes as long, it ends in the order in which it began: a segment begins when it has come, and when the
    one `num_servers` before it has ended.
    """
    arrivals = np.cumsum(np.random.default_rng(seed).exponential(work_s / (num_servers * busy), number))
    begins = arrivals.copy()
    for first in range(num_servers, number, num_servers):
        last = min(first + num_servers, number)
        free = begins[first - num_servers : last - num_servers] + work_s
        begins[first:last] = np.maximum(begins[first:last], free)
    return (begins - arrivals)[number // 5 :]
