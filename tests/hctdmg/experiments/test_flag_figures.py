"""Calibration error and detection beside answers that are known otherwise; insufficient evidence as documented."""

import numpy as np
import pytest

from hctdmg.data.synthetic import DEFAULT_WORLD
from hctdmg.experiments.disagreement import ALTERNATIVES, FLAG, disagreements
from hctdmg.experiments.flag_figures import detection_figures, expected_calibration_error
from hctdmg.experiments.incongruity import setup_of
from hctdmg.experiments.setup import FULL, QUICK
from hctdmg.experiments.small import make_data, train_small
from hctdmg.model import HctDmg
from hctdmg.training.build import OWN
from hctdmg.training.calibrate import calibrate, predict


def test_a_confidence_that_is_right_as_often_as_it_says_has_no_error() -> None:
    confidence_N = np.array([0.75] * 4 + [0.5] * 2)
    right_N = np.array([True, True, True, False, True, False])
    assert expected_calibration_error(confidence_N, right_N) == pytest.approx(0)
    assert expected_calibration_error(confidence_N, ~right_N) == pytest.approx(0.5 * 4 / 6)
    assert expected_calibration_error(np.ones(3), np.zeros(3, np.bool_)) == pytest.approx(1)


def test_detection_knows_perfect_and_useless_scores() -> None:
    truth_N = np.array([False, False, True, True])
    found = detection_figures({FLAG: np.array([0, 0.1, 0.5, 0.9]), "fused": np.zeros(4)}, truth_N, True)
    assert (found["auroc.flag"], found["precision.flag"], found["auroc.fused"]) == (1.0, 1.0, 0.5)
    assert found["roc.flag.0.05"] == 1.0
    assert found["roc.fused.0.50"] == pytest.approx(0.5)


def test_every_score_is_a_finite_number_and_nothing_where_a_sample_has_one_modality() -> None:
    world = QUICK.world(0).changed("audio", missing_share=0.9).changed("vision", missing_share=0.9)
    data = make_data(QUICK, world, 0)
    network, _ = train_small(OWN, data, QUICK, 0)
    assert isinstance(network, HctDmg)
    test = data.splits["test"]
    calibration = calibrate(network, data, data.splits["valid"])
    predictions = predict(network, calibration, test)
    scores = disagreements(network, calibration, predictions, test)
    is_alone_N = test.present_NM.sum(axis=1) == 1
    assert is_alone_N.any()
    assert set(scores) == {FLAG, *ALTERNATIVES}
    for name, score_N in scores.items():
        assert np.isfinite(score_N).all()
        assert name == "fused" or not score_N[is_alone_N].any()
    for one, is_alone in zip(predictions, is_alone_N, strict=True):
        if is_alone:
            assert (one.incongruity.status, one.incongruity.flag) == ("insufficient_evidence", False)
            assert one.incongruity.score is None


def test_the_flag_is_judged_on_the_default_world() -> None:
    world = setup_of(FULL).world(DEFAULT_WORLD.seed)
    assert world == DEFAULT_WORLD
