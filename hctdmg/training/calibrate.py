"""Calibrates a trained HCT-DMG on a validation split, through the same code that serves it.

Where nobody labelled the modalities on their own, each one's truth is the sample's, and every sample is taken to agree
with itself: the threshold then flags at most the stated share of all samples. Knows a model and a split. Does not know
how the weights came about.

Shape suffixes: N samples, K outputs.
"""

import dataclasses

import numpy as np
import numpy.typing as npt

from hctdmg.batch import Sample
from hctdmg.checkpoint import Checkpoint
from hctdmg.contract import precomputed_contract
from hctdmg.data.dataset import Dataset, Floats, Split
from hctdmg.incongruity import LABEL_RANGE, Reading
from hctdmg.manifest import Calibration, HeadCalibration, Manifest
from hctdmg.model import HctDmg
from hctdmg.predictor import Prediction, Predictor
from hctdmg.training.calibration import (
    fit_class_temperature,
    fit_interval_factor,
    fit_min_confidence,
    fit_neutral_zone,
    fit_temperature,
    fit_threshold,
)
from hctdmg.training.contradictions import contradict_by_labels, contradictions, true_class
from hctdmg.training.network import read_heads, usable_rows

CERTAIN_NEUTRAL_WITHIN = 0.25
"""A label so near to 0 is neutral beyond doubt: raters' means on CMU's scale come in thirds."""
MISREAD = 0.2
"""Share of such samples that may be read as positive or negative."""
LEAST_ZONE = 0.5
"""Half way to the first step of CMU's scale: what rounds to 0 there is neutral here."""
MOST_ZONE = 1.0
"""The first step of CMU's scale: a head whose neutral answers spread further is unsure, not neutral."""
PRECISION = 0.70
"""Share of the confident readings that must be of the right class."""
LEAST_CONFIDENCE = 0.5
"""Below it another class may be as likely."""
LEAST_THRESHOLD = 2 * LEAST_ZONE / LABEL_RANGE
"""Two sentiments on either side of the neutral zone are at least this far apart."""
FALSE_POSITIVE_RATE = 0.05
"""Share of the samples that agree with themselves which the threshold may flag."""
LEAST_TEMPERATURE = 1e-3
CHUNK = 256
"""Samples that are read at a time."""


def calibrate(model: HctDmg, data: Dataset, split: Split) -> Calibration:
    """Fit everything, in the order in which one thing rests on another.

    Args:
        model: Trained.
        data: Says what a label is; a regression's are on CMU's scale.
        split: Kept from training.
    """
    heads = read_heads(model, split)
    calibration = Calibration(
        fused=_fit_head(heads.fused_NK, split.labels_NK, data),
        unimodal={
            name: _fit_head(raw_NK, _truth(split, name), data) for name, raw_NK in heads.unimodal.items()
        },
        false_positive_rate=FALSE_POSITIVE_RATE,
    )
    if data.task == "regression":
        location_N, scale_N, truth_N = _known(heads.fused_NK, split.labels_NK)
        factor = fit_interval_factor(location_N, scale_N * calibration.fused.temperature, truth_N)
        calibration = dataclasses.replace(calibration, interval_factor=factor)
    if data.task == "binary":
        return calibration
    predictions = predict(model, calibration, split)
    calibration = dataclasses.replace(
        calibration, min_confidence=_fit_min_confidence(predictions, split, data)
    )
    score_N = contradictions(predictions, calibration.min_confidence)
    conflict_N = contradict_by_labels(split, data.task)
    agreeing_N = score_N if conflict_N is None else score_N[~conflict_N]
    if not len(agreeing_N):
        return calibration
    threshold = fit_threshold(agreeing_N, FALSE_POSITIVE_RATE)
    least = LEAST_THRESHOLD if data.task == "regression" else 0.0
    return dataclasses.replace(calibration, incongruity_threshold=max(threshold, least))


def predict(model: HctDmg, calibration: Calibration, split: Split) -> list[Prediction]:
    """Every sample's calibrated answer, in order, as it would be served."""
    contract = precomputed_contract(model.config.widths, "split")
    manifest = Manifest("unnamed", "0", "", model.config, contract, calibration, {}, "")
    return predict_samples(Predictor(Checkpoint(manifest, model, "")), split)


def predict_samples(predictor: Predictor, split: Split) -> list[Prediction]:
    """Every sample's answer, in order."""
    samples = _samples(split)
    return [
        prediction
        for begin in range(0, len(samples), CHUNK)
        for prediction in predictor.predict(samples[begin : begin + CHUNK])
    ]


def _samples(split: Split) -> list[Sample]:
    return [
        {name: x_NTD[row][split.masks[name][row]] for name, x_NTD in split.features.items()}
        for row in range(split.num_samples)
    ]


def _truth(split: Split, name: str) -> Floats:
    """(N, 1) or (N, K): what people said of the modality, or else of the whole sample."""
    return split.unimodal[name][:, None] if name in split.unimodal else split.labels_NK


def _fit_head(raw_NK: Floats, truth_NK: Floats, data: Dataset) -> HeadCalibration:
    """Left as it is where there is nothing to fit on."""
    if data.task == "binary":
        return HeadCalibration()
    if data.task == "classes":
        is_known_N = ~np.isnan(raw_NK).any(axis=1) & ~np.isnan(truth_NK[:, 0])
        if not is_known_N.any():
            return HeadCalibration()
        truth_N = truth_NK[is_known_N, 0].astype(np.int64)
        return HeadCalibration(fit_class_temperature(raw_NK[is_known_N].astype(np.float64), truth_N))
    location_N, scale_N, truth_N = _known(raw_NK, truth_NK)
    if not len(truth_N):
        return HeadCalibration()
    return HeadCalibration(
        # Truths that are met exactly, as a few samples can be, would leave no spread at all.
        temperature=max(LEAST_TEMPERATURE, fit_temperature(location_N, scale_N, truth_N)),
        neutral_zone=min(
            MOST_ZONE, fit_neutral_zone(location_N, truth_N, CERTAIN_NEUTRAL_WITHIN, MISREAD, LEAST_ZONE)
        ),
    )


def _known(
    raw_NK: Floats, truth_NK: Floats
) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.float64], npt.NDArray[np.float64]]:
    """Location, scale and truth of a regression, where all are known."""
    is_known_N = ~np.isnan(raw_NK).any(axis=1) & ~np.isnan(truth_NK[:, 0])
    known_NK = raw_NK[is_known_N].astype(np.float64)
    return known_NK[:, 0], np.exp(known_NK[:, 1]), truth_NK[is_known_N, 0].astype(np.float64)


def _fit_min_confidence(predictions: list[Prediction], split: Split, data: Dataset) -> float:
    """On the readings of all modalities together."""
    confidences, rights = [], []
    for row in usable_rows(split):
        for name, reading in predictions[row].readings.items():
            truth = float(_truth(split, name)[row, 0])
            if reading is not None and not np.isnan(truth):
                confidences.append(reading.confidence)
                rights.append(is_right(reading, truth, data))
    if not rights:
        return Calibration.min_confidence
    return fit_min_confidence(np.array(confidences), np.array(rights), PRECISION, LEAST_CONFIDENCE)


def is_right(reading: Reading, truth: float, data: Dataset) -> bool:
    """Whether a reading's class is that of the truth."""
    return reading.label == (true_class(truth) if data.task == "regression" else data.label_names[int(truth)])
