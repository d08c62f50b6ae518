"""The field's figures, and the traps in them."""

import numpy as np
import pytest
from sklearn.metrics import f1_score

from hctdmg.training.scores import accuracy_within, class_scores, emotion_scores, sentiment_scores

TRUTH = np.array([-3.0, -1.2, -0.2, 0.0, 0.0, 0.4, 1.5, 2.5, 2.8, 1.0])
GUESS = np.array([-2.0, 0.3, -0.1, -0.4, 0.2, 0.6, -0.5, 3.7, 2.0, 0.0])


def test_seven_classes_round_halves_to_even_and_clip() -> None:
    # 0.5, 1.5 and 2.5 go to 0, 2 and 2; 9 counts as 3.
    predicted, truth = np.array([0.5, 1.5, 2.5, 9.0]), np.array([0.0, 2.0, 2.0, 3.0])
    assert accuracy_within(predicted, truth, 3) == 1.0
    assert accuracy_within(np.array([2.6]), np.array([3.0]), 2) == 1.0
    assert accuracy_within(np.array([2.4]), np.array([3.0]), 3) == 0.0


def test_two_classes_in_both_conventions() -> None:
    scores = sentiment_scores(GUESS, TRUTH)
    # Without the two zeros: right are -3, -0.2, 0.4, 2.5, 2.8; a guess of 0 for 1.0 is negative.
    assert scores["acc2_nonzero"].value == pytest.approx(5 / 8)
    # With them, >= 0 on both sides: 0/-0.4 is wrong, 0/0.2 and 1.0/0.0 are right.
    assert scores["acc2_haszero"].value == pytest.approx(7 / 10)
    assert scores["acc2_nonzero"].floor == pytest.approx(5 / 8)
    assert scores["acc2_haszero"].floor == pytest.approx(7 / 10)


def test_f1_weighs_by_the_true_classes() -> None:
    kept = TRUTH != 0
    truth, guess = TRUTH[kept] > 0, GUESS[kept] > 0
    right = f1_score(truth, guess, average="weighted")
    swapped = f1_score(guess, truth, average="weighted")
    assert sentiment_scores(GUESS, TRUTH)["f1_nonzero"].value == pytest.approx(right)
    assert right != pytest.approx(swapped)


def test_macro_f1_counts_both_sides_alike_and_a_constant_guess_is_at_its_floor() -> None:
    truth, guess = np.array([1.0] * 9 + [-1.0]), np.array([1.0] * 8 + [-1.0] * 2)
    scores = sentiment_scores(guess, truth, with_intervals=True)
    for name in ("f1_macro_nonzero", "f1_macro_haszero"):
        # Positive: 2 * 8 / (8 + 9); negative: 2 * 1 / (2 + 1).
        assert scores[name].value == pytest.approx((16 / 17 + 2 / 3) / 2)
        assert scores[name].floor == pytest.approx((18 / 19 + 0) / 2)
        assert scores[name].lower is not None
    kept = TRUTH != 0
    macro = f1_score(TRUTH[kept] > 0, GUESS[kept] > 0, average="macro")
    assert sentiment_scores(GUESS, TRUTH)["f1_macro_nonzero"].value == pytest.approx(macro)


def test_errors_and_correlation_are_of_all_samples_unclipped() -> None:
    scores = sentiment_scores(GUESS, TRUTH)
    assert scores["mae"].value == pytest.approx(np.abs(GUESS - TRUTH).mean())
    assert scores["r"].value == pytest.approx(np.corrcoef(GUESS, TRUTH)[0, 1])
    assert np.isnan(sentiment_scores(np.ones(4), np.arange(4.0))["r"].value)


def test_a_constant_guess_is_exactly_at_the_floor() -> None:
    """A published row of IEMOCAP (85.6, 79.4, 75.8, 59.2) is this and nothing more."""
    shares = (0.144, 0.206, 0.242, 0.408)
    truth = np.stack([np.arange(1000) < 1000 * share for share in shares], axis=1)
    scores = emotion_scores(np.zeros_like(truth), truth, ("happy", "sad", "angry", "neutral"))
    assert [round(accuracy.value, 3) for accuracy, *_ in scores.values()] == [0.856, 0.794, 0.758, 0.592]
    for accuracy, f1, macro in scores.values():
        assert accuracy.value == accuracy.floor
        assert f1.value == f1.floor
        assert macro.value == macro.floor
        assert macro.value < 0.5
    perfect = emotion_scores(truth, truth, ("happy", "sad", "angry", "neutral"))
    assert all(score.value == 1.0 for emotion in perfect.values() for score in emotion)


def test_macro_counts_rare_classes_as_much() -> None:
    truth, guess = np.array([0] * 9 + [1]), np.zeros(10, int)
    scores = class_scores(guess, truth)
    assert scores["accuracy"].value == scores["accuracy"].floor == 0.9
    assert scores["f1_macro"].value < scores["f1_weighted"].value


def test_intervals_hold_the_value_and_shrink_with_more_samples() -> None:
    rng = np.random.default_rng(3)

    def width(number: int) -> float:
        truth = rng.normal(size=number)
        score = sentiment_scores(truth + rng.normal(size=number), truth, with_intervals=True)["mae"]
        assert score.lower is not None
        assert score.upper is not None
        assert score.lower < score.value < score.upper
        return score.upper - score.lower

    assert width(800) < width(50)


@pytest.mark.parametrize(("predicted", "truth"), [(np.ones(3), np.ones(4)), (np.ones(0), np.ones(0))])
def test_what_can_not_be_compared_is_refused(predicted: np.ndarray, truth: np.ndarray) -> None:
    with pytest.raises(ValueError, match="shape"):
        sentiment_scores(predicted, truth)


def test_classes_and_emotions_have_intervals() -> None:
    rng = np.random.default_rng(4)
    truth_N = rng.integers(0, 3, size=60)
    guess_N = np.where(rng.uniform(size=60) < 0.7, truth_N, rng.integers(0, 3, size=60))
    scores = class_scores(guess_N, truth_N, with_intervals=True)
    plain = class_scores(guess_N, truth_N)
    for name, score in scores.items():
        assert score.lower is not None
        assert score.upper is not None
        assert score.lower < score.value < score.upper, name
        assert (score.value, score.floor) == (plain[name].value, plain[name].floor)
        assert plain[name].lower is None
    # Of 60 samples with accuracy p the interval is about 4 standard errors wide.
    p = scores["accuracy"].value
    width = (scores["accuracy"].upper or 0) - (scores["accuracy"].lower or 0)
    assert width == pytest.approx(3.92 * (p * (1 - p) / 60) ** 0.5, rel=0.15)
    said_N1, true_N1 = guess_N[:, None] == 0, truth_N[:, None] == 0
    for score in emotion_scores(said_N1, true_N1, ("a",), with_intervals=True)["a"]:
        assert score.lower is not None
        assert score.lower <= score.value
