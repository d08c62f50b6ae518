"""A model of a deployment under a changing load, for tests of the decision: what is measured, late, and what follows.

Second by second: video arrives, running replicas answer it at their rate, replicas take a while to start, and whoever
decides sees means of the last half minute, as Serve gives them.
"""

import math
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from itertools import pairwise

from workers.scaling import Load, Memory, Replicas, Rules, decide

LOOK_BACK_S = 30


@dataclass(frozen=True)
class Moment:
    """One second."""

    behind_s: float
    num_target: int


@dataclass(frozen=True)
class Plant:
    """A deployment.

    Attributes:
        replica_rate: Seconds of video that one replica answers in a second.
        start_s: What a replica takes to start.
        num_min: Bound.
        num_max: Bound.
    """

    replica_rate: float
    start_s: int
    num_min: int
    num_max: int

    def run(
        self, arriving: Callable[[int], float], rules: Rules, num_begun: int, num_seconds: int
    ) -> list[Moment]:
        """What happens when so much video arrives in each second."""
        starting: list[int] = []
        num_running = target = num_begun
        memory, behind_s = Memory(), 0.0
        answered, arrived, busy = (deque[float](maxlen=LOOK_BACK_S) for _ in range(3))
        moments = []
        for now_s in range(num_seconds):
            num_running += sum(at_s <= now_s for at_s in starting)
            starting = [at_s for at_s in starting if at_s > now_s]
            come_s = arriving(now_s)
            done_s = min(behind_s + come_s, num_running * self.replica_rate)
            behind_s += come_s - done_s
            arrived.append(come_s)
            answered.append(done_s)
            busy.append(done_s / self.replica_rate)
            load = Load(behind_s, _mean(arrived), _mean(answered))
            replicas = Replicas(target, num_running, _mean(busy), self.num_min, self.num_max)
            wanted, memory = decide(load, replicas, rules, memory, float(now_s))
            if wanted > target:
                starting += [now_s + self.start_s] * (wanted - target)
            elif wanted < target:
                num_gone = target - wanted
                starting, num_gone = starting[num_gone:], max(0, num_gone - len(starting))
                num_running -= num_gone
            target = wanted
            moments.append(Moment(behind_s, target))
        return moments

    def enough(self, arriving: float, share: float) -> int:
        """How many replicas do this when each is busy for that share."""
        return max(self.num_min, min(self.num_max, math.ceil(arriving / (self.replica_rate * share))))


def changes(moments: list[Moment]) -> int:
    """How often the number of replicas changed."""
    return sum(a.num_target != b.num_target for a, b in pairwise(moments))


def _mean(values: "deque[float]") -> float:
    return sum(values) / len(values)
