"""The benchmark's own arithmetic, its page, and that a part which fails or hangs costs no other its figures."""

import json
import sys
import threading
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.bench import benchmark_plots
from tests.bench.benchmark import QUICK, again, at_most, begin, measure
from tests.bench.benchmark_figures import Target, by_load, targets
from tests.bench.benchmark_page import NOTHING, STAGES, blocks
from tests.bench.benchmark_parts import Setup
from tests.bench.blocks import RESULTS
from tests.bench.flame import named
from tests.bench.mdc_queue import latencies, waits
from tests.bench.workload import NUM_PARTITIONS, Workload, steady_rate
from tests.kafka_broker import KafkaBroker

SETUP = Setup(KafkaBroker("nowhere:1", Path(), 0), Workload((Path("/clips/a.mp4"),)), QUICK, (1, 2), {})


def record(**parts: Any) -> dict[str, Any]:
    """With these parts of one round."""
    found = begin(QUICK, (1, 2), [])
    found["parts"] = {name.replace("_", "-"): [{"round": 0, **one}] for name, one in parts.items()}
    return found


def one_worker(rate: float, lot_s: float) -> dict[str, Any]:
    process = {"kind": "model", "begun_s": 1.0, "start_cpu_s": 2.0, "memory_mb": 300.0}
    return {
        "segments_per_s": rate,
        "cpu_ms": {"model": 10.0},
        "event_bytes": 1500.0,
        "lots_s": [lot_s, lot_s],
        "consuming_s": 20.0,
        "processes": [process, process],
    }


def one_load(busy: float, slower: float) -> dict[str, Any]:
    predicted_s = [1.0, 2.0, 3.0]
    return {
        "busy": busy,
        "capacity_per_s": (4.0, 4.2),
        "latencies_s": [slower * one for one in predicted_s],
        "predicted_s": predicted_s,
        "traced_s": predicted_s,
    }


WHOLE = record(
    decode={"segments_per_s": {"1": 5.0, "2": 9.0}},
    plain={"segments_per_s": {"1": 2.0, "2": 4.0}},
    worker={"replicas": {"1": one_worker(1.9, 3.0), "2": one_worker(3.0, 2.0)}},
    mult={"replicas": {"2": {"segments_per_s": 2.5, "cpu_ms": {"model": 20.0}, "event_bytes": 1.0}}},
    ray_data={
        "replicas": {one: {"segments_per_s": 3.0, "whole_per_s": 2.0, "actors_s": 8.0} for one in ("1", "2")},
        "lots_s": {"actors": [9.0], "tasks": [4.0, 4.0]},
    },
    latency={
        "replicas": 2,
        "loads": [one_load(0.9, 1.5), one_load(0.2, 1.2), one_load(0.2, 1.2)],
    },
    model={
        "speeds": [
            {"backend": backend, "batch": batch, "steps": 25, "items_per_s": [100.0, 110.0]}
            for batch in (1, 8)
            for backend in ("local", "Triton", "ONNX Runtime")
        ]
    },
    stages={
        "clips": {
            "d10": {
                "num_bytes": {"message": 300, "media": 400_000},
                "seconds": [dict.fromkeys(STAGES, 0.1)],
            }
        }
    },
)


def test_targets_are_ratios_of_a_round_and_say_whether_they_are_met() -> None:
    found = {one.name: (round(one.figures[0], 3), one.is_met) for one in targets(WHOLE)}
    assert found == {
        "end to end beside the plain loop, 1 on as many cores": (0.95, True),
        "end to end beside the plain loop, 2 on as many cores": (0.75, False),
        "small arrivals, beside Ray Data's faster way": (2.0, True),
        "p99 beside M/D/c, 20 % load": (1.2, True),
        "p99 beside M/D/c, 90 % load": (1.5, False),
    }


def test_what_was_not_measured_is_neither_met_nor_missed() -> None:
    assert {one.is_met for one in targets(record())} == {None}
    assert Target("x", "at most", 1.0, [0.5, 0.9, 7.0]).is_met


def test_the_page_has_a_place_for_each_table_and_each_can_be_written(tmp_path: Path) -> None:
    written = blocks(WHOLE)
    assert NOTHING not in written.values()
    assert "| worker | 1.90 (1.90 to 1.90) | 3.00 (3.00 to 3.00) |" in written["backlog"]
    assert "**missed**" in written["targets"]
    page = (RESULTS / "benchmarks.md").read_text()
    assert all(f"<!-- {name}: written by" in page for name in written)
    benchmark_plots.draw(WHOLE, tmp_path)
    pictures = {path.name for path in tmp_path.iterdir()}
    assert len(pictures) == 3
    assert all(f"]({name})" in page for name in pictures)


@pytest.mark.parametrize("missing", list(WHOLE["parts"]))
def test_the_page_can_be_written_without_any_one_part(missing: str, tmp_path: Path) -> None:
    rest = {**WHOLE, "parts": {name: found for name, found in WHOLE["parts"].items() if name != missing}}
    assert set(blocks(rest)) == set(blocks(None))
    benchmark_plots.draw(rest, tmp_path)


def test_a_part_that_fails_is_named_and_the_others_are_kept() -> None:
    found = begin(QUICK, (1, 2), [])

    def fail(_: Setup) -> dict[str, Any]:
        raise ValueError("no such thing\nat all")

    measure(SETUP, "plain", lambda _: {"segments_per_s": {"1": 2.0, "2": 3.0}}, 0, found)
    measure(SETUP, "worker", fail, 1, found)
    assert found["failed"] == [{"part": "worker", "round": 1, "why": "ValueError: no such thing"}]
    assert list(found["parts"]) == ["plain"]
    assert "**Not measured**: worker, round 2 (ValueError: no such thing)." in blocks(found)["run"]


def test_a_part_that_hangs_is_given_up() -> None:
    def hang(_: Setup) -> dict[str, Any]:
        with at_most(0.05):
            threading.Event().wait()
        return {}

    found = begin(QUICK, (1, 2), [])
    measure(SETUP, "ray-data", hang, 0, found)
    assert found["failed"] == [
        {"part": "ray-data", "round": 0, "why": "TimeoutError: not done within 0.05 s"}
    ]


@given(st.lists(st.floats(0.0, 100.0), min_size=1, max_size=50), st.integers(1, 5), st.floats(0.01, 5.0))
def test_a_queue_never_answers_before_its_work_is_done_and_more_servers_never_wait_longer(
    arrivals_s: list[float], num_servers: int, work_s: float
) -> None:
    due_s = np.sort(np.array(arrivals_s))
    few, more = waits(due_s, num_servers, work_s), waits(due_s, num_servers + 1, work_s)
    assert (few >= 0).all()
    assert (more <= few + 1e-9).all()


@given(st.lists(st.floats(0.0, 100.0), min_size=1, max_size=50), st.integers(1, 5), st.floats(0.01, 5.0))
def test_where_all_take_as_long_both_queues_are_the_same(
    arrivals_s: list[float], num_servers: int, work_s: float
) -> None:
    due_s = np.sort(np.array(arrivals_s))
    found_s = latencies(due_s, num_servers, [work_s] * len(arrivals_s))
    np.testing.assert_allclose(found_s, work_s + waits(due_s, num_servers, work_s), atol=1e-9)


def test_a_part_that_is_measured_again_replaces_itself_alone_and_says_so() -> None:
    before = begin(QUICK, (1, 2), [])
    measure(SETUP, "plain", lambda _: {"segments_per_s": {"1": 2.0, "2": 3.0}}, 0, before)
    measure(SETUP, "decode", lambda _: {"segments_per_s": {"1": 5.0, "2": 6.0}}, 0, before)
    found = again(before, ["plain"])
    assert list(found["parts"]) == ["decode"]
    measure(SETUP, "plain", lambda _: {"segments_per_s": {"1": 4.0, "2": 7.0}}, 0, found)
    assert "plain measured again at" in blocks(found)["run"]
    assert "| plain loop | 4.00 (4.00 to 4.00) | 7.00 (7.00 to 7.00) |" in blocks(found)["backlog"]


@given(st.floats(0.1, 50.0), st.integers(1, 20), st.integers(1, 20), st.floats(0.0, 30.0))
def test_a_steady_backlog_has_its_rate_whatever_its_begin_and_end_are(
    rate: float, ramp: int, number: int, late_s: float
) -> None:
    steady = [late_s + one / rate for one in range(ramp - 1, ramp + number)]
    times_s = [0.0] * (ramp - 1) + steady + [steady[-1] + late_s] * ramp
    assert steady_rate(times_s, ramp, number) == pytest.approx(rate, rel=1e-6)


def test_passes_over_a_load_are_taken_together() -> None:
    found = by_load(WHOLE["parts"]["latency"][0])
    assert [(busy, len(load.seen_s)) for busy, load in found.items()] == [(0.2, 6), (0.9, 3)]


def test_a_flame_graph_names_processes_by_what_they_are_and_no_folder_of_this_machine() -> None:
    kinds = {7: "driver", 8: "extractors"}
    picture = (
        f"<title>process 7:&quot;{sys.prefix}/python -m x&quot; (1,149 samples, 99.50%)</title>"
        '<text x="1">process 7:&quot;/usr/bi..</text><text y="2">process 8:&quot;python -c main()\nf(1)&quot;</text>'
    )
    assert named(picture, kinds) == (
        '<title>driver (1,149 samples, 99.50%)</title><text x="1">driver</text><text y="2">extractors</text>'
    )
    stacks = f'process 7:"{sys.prefix}/python";process 8:"python -c a\nb";f ({sys.prefix}/x.py:3) 12\n'
    assert named(stacks, kinds) == "driver;extractors;f (x.py:3) 12\n"


def test_every_clip_comes_to_every_partition() -> None:
    workload = Workload(tuple(Path(f"/clips/{name}.mp4") for name in "abc"))
    messages = [workload.message(number) for number in range(3 * NUM_PARTITIONS)]
    met = {(one.partition, json.loads(one.value or b"")["uri"]) for one in messages}
    assert len(met) == 3 * NUM_PARTITIONS
