"""When modalities are said to contradict each other."""

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hctdmg.incongruity import Reading, assess, distance, jensen_shannon_bits

SURE = 0.9


def sentiment(score: float, confidence: float = SURE) -> Reading:
    label = "negative" if score < -0.5 else "positive" if score > 0.5 else "neutral"
    return Reading(label, confidence, score=score)


def test_the_example_of_the_interface() -> None:
    found = assess({"text": sentiment(1.7), "audio": None, "vision": sentiment(-1.4)}, 0.6, 0.4)
    assert (found.status, found.flag, found.pair) == ("incongruent", True, ("text", "vision"))
    assert found.score == pytest.approx(0.52, abs=0.005)
    assert found.reason == "text reads positive, vision reads negative"


@pytest.mark.parametrize(
    "readings",
    [
        {},
        {"text": None, "vision": None},
        {"text": sentiment(2.0), "vision": None},
        {"text": sentiment(2.0), "vision": sentiment(-2.0, 0.5)},
    ],
)
def test_fewer_than_two_confident_readings_are_insufficient(readings: dict[str, Reading | None]) -> None:
    found = assess(readings, 0.6, 0.4)
    assert (found.status, found.flag, found.score, found.pair) == ("insufficient_evidence", False, None, None)


def test_a_neutral_face_under_cheerful_words_is_no_contradiction_however_far() -> None:
    found = assess({"text": sentiment(3.0), "vision": sentiment(0.0)}, 0.6, 0.4)
    assert (found.status, found.flag, found.score) == ("congruent", False, 0.5)


def test_opposite_but_close_is_no_contradiction() -> None:
    found = assess({"text": sentiment(0.6), "vision": sentiment(-0.6)}, 0.6, 0.4)
    assert found.status == "congruent"
    assert found.score == pytest.approx(0.2)


def test_the_pair_is_the_one_that_is_furthest_apart() -> None:
    found = assess({"text": sentiment(-2.0), "audio": sentiment(1.0), "vision": sentiment(2.5)}, 0.6, 0.4)
    assert found.pair == ("text", "vision")


@given(st.lists(st.tuples(st.floats(-3, 3), st.floats(0, 1)), max_size=4), st.floats(0, 1), st.floats(0, 1))
def test_invariants(rows: list[tuple[float, float]], min_confidence: float, threshold: float) -> None:
    readings: dict[str, Reading | None] = {f"m{i}": sentiment(*row) for i, row in enumerate(rows)}
    found = assess(readings, min_confidence, threshold)
    num_confident = sum(confidence >= min_confidence for _, confidence in rows)
    assert (found.status == "insufficient_evidence") == (num_confident < 2) == (found.score is None)
    assert (
        found.flag
        == (found.status == "incongruent")
        == (found.pair is not None)
        == (found.reason is not None)
    )
    assert found.score is None or 0 <= found.score <= 1
    if found.flag:
        assert found.score is not None
        assert found.score >= threshold


def test_emotions_are_compared_as_distributions() -> None:
    happy = Reading("happy", SURE, probabilities=(0.9, 0.1, 0.0))
    sad = Reading("sad", SURE, probabilities=(0.0, 0.1, 0.9))
    found = assess({"text": happy, "vision": sad}, 0.6, 0.4)
    assert found.flag
    assert found.score == pytest.approx(0.9)
    assert not assess({"text": happy, "vision": happy}, 0.6, 0.4).flag


def test_a_score_and_a_distribution_can_not_be_compared() -> None:
    with pytest.raises(ValueError, match="both have"):
        distance(sentiment(1.0), Reading("happy", SURE, probabilities=(1.0, 0.0)))


@given(st.lists(st.floats(0, 1), min_size=3, max_size=3), st.lists(st.floats(0, 1), min_size=3, max_size=3))
def test_jensen_shannon_is_a_bounded_symmetric_divergence(p: list[float], q: list[float]) -> None:
    left, right = ([(x + 1e-6) / (sum(row) + 3e-6) for x in row] for row in (p, q))
    assert 0 <= jensen_shannon_bits(left, right) <= 1
    assert math.isclose(jensen_shannon_bits(left, right), jensen_shannon_bits(right, left), abs_tol=1e-9)
    assert jensen_shannon_bits(left, left) == 0


def test_disjoint_distributions_are_one_bit_apart() -> None:
    assert jensen_shannon_bits([1.0, 0.0], [0.0, 1.0]) == 1
