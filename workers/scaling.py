"""How many replicas a deployment needs, decided from how far behind the answers are and how busy its replicas are.

    service demand  = busy replicas / seconds of video answered each second       (what one video second costs)
    needed          = service demand x (what arrives + what clears the backlog in time) / the share they may be busy

The first line is the service demand law of queueing (Denning and Buzen, 1978): it holds for any arrivals and for any
number of replicas, so the number needed does not depend on how many there are now, and the loop does not swing.
Around it stand three guards: a band in which nothing changes, a wait after replicas have been added until they show in
what is measured, and a longer one before any is taken away.

Pure: knows numbers and the time that it is given. Does not know Ray, nor who measures.
"""

import math
from dataclasses import dataclass, replace
from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field

BUSY = "busy"
BEHIND = "video_behind_s"
ARRIVED = "video_arrived_per_s"
ANSWERED = "video_answered_per_s"
"""What replicas report of themselves, by name: `BUSY` an extractor or a model's, the others a consumer."""

MIN_ANSWERED_PER_S = 1e-3
"""Answering less video than this in a second is answering nothing: one segment of 5 s in over an hour."""
MAX_GROWTH = 2
"""At most twice as many replicas in one step: what is measured just after a start may be far off."""


class Rules(BaseModel):
    """What the decision is held to: the `policy_kwargs` of `autoscaling_policy` in `ray_config.yaml`.

    Attributes:
        target_behind_s: Seconds that answers may be behind, on average over the streams, before replicas are added
            for it: video not yet answered, divided by what arrives in a second.
        clear_within_s: In how long a backlog beyond that is to be gone.
        target_busy: The share of its time that a replica should be busy.
        max_busy: Replicas are added only when they are busier than this.
        settle_s: Wait after replicas have started before more are added; as long as `look_back_period_s`, for until
            then what is measured still holds the time before.
        hold_s: No replica is taken away that was needed within this time.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    target_behind_s: Annotated[float, Field(gt=0)] = 10.0
    clear_within_s: Annotated[float, Field(gt=0)] = 60.0
    target_busy: Annotated[float, Field(gt=0, lt=1)] = 0.6
    max_busy: Annotated[float, Field(gt=0, lt=1)] = 0.75
    settle_s: Annotated[float, Field(ge=0)] = 30.0
    hold_s: Annotated[float, Field(ge=0)] = 300.0

    def model_post_init(self, _: object) -> None:
        """Refuse a band that is none: adding replicas would at once make some of them superfluous."""
        if self.max_busy <= self.target_busy:
            raise ValueError(
                f"max_busy is {self.max_busy:g}: make it more than target_busy, {self.target_busy:g}"
            )


@dataclass(frozen=True)
class Load:
    """Of the whole application.

    Attributes:
        behind_s: Seconds of video that are not answered yet.
        arrived_per_s: Seconds of video that arrive in a second: the number of live streams.
        answered_per_s: Seconds of video that are answered in a second.
    """

    behind_s: float
    arrived_per_s: float
    answered_per_s: float


@dataclass(frozen=True)
class Replicas:
    """Of one deployment.

    Attributes:
        num_target: As many as there shall be.
        num_running: As many as there are.
        busy: How many of them would suffice if each were busy all the time; 0 to `num_running`.
        num_min: Never fewer.
        num_max: Never more.
    """

    num_target: int
    num_running: int
    busy: float
    num_min: int
    num_max: int


@dataclass(frozen=True)
class Memory:
    """What one decision leaves for the next.

    Attributes:
        steady_at_s: Until then what is measured still holds the time before the latest start.
        low_since_s: Since when fewer have sufficed; None while all are needed.
        num_most: The most that were needed since.
    """

    steady_at_s: float = -math.inf
    low_since_s: float | None = None
    num_most: int = 0


def decide(load: Load, replicas: Replicas, rules: Rules, memory: Memory, now_s: float) -> tuple[int, Memory]:
    """How many replicas there shall be from now on.

    Args:
        load: What is to be done.
        replicas: Who does it.
        rules: What it is held to.
        memory: What the decision before left.
        now_s: On any clock that does not go back.

    Returns:
        The number, from `num_min` to `num_max`, and what to remember.
    """
    if replicas.num_running < replicas.num_target:
        memory = replace(memory, steady_at_s=now_s + rules.settle_s)
    wanted = needed(load, replicas, rules)
    if wanted < replicas.num_target:
        return _hold(wanted, replicas, rules, memory, now_s)
    memory = replace(memory, low_since_s=None)
    is_busy = replicas.busy > rules.max_busy * replicas.num_running
    if is_busy and now_s >= memory.steady_at_s:
        return wanted, memory
    return _bounded(replicas.num_target, replicas), memory


def needed(load: Load, replicas: Replicas, rules: Rules) -> int:
    """How many would do the work at hand, without regard to what was; grows with `behind_s`, never shrinks."""
    backlog_s = max(0.0, load.behind_s - rules.target_behind_s * load.arrived_per_s)
    if load.answered_per_s < MIN_ANSWERED_PER_S:
        # What a second of video costs is not known: nothing is answered yet, or nothing comes.
        wanted = replicas.num_min if load.behind_s == 0 else replicas.num_target
        return _bounded(wanted, replicas)
    due_per_s = load.arrived_per_s + backlog_s / rules.clear_within_s
    work = replicas.busy * max(1.0, due_per_s / load.answered_per_s)
    wanted = math.ceil(min(work / rules.target_busy, MAX_GROWTH * max(1, replicas.num_target)))
    if backlog_s > 0:
        wanted = max(wanted, replicas.num_target)
    return _bounded(wanted, replicas)


def _hold(wanted: int, replicas: Replicas, rules: Rules, memory: Memory, now_s: float) -> tuple[int, Memory]:
    """Go down to the most that was needed of late, once that has been fewer for long enough."""
    since_s = now_s if memory.low_since_s is None else memory.low_since_s
    num_most = wanted if memory.low_since_s is None else max(wanted, memory.num_most)
    if now_s - since_s < rules.hold_s:
        memory = replace(memory, low_since_s=since_s, num_most=num_most)
        return _bounded(replicas.num_target, replicas), memory
    return num_most, replace(memory, low_since_s=None)


def _bounded(number: int, replicas: Replicas) -> int:
    return max(replicas.num_min, min(replicas.num_max, number))
