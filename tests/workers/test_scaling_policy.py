"""What the policy answers Serve: with Serve's own contexts, and with what may be missing in them."""

import time
from collections.abc import Mapping

import pytest
from ray import cloudpickle
from ray.serve._private.common import DeploymentID, ReplicaID, TimeStampedValue
from ray.serve.config import AutoscalingConfig, AutoscalingContext, AutoscalingPolicy

from workers import scaling_policy
from workers.scaling import ANSWERED, ARRIVED, BEHIND, BUSY
from workers.scaling_policy import CONSUMER, LagPolicy

EXTRACTOR, MODEL = "FeatureExtractor", "HctDmgReplica"
BEHIND_STATS = {BEHIND: 3000.0, ARRIVED: 40.0, ANSWERED: 20.0}


@pytest.fixture(autouse=True)
def _each_tick_decides(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(scaling_policy, "DECIDE_S", 0.0)


def context(
    name: str, stats: list[Mapping[str, float]], num_running: int | None = None, age_s: float = 0.0
) -> AutoscalingContext:
    """As Serve makes it, of replicas that each report one value of each number."""
    deployment = DeploymentID(name, "hctdmg")
    replicas = [ReplicaID(f"r{number}", deployment) for number in range(num_running or len(stats))]
    now_s = time.time()
    raw: dict[str, dict[ReplicaID, list[TimeStampedValue]]] = {}
    mean: dict[str, dict[ReplicaID, float]] = {}
    for replica, reported in zip(replicas, stats, strict=False):
        for key, value in reported.items():
            raw.setdefault(key, {})[replica] = [TimeStampedValue(now_s - age_s, value)]
            mean.setdefault(key, {})[replica] = value
    return AutoscalingContext(
        deployment_id=deployment,
        deployment_name=name,
        app_name="hctdmg",
        current_num_replicas=len(replicas),
        target_num_replicas=len(replicas),
        running_replicas=replicas,
        total_num_requests=0,
        total_queued_requests=0,
        aggregated_metrics=mean,
        raw_metrics=raw,
        capacity_adjusted_min_replicas=1,
        capacity_adjusted_max_replicas=40,
        policy_state={},
        last_scale_up_time=None,
        last_scale_down_time=None,
        current_time=now_s,
        config=AutoscalingConfig(),
    )


def decisions(*contexts: AutoscalingContext) -> dict[str, int]:
    found, _ = LagPolicy()({one.deployment_id: one for one in contexts})
    return {one.name: number for one, number in found.items()}


def test_the_deployment_that_is_busy_gets_more_and_the_consumer_is_left_alone() -> None:
    found = decisions(
        context(CONSUMER, [BEHIND_STATS, BEHIND_STATS]),
        context(EXTRACTOR, [{BUSY: 1.0}] * 3),
        context(MODEL, [{BUSY: 0.1}]),
    )
    assert found == {EXTRACTOR: 6, MODEL: 1}


@pytest.mark.parametrize(
    "consumer",
    [
        context(CONSUMER, []),
        context(CONSUMER, [BEHIND_STATS], num_running=2),
        context(CONSUMER, [BEHIND_STATS], age_s=1000.0),
        context(EXTRACTOR, []),
    ],
    ids=["says nothing", "one of two restarts", "has not reported for long", "is not there"],
)
def test_nothing_changes_while_the_lag_is_not_known(consumer: AutoscalingContext) -> None:
    assert decisions(consumer, context(EXTRACTOR, [{BUSY: 1.0}] * 3)) == {}


def test_a_deployment_that_does_not_report_keeps_what_it_has() -> None:
    assert decisions(
        context(CONSUMER, [BEHIND_STATS]), context(EXTRACTOR, []), context(MODEL, [{BUSY: 0.1}])
    ) == {MODEL: 1}


def test_between_two_decisions_nothing_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(scaling_policy, "DECIDE_S", 60.0)
    contexts = {
        one.deployment_id: one
        for one in (context(CONSUMER, [BEHIND_STATS]), context(EXTRACTOR, [{BUSY: 1.0}]))
    }
    policy = LagPolicy()
    assert policy(contexts)[0]
    assert policy(contexts) == ({}, None)


def test_serve_takes_it_by_name_as_the_config_file_has_it() -> None:
    kwargs = {"target_behind_s": 5}
    policy = AutoscalingPolicy(policy_function="workers.scaling_policy:LagPolicy", policy_kwargs=kwargs)
    made = cloudpickle.loads(cloudpickle.dumps(policy.get_policy()))
    assert made(**kwargs)({}) == ({}, None)
    with pytest.raises(ValueError, match="targt_behind_s"):
        made(targt_behind_s=5)
