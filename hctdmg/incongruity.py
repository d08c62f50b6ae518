"""Whether modalities contradict each other, from what each says on its own. Knows readings, not tensors.

The measure is the distance of unimodal predictions made before any fusion, so that fusion can't hide a
conflict and the fused model's error is never mistaken for one (sources: `docs/model-card.md`).
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations
from typing import Literal

Status = Literal["congruent", "incongruent", "insufficient_evidence"]

LABEL_RANGE = 6.0
"""Sentiment runs from -3 to 3."""


@dataclass(frozen=True)
class Reading:
    """One modality on its own.

    Attributes:
        label: The class it reads: "negative", "neutral" or "positive", or an emotion.
        confidence: Calibrated probability that the label is right.
        score: Sentiment in [-3, 3]; None for a checkpoint of emotions.
        probabilities: Of each emotion; None for a checkpoint of sentiment.
    """

    label: str
    confidence: float
    score: float | None = None
    probabilities: tuple[float, ...] | None = None


@dataclass(frozen=True)
class Assessment:
    """The verdict on one sample.

    Attributes:
        status: "insufficient_evidence" when fewer than two readings are confident.
        flag: Whether two confident readings contradict each other at the threshold or above.
        score: Widest distance between two confident readings, in [0, 1]; None without two.
        threshold: The one that was used.
        pair: The two modalities that contradict each other, when flagged.
        reason: The same in words, when flagged.
    """

    status: Status
    flag: bool
    score: float | None
    threshold: float
    pair: tuple[str, str] | None
    reason: str | None


def assess(readings: Mapping[str, Reading | None], min_confidence: float, threshold: float) -> Assessment:
    """Compare every pair of confident readings.

    Two sentiments contradict each other when one is negative and the other positive: a neutral face under
    cheerful words does not. Two emotions contradict each other when their likeliest classes differ.

    Args:
        readings: Each modality's reading; None where it is absent.
        min_confidence: A reading below it is not compared.
        threshold: Distance at which a contradiction is flagged, in [0, 1].
    """
    confident = {
        name: reading
        for name, reading in readings.items()
        if reading is not None and reading.confidence >= min_confidence
    }
    if len(confident) < 2:
        return Assessment("insufficient_evidence", False, None, threshold, None, None)
    distances = {
        pair: distance(confident[pair[0]], confident[pair[1]]) for pair in combinations(confident, 2)
    }
    score = max(distances.values())
    opposed = {
        pair: found
        for pair, found in distances.items()
        if found >= threshold and contradict(confident[pair[0]], confident[pair[1]])
    }
    if not opposed:
        return Assessment("congruent", False, score, threshold, None, None)
    pair = max(opposed, key=lambda candidate: opposed[candidate])
    reason = ", ".join(f"{name} reads {confident[name].label}" for name in pair)
    return Assessment("incongruent", True, score, threshold, pair, reason)


def distance(left: Reading, right: Reading) -> float:
    """How far two readings are apart, in [0, 1].

    Sentiment: |difference| over the label range. Emotions: Jensen-Shannon divergence in bits (Lin 1991).
    """
    if left.score is not None and right.score is not None:
        return abs(left.score - right.score) / LABEL_RANGE
    if left.probabilities is None or right.probabilities is None:
        raise ValueError("two readings can be compared when both have a score or both have probabilities")
    return jensen_shannon_bits(left.probabilities, right.probabilities)


def contradict(left: Reading, right: Reading) -> bool:
    """Whether two readings exclude each other, however far apart they are."""
    if left.score is not None:
        return {left.label, right.label} == {"negative", "positive"}
    return left.label != right.label


def jensen_shannon_bits(p: Sequence[float], q: Sequence[float]) -> float:
    """Jensen-Shannon divergence of two distributions over the same classes; 0 equal, 1 disjoint."""
    middle = [(a + b) / 2 for a, b in zip(p, q, strict=True)]
    divergence = (_kullback_leibler_bits(p, middle) + _kullback_leibler_bits(q, middle)) / 2
    return min(1.0, max(0.0, divergence))


def _kullback_leibler_bits(p: Sequence[float], q: Sequence[float]) -> float:
    return sum(a * math.log2(a / b) for a, b in zip(p, q, strict=True) if a > 0)
