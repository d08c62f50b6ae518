"""Replicas follow the lag and are placed as the manifest says, on a Ray cluster of three nodes and a real Kafka.

How many there are at which second depends on the machine and is shown by `python -m tests.bench.scaling`; the rules
themselves are in tests/workers/test_scaling_rules.py.
"""

import threading

import pytest
import ray

from tests.bench.scaling import MAX_EXTRACTORS, Phase, Sample, spike, steps
from tests.kafka_broker import KafkaBroker

pytestmark = [pytest.mark.kafka, pytest.mark.e2e, pytest.mark.timeout(600)]

SPIKE_S = 35.0
PHASES = (Phase(5, 1), Phase(SPIKE_S, 12), Phase(400, 1))
CALM_S = 20.0
"""Video behind at which the spike counts as answered."""


def has_come_down(samples: list[Sample]) -> bool:
    numbers = steps(samples)
    return len(numbers) > 1 and numbers[-1] < max(numbers)


def test_a_spike_is_followed_up_then_down(kafka_broker: KafkaBroker) -> None:
    samples, nodes = spike(kafka_broker, PHASES, has_come_down)
    numbers = steps(samples)
    assert numbers[0] == 1
    assert 2 <= max(numbers) <= MAX_EXTRACTORS
    # Up, then down: no number is left and come back to.
    assert numbers[:-1] == sorted(set(numbers[:-1]))
    assert numbers[-1] < numbers[-2]
    # Nothing is taken away before what the spike left behind is answered.
    assert min(one.behind_s for one in samples if one.at_s > SPIKE_S) < CALM_S
    assert samples[-1].behind_s < CALM_S
    assert nodes == {"SegmentConsumer": ["cpu"], "FeatureExtractor": ["cpu"], "HctDmgReplica": ["gpu"]}
    # With autoscaling on, a handle's thread reports to Serve each second; left over, it would start another Ray.
    assert not threading.Event().wait(3)
    assert not ray.is_initialized()
