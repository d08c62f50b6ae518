"""Calibrates the trained starter on the split kept for it, through the same code that serves it.

Knows scenes and readings. Does not know how the weights came about.

Shape suffixes: N samples.
"""

import dataclasses
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
import torch

from hctdmg.checkpoint import Checkpoint
from hctdmg.manifest import Calibration, HeadCalibration, Manifest
from hctdmg.model import HctDmg
from hctdmg.predictor import Predictor, sentiment_class
from hctdmg.training.calibrate import (
    FALSE_POSITIVE_RATE,
    LEAST_CONFIDENCE,
    LEAST_THRESHOLD,
    LEAST_ZONE,
    PRECISION,
)
from hctdmg.training.calibration import (
    fit_interval_factor,
    fit_min_confidence,
    fit_neutral_zone,
    fit_temperature,
    fit_threshold,
)
from hctdmg.training.contradictions import contradictions, true_class
from pipelines.prepare import DEFAULT_EXTRACTORS, extractor_contract
from pipelines.starter.mixture import Scene, label

Numbers = npt.NDArray[np.float64]

NEUTRAL_WITHIN = 0.25
"""People's mean rating at most a third of a point (of four) from 0: neutral beyond doubt."""
MISREAD = 0.2
"""Share of such texts and faces that may be read as positive or negative."""


@dataclasses.dataclass(frozen=True)
class Outputs:
    """Raw outputs and truths of one head, NaN truths left out."""

    location_N: Numbers
    scale_N: Numbers
    truth_N: Numbers


def make_predictor(model: HctDmg, calibration: Calibration) -> Predictor:
    """The model as it will be served with a calibration."""
    contract = extractor_contract(DEFAULT_EXTRACTORS)
    manifest = Manifest("unnamed", "0", "", model.config, contract, calibration, {}, "")
    return Predictor(Checkpoint(manifest, model, ""))


def calibrate(model: HctDmg, batches: Sequence[Sequence[Scene]]) -> Calibration:
    """Fit everything, in the order in which one thing rests on another.

    Args:
        model: In evaluation mode.
        batches: Scenes of the calibration split, those of a batch with the same modalities.
    """
    outputs = raw_outputs(model, batches)
    heads = {name: _fit_head(head) for name, head in outputs.items()}
    fused = outputs["fused"]
    scale_N = fused.scale_N * heads["fused"].temperature
    calibration = Calibration(
        fused=heads.pop("fused"),
        unimodal=heads,
        interval_factor=fit_interval_factor(fused.location_N, scale_N, fused.truth_N),
        false_positive_rate=FALSE_POSITIVE_RATE,
    )
    min_confidence = _fit_min_confidence(outputs["text"], heads["text"])
    calibration = dataclasses.replace(calibration, min_confidence=min_confidence)
    predictor = make_predictor(model, calibration)
    agreeing = [[scene.sample for scene in batch if can_agree(scene)] for batch in batches]
    predictions = [prediction for samples in agreeing for prediction in predictor.predict(samples)]
    threshold = fit_threshold(contradictions(predictions, min_confidence), FALSE_POSITIVE_RATE)
    return dataclasses.replace(calibration, incongruity_threshold=max(threshold, LEAST_THRESHOLD))


def raw_outputs(model: HctDmg, batches: Sequence[Sequence[Scene]]) -> dict[str, Outputs]:
    """What the fused and each modality's head say, by "fused" and the modality's name."""
    rows: dict[str, list[tuple[float, float, float]]] = {"fused": []}
    for scenes in batches:
        labelled = label(scenes)
        with torch.inference_mode():
            output = model(labelled.batch)
        heads = {"fused": (output.prediction_BK, labelled.fused_B)}
        heads |= {name: (raw_BK, labelled.unimodal[name]) for name, raw_BK in output.unimodal.items()}
        for name, (raw_BK, truth_B) in heads.items():
            known_B = ~torch.isnan(truth_B)
            found = torch.stack([raw_BK[:, 0], raw_BK[:, 1].exp(), truth_B], dim=1)[known_B]
            rows.setdefault(name, []).extend(map(tuple, found.tolist()))
    return {name: Outputs(*np.array(values, np.float64).reshape(-1, 3).T) for name, values in rows.items()}


def can_agree(scene: Scene) -> bool:
    """Whether there are words and a face that do not contradict each other."""
    feeling = scene.feeling
    return feeling.text is not None and feeling.smile is not None and not feeling.is_conflict


def _fit_head(head: Outputs) -> HeadCalibration:
    return HeadCalibration(
        temperature=fit_temperature(head.location_N, head.scale_N, head.truth_N),
        neutral_zone=fit_neutral_zone(head.location_N, head.truth_N, NEUTRAL_WITHIN, MISREAD, LEAST_ZONE),
    )


def _fit_min_confidence(text: Outputs, head: HeadCalibration) -> float:
    """Words alone, for their truths are people's."""
    zone = head.neutral_zone
    read = [
        sentiment_class(location, scale * head.temperature, zone)
        for location, scale in zip(text.location_N, text.scale_N, strict=True)
    ]
    truths = [true_class(truth, zone) for truth in text.truth_N]
    is_right_N = np.array([label == truth for (label, _), truth in zip(read, truths, strict=True)])
    confidence_N = np.array([confidence for _, confidence in read])
    return fit_min_confidence(confidence_N, is_right_N, PRECISION, LEAST_CONFIDENCE)
