"""Replicas follow the lag and are placed as the manifest says, on a Ray cluster of three nodes and a real Kafka."""

import threading

import pytest
import ray

from tests.bench.scaling import MAX_EXTRACTORS, Phase, Sample, spike, steps
from tests.kafka_broker import KafkaBroker

pytestmark = [pytest.mark.kafka, pytest.mark.e2e, pytest.mark.timeout(600)]

PHASES = (Phase(15, 1), Phase(45, 12), Phase(150, 1))


def extractors(samples: list[Sample], begin_s: float, end_s: float) -> list[int]:
    return [
        sum(one.replicas.get("FeatureExtractor", (0, 0))) for one in samples if begin_s <= one.at_s < end_s
    ]


def test_a_spike_is_followed_up_then_down_once_and_no_model_is_added(kafka_broker: KafkaBroker) -> None:
    samples, nodes = spike(kafka_broker, PHASES)
    # Before the spike one suffices; nothing is added for a load that does not change.
    assert set(extractors(samples, 0, 15)) == {1}
    numbers = steps(samples)
    top = numbers.index(max(numbers))
    assert 4 <= numbers[top] <= MAX_EXTRACTORS
    # Up, then down: no number is left and come back to.
    assert numbers[: top + 1] == sorted(numbers[: top + 1])
    assert numbers[top:] == sorted(numbers[top:], reverse=True)
    assert numbers[-1] < numbers[top]
    # What the spike left behind is answered, and nothing is taken away before.
    first_down_s = next(
        one.at_s for one in samples if one.at_s > 45 and sum(one.replicas["FeatureExtractor"]) < numbers[top]
    )
    drained_s = next(one.at_s for one in samples if one.at_s > 45 and one.behind_s < 10)
    assert drained_s < first_down_s
    assert samples[-1].behind_s < 20
    # Models and consumers are not what holds it up.
    assert steps(samples, "HctDmgReplica") == steps(samples, "SegmentConsumer") == [1]
    assert nodes == {"SegmentConsumer": ["cpu"], "FeatureExtractor": ["cpu"], "HctDmgReplica": ["gpu"]}
    # With autoscaling on, a handle's thread reports to Serve each second; left over, it would start another Ray.
    assert not threading.Event().wait(3)
    assert not ray.is_initialized()
