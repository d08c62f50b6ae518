"""Judges the starter on what it has never seen, through the code that serves it.

Knows test splits, the plain sentences and the checking clips. Does not know how the model was trained.

Shape suffixes: N samples.
"""

import importlib.resources
import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from hctdmg.batch import Sample
from hctdmg.predictor import Prediction, Predictor
from hctdmg.training.contradictions import true_class
from hctdmg.training.metrics import auroc, coverage, mean_absolute_error, pearson, sign_accuracy
from pipelines.deadline import Deadline
from pipelines.decode import decode
from pipelines.features import Track
from pipelines.media import MediaConfig
from pipelines.segment import Segment
from pipelines.starter.calibrate import can_agree
from pipelines.starter.corpus import Passage
from pipelines.starter.mixture import Scene, scenes_of
from pipelines.starter.world import SHIFTED, Feeling, World
from pipelines.text import TextExtractor
from pipelines.vision import FRAME_LONGEST_PX, FRAMES_HZ, VisionExtractor

Numbers = npt.NDArray[np.float64]
Figures = dict[str, Any]
"""JSON values."""

BATCH = 64
CLIP_DEADLINE_S = 60.0
CLEAR_WORDS, CLEAR_SMILE = 1.0, 0.5
"""A pair agrees or contradicts itself beyond doubt with words at least this far from 0 (a third of the scale) and a
face that does not smile at all or for at least half of the time."""


@dataclass(frozen=True)
class PlainSentence:
    """A sentence written by hand for the test, in no training set and beyond the grammar.

    Attributes:
        text: As said.
        sign: -1 or 1.
        negated: Whether it holds a negation.
    """

    text: str
    sign: int
    negated: bool


def load_plain_sentences() -> list[PlainSentence]:
    """The hundred committed ones."""
    text = (importlib.resources.files("pipelines.starter") / "plain_sentences.json").read_text("utf-8")
    return [PlainSentence(**row) for row in json.loads(text)]


def judge_ratings(predictor: Predictor, passages: Sequence[Passage]) -> Figures:
    """The fused score of words alone against people's ratings, by source, and the words' own reading."""
    ordered = sorted(passages, key=lambda passage: len(passage.values_TD))
    predictions = predict(predictor, [{"text": passage.values_TD.astype(np.float32)} for passage in ordered])
    truth_N = np.array([passage.sentiment for passage in ordered])
    score_N, lower_N, upper_N = _scores(predictions)
    reading_N = np.array([_reading_score(prediction, "text") for prediction in predictions])
    figures: Figures = {
        "n": len(ordered),
        "r": pearson(score_N, truth_N),
        "r_reading": pearson(reading_N, truth_N),
        "mae": mean_absolute_error(score_N, truth_N),
        "sign": sign_accuracy(score_N, truth_N),
        "coverage_80": coverage(lower_N, upper_N, truth_N),
    }
    for source in sorted({passage.source for passage in ordered}):
        of_N = np.array([passage.source == source for passage in ordered])
        figures[source] = {
            "n": int(of_N.sum()),
            "r": pearson(score_N[of_N], truth_N[of_N]),
            "coverage_80": coverage(lower_N[of_N], upper_N[of_N], truth_N[of_N]),
        }
    return figures | {"confidence": _judge_confidence(predictor, predictions, truth_N)}


def _judge_confidence(predictor: Predictor, predictions: Sequence[Prediction], truth_N: Numbers) -> Figures:
    """Whether readings of words are right as often as they say, and how many are confident."""
    calibration = predictor.manifest.calibration
    zone = calibration.unimodal["text"].neutral_zone
    readings = [prediction.readings["text"] for prediction in predictions]
    confidence_N = np.array([reading.confidence if reading else np.nan for reading in readings])
    is_right_N = np.array(
        [
            reading is not None and reading.label == true_class(truth, zone)
            for reading, truth in zip(readings, truth_N, strict=True)
        ]
    )
    sure_N = confidence_N >= calibration.min_confidence
    return {
        "mean_confidence": float(confidence_N.mean()),
        "share_right": float(is_right_N.mean()),
        "share_confident": float(sure_N.mean()),
        "share_right_when_confident": float(is_right_N[sure_N].mean()) if sure_N.any() else None,
    }


def judge_plain_sentences(predictor: Predictor) -> Figures:
    """Whether the fused score of plain sentences has the right sign."""
    extractor, sentences = TextExtractor(), load_plain_sentences()
    predictions = predict(
        predictor, [{"text": extractor.word_features(sentence.text.split())} for sentence in sentences]
    )
    right = [
        np.sign(prediction.score or 0.0) == sentence.sign
        for prediction, sentence in zip(predictions, sentences, strict=True)
    ]
    negated = [sentence.negated for sentence in sentences]
    return {
        "n": len(sentences),
        "sign_right": float(np.mean(right)),
        "sign_right_negated": float(np.mean([ok for ok, has in zip(right, negated, strict=True) if has])),
        "sign_right_others": float(np.mean([ok for ok, has in zip(right, negated, strict=True) if not has])),
        "wrong": [sentence.text for sentence, ok in zip(sentences, right, strict=True) if not ok],
    }


def judge_intervals(predictor: Predictor, passages: Sequence[Passage], seed: int) -> Figures:
    """Coverage and width of the 80 % intervals in the world trained in, by kind of scene."""
    scenes, predictions = _answers(predictor, World(), passages, len(passages) // 4, seed)
    truth_N = np.array([scene.feeling.fused for scene in scenes])
    _, lower_N, upper_N = _scores(predictions)
    kinds = {
        "all": np.ones(len(scenes), bool),
        "agreement": np.array([can_agree(scene) for scene in scenes]),
        "conflict": np.array([scene.feeling.is_conflict for scene in scenes]),
        "words alone": np.array([set(scene.sample) == {"text"} for scene in scenes]),
        "face alone": np.array([set(scene.sample) == {"vision"} for scene in scenes]),
        "voice alone": np.array([set(scene.sample) == {"audio"} for scene in scenes]),
    }
    return {
        kind: {
            "n": int(is_N.sum()),
            "coverage_80": coverage(lower_N[is_N], upper_N[is_N], truth_N[is_N]),
            "mean_width": float((upper_N - lower_N)[is_N].mean()),
        }
        for kind, is_N in kinds.items()
        if is_N.any()
    }


def judge_incongruity(
    predictor: Predictor, unseen: Sequence[Passage], rated: Sequence[Passage], seed: int
) -> Figures:
    """The wiring's check: generated pairs of words and face in a world shifted from the one trained in.

    Args:
        predictor: Of the starter.
        unseen: Composed sentences that were not trained on.
        rated: People's sentences of the test split: the same check, with words as hard as they come.
        seed: Of the pairs.
    """
    return {
        "about": "a check of the wiring on generated pairs with shifted parameters, not of people",
        **_judge_pairs(predictor, unseen, seed),
        "with_rated_sentences": _judge_pairs(predictor, rated, seed + 1),
    }


def _judge_pairs(predictor: Predictor, passages: Sequence[Passage], seed: int) -> Figures:
    scenes, predictions = _answers(predictor, World(SHIFTED), passages, 0, seed)
    pairs = [
        (scene, prediction)
        for scene, prediction in zip(scenes, predictions, strict=True)
        if is_clear_pair(scene.feeling)
    ]
    is_conflict_N = np.array([scene.feeling.is_conflict for scene, _ in pairs])
    # Without two confident readings the score is null: such pairs have no place in a ranking, their share is
    # told beside it, and so is the area when null counts as 0.
    has_score_N = np.array([prediction.incongruity.score is not None for _, prediction in pairs])
    score_N = np.array([prediction.incongruity.score or 0.0 for _, prediction in pairs])
    flag_N = np.array([prediction.incongruity.flag for _, prediction in pairs])
    voices = [prediction.readings["audio"] for prediction in predictions]
    heard_N = np.array([reading.confidence for reading in voices if reading is not None])
    return {
        "n": len(pairs),
        "num_conflicts": int(is_conflict_N.sum()),
        "auroc": auroc(score_N[has_score_N], is_conflict_N[has_score_N]),
        "auroc_null_as_zero": auroc(score_N, is_conflict_N),
        "share_with_score": float(has_score_N.mean()),
        "flagged_conflicts": float(flag_N[is_conflict_N].mean()),
        "flagged_agreements": float(flag_N[~is_conflict_N].mean()),
        "confident_voices": float((heard_N >= predictor.manifest.calibration.min_confidence).mean()),
        "greatest_confidence_of_a_voice": float(heard_N.max()),
    }


def is_clear_pair(feeling: Feeling) -> bool:
    """Whether words and face are there and each is clear: words well off 0, no smile or one that lasts."""
    if feeling.text is None or feeling.smile is None or abs(feeling.text) < CLEAR_WORDS:
        return False
    return feeling.smile == 0 or feeling.smile >= CLEAR_SMILE


def judge_clips(predictor: Predictor, faces: Path, stretches: Path) -> Figures:
    """Readings of the face in the stretches of the checking clips that are known to smile or not.

    Args:
        predictor: Of the starter.
        faces: Folder of the clips.
        stretches: JSON: for each clip the seconds of its "smiling" and "neutral" stretches.
    """
    extractor = VisionExtractor()
    figures: Figures = {}
    for name, kinds in json.loads(stretches.read_text("utf-8")).items():
        if not isinstance(kinds, dict):
            continue
        decoded = decode(
            (faces / name).read_bytes(),
            MediaConfig(),
            Deadline.after(CLIP_DEADLINE_S),
            frames_hz=FRAMES_HZ,
            frame_width_px=FRAME_LONGEST_PX,
        )
        track = extractor.extract(Segment(stream_id="check", segment_id=name), decoded)
        figures[name] = {
            kind: [_read_stretch(predictor, track, *stretch) for stretch in found]
            for kind, found in kinds.items()
        }
    smiling, neutral = (
        [reading["score"] for kinds in figures.values() for reading in kinds[kind]]
        for kind in ("smiling", "neutral")
    )
    return {"smiling_reads_higher": bool(min(smiling) > max(neutral)), **figures}


def _read_stretch(predictor: Predictor, track: Track, start_s: float, end_s: float) -> Figures:
    is_inside = (track.times_T2[:, 0] >= start_s) & (track.times_T2[:, 0] < end_s)
    prediction = predictor.predict([{"vision": track.values_TD[is_inside]}])[0]
    reading = prediction.readings["vision"]
    assert reading is not None, f"no face between {start_s} and {end_s} s"
    return {
        "from_s": start_s,
        "to_s": end_s,
        "score": reading.score,
        "label": reading.label,
        "confidence": reading.confidence,
    }


def predict(predictor: Predictor, samples: Sequence[Sample]) -> list[Prediction]:
    """Answer samples, some at a time."""
    return [
        prediction
        for start in range(0, len(samples), BATCH)
        for prediction in predictor.predict(samples[start : start + BATCH])
    ]


def _answers(
    predictor: Predictor, world: World, passages: Sequence[Passage], num_without_text: int, seed: int
) -> tuple[list[Scene], list[Prediction]]:
    scenes = [scene for batch in scenes_of(world, passages, num_without_text, seed) for scene in batch]
    return scenes, predict(predictor, [scene.sample for scene in scenes])


def _scores(predictions: Sequence[Prediction]) -> tuple[Numbers, Numbers, Numbers]:
    rows = [(prediction.score, prediction.lower, prediction.upper) for prediction in predictions]
    score_N, lower_N, upper_N = np.array(rows, np.float64).T
    return score_N, lower_N, upper_N


def _reading_score(prediction: Prediction, name: str) -> float:
    reading = prediction.readings[name]
    return float("nan") if reading is None or reading.score is None else reading.score
