"""When which fault is injected: made from a seed alone, so that a failing seed can be run again.

Moments are counts of answers, not times: a slower machine runs the same schedule. Knows names and numbers.
Does not know how a fault is done.
"""

import random
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, get_args

Kind = Literal[
    "kill-consumer",
    "kill-extractor",
    "kill-model",
    "kill-application",
    "kill-broker",
    "freeze-broker",
    "die-before-commit",
    "die-after-commit",
    "zombie",
    "blue-green",
]

KINDS: tuple[Kind, ...] = get_args(Kind)

WEIGHTS: dict[Kind, int] = {
    "kill-consumer": 5,
    "kill-extractor": 3,
    "kill-model": 3,
    "kill-application": 1,
    "kill-broker": 2,
    "freeze-broker": 1,
    "die-before-commit": 4,
    "die-after-commit": 4,
    "zombie": 1,
    "blue-green": 1,
}
"""How often a kind comes; those that take a minute each come less often."""

CALM_SHARE = 0.15
"""Share of the segments before the first fault: the stretch without faults that throughput is held against."""
LAST_SHARE = 0.05
"""Share of the segments after the last fault, so that recovery from it can be seen."""


@dataclass(frozen=True)
class Fault:
    """One fault to come.

    Attributes:
        number: From 0.
        kind: What is done.
        after_answers: It is injected once so many answers have been published.
        choice: In [0, 1): which of the possible victims, in the order of their names.
        variant: In [0, 1): whatever else a kind has to choose, as how long.
    """

    number: int
    kind: Kind
    after_answers: int
    choice: float
    variant: float


def make_schedule(seed: int, num_faults: int, num_segments: int, kinds: Sequence[Kind]) -> tuple[Fault, ...]:
    """The schedule of a run.

    Every kind comes at least once where there are as many faults as kinds.

    Args:
        seed: The same seed and arguments give the same schedule, on every machine.
        num_faults: How many.
        num_segments: Of the whole run.
        kinds: To choose from.
    """
    chance = random.Random(f"faults {seed}")
    first, last = calm_until(num_segments), round(num_segments * (1 - LAST_SHARE))
    chosen = list(kinds[:num_faults])
    weights = [WEIGHTS[kind] for kind in kinds]
    chosen += chance.choices(kinds, weights, k=num_faults - len(chosen))
    chance.shuffle(chosen)
    moments = sorted(chance.randint(first, last) for _ in chosen)
    return tuple(
        Fault(number, kind, moment, chance.random(), chance.random())
        for number, (kind, moment) in enumerate(zip(chosen, moments, strict=True))
    )


def calm_until(num_segments: int) -> int:
    """How many answers come before the first fault may."""
    return round(num_segments * CALM_SHARE)
