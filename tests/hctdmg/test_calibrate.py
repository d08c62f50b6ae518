"""Calibration of a trained model: a head that sees nothing gains nothing by calling everything neutral."""

import dataclasses

import numpy as np
import pytest
import torch

from hctdmg.data.dataset import Dataset
from hctdmg.incongruity import Reading
from hctdmg.model import HctDmg
from hctdmg.training.build import build_network
from hctdmg.training.calibrate import MOST_ZONE, PRECISION, calibrate, is_right, predict
from hctdmg.training.flags import ReadingScores, score_flags
from hctdmg.training.network import standardise
from tests.small_data import MODEL, small_world

NOISE = "audio"


def noisy(data: Dataset, spread: float) -> tuple[HctDmg, Dataset]:
    """A model whose voice head answers at random, that far from 0."""
    network = build_network("hct-dmg", data, 1, MODEL)
    assert isinstance(network, HctDmg)
    standardise(network, data.splits["train"])
    head = network.unimodal_heads[NOISE]
    assert isinstance(head, torch.nn.Linear)
    with torch.no_grad():
        head.weight[0] *= spread / head.weight[0].norm()
        head.bias.zero_()
    return network, data


@pytest.fixture(scope="module", params=[1.0, 12.0])
def scores(request: pytest.FixtureRequest) -> ReadingScores:
    network, data = noisy(small_world(), request.param)
    calibration = calibrate(network, data, data.splits["valid"])
    assert calibration.unimodal[NOISE].neutral_zone <= MOST_ZONE
    assert calibration.min_confidence > 0.5
    test = data.splits["test"]
    found = score_flags(predict(network, calibration, test), test, data, calibration)
    assert found is not None
    return found.readings[NOISE]


def test_a_head_that_sees_nothing_is_right_no_more_often_than_a_guess(scores: ReadingScores) -> None:
    labels_N = small_world().splits["test"].unimodal[NOISE]
    classes_N = np.sign(np.where(np.abs(labels_N) > 0.5, labels_N, 0))
    _, counts = np.unique(classes_N, return_counts=True)
    assert scores.right < counts.max() / counts.sum() + 0.1
    assert scores.right < PRECISION


def test_truths_have_classes_of_their_own() -> None:
    data = small_world()
    neutral = Reading("neutral", 0.9, 0.0)
    assert is_right(neutral, 0.5, data)
    assert not is_right(neutral, 0.7, data)
    assert is_right(dataclasses.replace(neutral, label="positive"), 0.7, data)
    assert is_right(dataclasses.replace(neutral, label="negative"), -3.0, data)
