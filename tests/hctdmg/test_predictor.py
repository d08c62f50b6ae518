"""From features to a calibrated answer."""

import dataclasses
import math

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from hctdmg.checkpoint import Checkpoint
from hctdmg.manifest import HeadCalibration
from hctdmg.predictor import Predictor, laplace_cdf, sentiment_class
from tests.hctdmg.samples import make_model, make_sample, small_config
from tests.hctdmg.test_checkpoint import make_manifest


def make_predictor(labels: tuple[str, ...] = (), temperature: float = 1.0) -> Predictor:
    model = make_model(small_config(labels=labels), gate=[0.0, 2.0, 1.0])
    manifest = make_manifest(model)
    fused = HeadCalibration(temperature, 0.5)
    calibration = dataclasses.replace(manifest.calibration, fused=fused)
    return Predictor(Checkpoint(dataclasses.replace(manifest, calibration=calibration), model, "0" * 64))


def test_answers_come_in_order_and_do_not_depend_on_each_other() -> None:
    predictor = make_predictor()
    config = predictor.manifest.model
    rows: tuple[dict[str, int], ...] = (
        {"text": 3, "audio": 2},
        {},
        {"vision": 4},
        {"text": 1, "audio": 9, "vision": 2},
    )
    samples = [make_sample(config, row, seed) for seed, row in enumerate(rows)]
    together = predictor.predict(samples)
    for sample, found in zip(samples, together, strict=True):
        alone = predictor.predict([sample])[0]
        assert found.roles == alone.roles
        assert (found.score is None) == (alone.score is None)
        if found.score is not None:
            assert found.score == pytest.approx(alone.score, abs=1e-5)
            assert (found.lower, found.upper) == pytest.approx((alone.lower, alone.upper), abs=1e-5)


def test_roles_say_what_each_modality_was() -> None:
    predictor = make_predictor()
    config = predictor.manifest.model
    full, no_audio = predictor.predict(
        [
            make_sample(config, {"text": 2, "audio": 2, "vision": 2}),
            make_sample(config, {"text": 2, "vision": 2}),
        ]
    )
    assert full.roles == {"text": "auxiliary", "audio": "primary", "vision": "auxiliary"}
    assert no_audio.roles == {"text": "auxiliary", "audio": "absent", "vision": "primary"}
    assert no_audio.readings["audio"] is None
    assert sum(full.gate_weights.values()) == pytest.approx(1)


def test_nothing_at_all_is_answered_without_the_model() -> None:
    predictor = make_predictor()

    def refuse(*_: object) -> None:
        raise AssertionError("the model ran")

    predictor.model.register_forward_pre_hook(refuse)
    config = predictor.manifest.model
    for answer in predictor.predict([{}, make_sample(config, {})]):
        assert (answer.label, answer.score, answer.emotions) == (None, None, None)
        assert answer.incongruity.status == "insufficient_evidence"
        assert set(answer.roles.values()) == {"absent"}
    assert predictor.predict([]) == []


def test_the_interval_holds_the_score_and_widens_with_the_temperature() -> None:
    sample = make_sample(small_config(), {"text": 2, "audio": 2})
    narrow, wide = (make_predictor(temperature=t).predict([sample])[0] for t in (0.1, 0.2))
    assert narrow.lower is not None
    assert narrow.upper is not None
    assert narrow.score is not None
    assert wide.lower is not None
    assert -3 <= wide.lower < narrow.lower < narrow.score < narrow.upper <= 3
    assert narrow.score - wide.lower == pytest.approx(2 * (narrow.score - narrow.lower), abs=1e-5)


def test_extreme_features_still_give_a_score_on_the_scale() -> None:
    predictor = make_predictor()
    huge = {
        name: np.full((3, width), 1e30, np.float32) for name, width in predictor.manifest.model.widths.items()
    }
    answer = predictor.predict([huge])[0]
    assert answer.score is not None
    assert answer.lower is not None
    assert answer.upper is not None
    assert -3 <= answer.lower <= answer.score <= answer.upper <= 3


def test_emotions_are_probabilities() -> None:
    predictor = make_predictor(labels=("happy", "sad", "angry"))
    answer = predictor.predict([make_sample(predictor.manifest.model, {"text": 2, "vision": 3})])[0]
    assert answer.emotions is not None
    assert sum(answer.emotions.values()) == pytest.approx(1)
    assert answer.label == max(answer.emotions, key=lambda name: answer.emotions[name])  # type: ignore[index]
    assert (answer.score, answer.lower, answer.upper) == (None, None, None)


@given(st.floats(-3, 3), st.floats(0.01, 5), st.floats(0, 1))
def test_class_probability_agrees_with_sampling(location: float, scale: float, zone: float) -> None:
    label, confidence = sentiment_class(location, scale, zone)
    probabilities = {
        "negative": laplace_cdf((-zone - location) / scale),
        "positive": 1 - laplace_cdf((zone - location) / scale),
    }
    probabilities["neutral"] = 1 - sum(probabilities.values())
    assert confidence == pytest.approx(max(0.0, probabilities[label]), abs=1e-9)
    assert label == ("negative" if location < -zone else "positive" if location > zone else "neutral")


def test_laplace_cdf_is_torchs() -> None:
    z = torch.linspace(-8, 8, 65, dtype=torch.float64)
    laplace = torch.distributions.Laplace(torch.zeros((), dtype=torch.float64), 1.0)
    expected = laplace.cdf(z)  # type: ignore[no-untyped-call]
    found = torch.tensor([laplace_cdf(float(value)) for value in z], dtype=torch.float64)
    torch.testing.assert_close(found, expected)
    assert math.isclose(laplace_cdf(0.0), 0.5)
