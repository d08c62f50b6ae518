"""The benchmark's contenders do the whole work, on a real Kafka and Ray: here with tones, which cost nearly nothing."""

import asyncio
from pathlib import Path

import pytest

from hctdmg.checkpoint import load_checkpoint
from tests.bench.model_backends import measure_backends
from tests.bench.mult_app import IMPORT_PATH, MulTPredictor
from tests.bench.on_ray_data import bulk, on_ray, stream
from tests.bench.open_loop import beside_the_queue, offer
from tests.bench.plain_loop import CHECKPOINT, plain_loop
from tests.bench.whole_worker import whole_worker
from tests.bench.workload import Workload, in_lots
from tests.hctdmg.samples import make_sample
from tests.kafka_broker import KafkaBroker
from tests.segments import TONE
from workers.config import ModelSettings


@pytest.fixture
def tones(tmp_path: Path) -> Workload:
    clip = tmp_path / "tone.wav"
    clip.write_bytes(TONE)
    return Workload((clip,))


def test_a_plain_loop_has_a_rate(tones: Workload) -> None:
    assert plain_loop(tones, "all", 1, 4) > 0


def test_mult_answers_every_sample_also_one_without_any_modality() -> None:
    checkpoint = load_checkpoint(CHECKPOINT)
    samples = [make_sample(checkpoint.manifest.model, {"text": 5, "audio": steps}, steps) for steps in (3, 0)]
    predictor = MulTPredictor(checkpoint, ModelSettings(num_threads=1))
    answers = asyncio.run(predictor.predict([*samples, {}]))
    assert [answer.label is None for answer in answers] == [False, False, True]


@pytest.mark.triton
@pytest.mark.usefixtures("triton_export")  # skips where there is no server
def test_every_backend_is_asked_at_every_shape() -> None:
    speeds = measure_backends((1, 2), (4,), 1)
    shapes = {(one.backend, one.batch, one.steps) for one in speeds}
    assert len(shapes) == len(speeds) == 6
    assert all(one.items_per_s[0] > 0 for one in speeds)


@pytest.mark.e2e
@pytest.mark.kafka
def test_the_worker_answers_a_backlog_lots_and_random_arrivals(
    kafka_broker: KafkaBroker, tones: Workload
) -> None:
    with whole_worker(kafka_broker, tones, 1, {}, IMPORT_PATH) as worker:
        assert worker.backlog(0, 400).segments_per_s > 0
        lots_s = in_lots(worker.topics, worker.reader, tones, 1000, 4, 2)
        offered = offer(worker, 10.0, 0.5, 2.0, 2000, 1)
        kinds = {process.kind for process in worker.processes()}
    assert len(lots_s) == 2
    load = beside_the_queue(offered, 1, 10.0, 5.0)
    assert len(load.latencies_s) == len(load.predicted_s) == 10
    assert min(load.latencies_s) > 0
    assert all(
        0 < work_s < latency_s for work_s, latency_s in zip(offered.works_s, load.latencies_s, strict=True)
    )
    assert min(load.predicted_s) == 0.15  # the mean of what a segment takes before and after
    assert {"consumer", "extractors", "model"} <= kinds


@pytest.mark.e2e
@pytest.mark.kafka
def test_ray_data_answers_a_backlog_and_lots_in_both_ways(kafka_broker: KafkaBroker, tones: Workload) -> None:
    with on_ray():
        found = bulk(kafka_broker, tones, 2, 40)  # as many as there are cores: reading and writing find room
        assert found.segments_per_s > found.whole_per_s > 0
        assert len(stream(kafka_broker, tones, "tasks", 2, 4, 2)) == 2
        assert len(stream(kafka_broker, tones, "actors", 2, 4, 1)) == 1
