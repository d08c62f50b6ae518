"""The capacity page's arithmetic: the simulated queue agrees with theory, and more streams never take less."""

import heapq
import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.bench.capacity import limits, plan
from tests.bench.capacity_inputs import Assumed, Measured, assume, read_measured
from tests.bench.capacity_page import number, quantity
from tests.bench.mdc_queue import simulate

MEASURED = Measured(
    segment_s=5.0,
    segment_bytes=400_000,
    decode_s=0.2,
    extract_s=0.25,
    infer_s=0.01,
    feature_bytes=40_000,
    extractor_bytes=4e8,
    consumer_bytes=1e8,
    model_bytes=4e8,
)


@pytest.mark.parametrize("busy", [0.3, 0.6, 0.8])
def test_one_server_waits_as_pollaczek_and_khinchine_say(busy: float) -> None:
    """M/D/1: the mean wait is busy x work / (2 (1 - busy))."""
    wait_s = simulate(1, busy, 0.5, 400_000)
    assert wait_s.mean() == pytest.approx(0.5 * busy / (2 * (1 - busy)), rel=0.05)


def test_many_servers_begin_in_order_and_no_more_than_there_are_at_a_time() -> None:
    """Against a plain loop that hands each segment to the server that is free first."""
    num_servers, busy, work_s, count = 7, 0.9, 1.0, 5_000
    arrivals = np.cumsum(np.random.default_rng(1).exponential(work_s / (num_servers * busy), count))
    free = [0.0] * num_servers
    waits = []
    for arrival in arrivals:
        begin = max(arrival, heapq.heappop(free))
        waits.append(begin - arrival)
        heapq.heappush(free, begin + work_s)
    assert simulate(num_servers, busy, work_s, count) == pytest.approx(waits[count // 5 :])


@given(st.integers(1, 10**8), st.integers(0, 10**8))
def test_more_streams_never_take_less(streams: int, more: int) -> None:
    few, many = plan(streams, MEASURED, Assumed()), plan(streams + more, MEASURED, Assumed())
    for name in ("extractors", "consumers", "models", "cpu_nodes", "gpus", "partitions", "brokers", "shards"):
        assert getattr(many, name) >= getattr(few, name) > 0


@given(st.integers(1, 10**8))
def test_each_consumer_has_partitions_and_room_for_what_its_extractors_need(streams: int) -> None:
    assumed = Assumed()
    found = plan(streams, MEASURED, assumed)
    assert found.partitions >= 2 * found.consumers
    work_s = MEASURED.decode_s + MEASURED.extract_s + MEASURED.infer_s + assumed.wait_s
    assert found.consumers * assumed.in_flight_per_consumer >= found.segments_per_s * work_s
    assert found.extractors >= found.segments_per_s * (MEASURED.decode_s + MEASURED.extract_s)
    assert sum(found.shares.values()) == pytest.approx(1)


def test_the_nearest_limit_comes_first() -> None:
    used = list(limits(plan(10**6, MEASURED, Assumed()), Assumed()).values())
    assert used == sorted(used, reverse=True)


def test_assumptions_are_changed_by_name() -> None:
    assert assume(["cores_per_node=64"]) == replace(Assumed(), cores_per_node=64)
    with pytest.raises(SystemExit, match="no such assumption"):
        assume(["cores=64"])


def test_costs_are_read_from_results(tmp_path: Path) -> None:
    seconds = {"fetch": [0.0], "decode": [0.1, 0.2, 0.9], "extract": [0.3], "align": [0.01], "infer": [0.02]}
    stages = {"clip": "1280x720, 30 Hz, 5.0 s, H.264 and AAC, 428843 bytes, a face", "seconds": seconds}
    (tmp_path / "stages.json").write_text(
        json.dumps({**stages, "num_steps": {"text": 10, "audio": 0, "vision": 25}})
    )
    memory = {"extractors 1": [[0, 1.0], [9, 400.0]], "consumer 2": [[9, 100.0]], "model 3": [[9, 300.0]]}
    (tmp_path / "soak.json").write_text(json.dumps({"samples_s_mb": memory}))
    found = read_measured(tmp_path)
    assert (found.segment_s, found.segment_bytes, found.decode_s) == (5.0, 428_843, 0.2)
    assert (found.extract_s, found.infer_s, found.extractor_bytes) == (0.31, 0.02, 4e8)
    assert found.feature_bytes == 4 * (10 * 260 + 50 * 74 + 25 * 35)


@pytest.mark.parametrize(
    ("value", "text"),
    [(0, "0"), (0.01234, "0.0123"), (99.5, "99.5"), (1234, "1,230"), (7_654_321, "7,650,000")],
)
def test_numbers_are_shown_to_three_digits(value: float, text: str) -> None:
    assert number(value) == text


def test_quantities_have_their_prefix() -> None:
    assert (quantity(6.86e11, "bit"), quantity(12, "B")) == ("686 Gbit", "12 B")
