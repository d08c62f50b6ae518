"""The autoscaling policy of the application: what Ray Serve asks every tick, answered by `workers.scaling`.

    autoscaling_policy:                            # of the application, in ray_config.yaml
      policy_function: workers.scaling_policy:LagPolicy
      policy_kwargs: {target_behind_s: 10}         # workers.scaling.Rules

Consumers report how far behind they are, extractors and models how busy they are; Serve's controller collects both. A
deployment takes part when it has an `autoscaling_config`: the consumer's has equal bounds, for its number follows the
partitions. When something is not known, because a consumer restarts, say, nothing changes.

Knows Serve's contexts. Does not know how a number is decided, nor how it is measured.
"""

import time
from collections.abc import Mapping
from typing import Any

from ray.serve._private.common import DeploymentID
from ray.serve.config import AutoscalingContext

from workers.scaling import ANSWERED, ARRIVED, BEHIND, BUSY, Load, Memory, Replicas, Rules, decide

CONSUMER = "SegmentConsumer"
SCALED = ("FeatureExtractor", "HctDmgReplica")
"""The deployments whose number is decided here."""
DECIDE_S = 1.0
"""How often something is decided; Serve asks ten times a second."""
STALE_S = 60.0
"""A number that is older counts as not known: six times what a replica takes to report, unless told otherwise."""


class LagPolicy:
    """One for the application; Serve makes it anew with each deploy.

    Args:
        rules: Fields of `workers.scaling.Rules`.

    Raises:
        ValueError: One of them is wrong or unknown.
    """

    def __init__(self, **rules: float) -> None:
        self._rules = Rules(**rules)
        self._memories: dict[DeploymentID, Memory] = {}
        self._decide_at_s = 0.0

    def __call__(
        self, contexts: Mapping[DeploymentID, AutoscalingContext]
    ) -> tuple[dict[DeploymentID, int], None]:
        """How many replicas each deployment shall have; those that are left out keep what they have."""
        now_s = time.monotonic()
        if now_s < self._decide_at_s:
            return {}, None
        self._decide_at_s = now_s + DECIDE_S
        load = _load(contexts.values())
        if load is None:
            return {}, None
        decisions: dict[DeploymentID, int] = {}
        for one, context in contexts.items():
            replicas = _replicas(context) if one.name in SCALED else None
            if replicas is not None:
                memory = self._memories.get(one, Memory())
                decisions[one], self._memories[one] = decide(load, replicas, self._rules, memory, now_s)
        return decisions, None


def _load(contexts: Any) -> Load | None:
    """What all consumers report together; None unless each of them does."""
    for context in contexts:
        if context.deployment_name == CONSUMER:
            latest, mean = _latest(context, BEHIND), context.aggregated_metrics
            if not latest or len(latest) < context.current_num_replicas:
                return None
            return Load(sum(latest.values()), _sum(mean, ARRIVED, latest), _sum(mean, ANSWERED, latest))
    return None


def _replicas(context: AutoscalingContext) -> Replicas | None:
    latest = _latest(context, BUSY)
    if not latest:
        return None
    return Replicas(
        num_target=context.target_num_replicas,
        num_running=context.current_num_replicas,
        busy=_sum(context.aggregated_metrics, BUSY, latest),
        num_min=context.capacity_adjusted_min_replicas,
        num_max=context.capacity_adjusted_max_replicas,
    )


def _latest(context: AutoscalingContext, name: str) -> dict[Any, float]:
    """The newest value of each replica that still reports."""
    since_s = context.current_time - STALE_S
    series = (context.raw_metrics or {}).get(name, {})
    return {
        replica: points[-1].value
        for replica, points in series.items()
        if points and points[-1].timestamp >= since_s
    }


def _sum(means: Mapping[str, Mapping[Any, float]], name: str, replicas: Mapping[Any, float]) -> float:
    """The mean over the look-back period, summed over replicas."""
    found = means.get(name, {})
    return sum(found.get(replica, 0.0) for replica in replicas)
