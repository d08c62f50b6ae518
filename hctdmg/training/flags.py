"""How well incongruity is seen: readings and flags beside what people said of each modality on its own.

Knows predictions and labels. Does not know models.

Shape suffixes: N samples.
"""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from hctdmg.data.dataset import Bools, Dataset, Split
from hctdmg.manifest import Calibration
from hctdmg.predictor import Prediction
from hctdmg.training.calibrate import is_right
from hctdmg.training.contradictions import contradict_by_labels, contradictions
from hctdmg.training.metrics import auroc, pearson
from hctdmg.training.scores import Score, interval


@dataclass(frozen=True)
class ReadingScores:
    """One modality's readings beside people's labels of it.

    Attributes:
        num_samples: That have the modality and a label of it.
        right: Share whose class is people's.
        r: Pearson's, of sentiment; None for classes.
    """

    num_samples: int
    right: float
    r: float | None


@dataclass(frozen=True)
class FlagScores:
    """The flag beside people's contradictions.

    Attributes:
        num_samples: With at least one modality.
        num_contradicting: Whose modalities people found to contradict each other.
        auroc: Of the widest distance between confident readings that exclude each other; None if all or none do.
        precision: Share of the flagged that contradict; None if none is flagged.
        recall: Share of the contradicting that are flagged; None if none is.
        false_positive_rate: Share of the others that are flagged; None if there are none.
        insufficient_share: Share with fewer than two confident readings.
        threshold: Of the checkpoint.
        min_confidence: Of the checkpoint.
        readings: Of each modality that was labelled.
    """

    num_samples: int
    num_contradicting: int
    auroc: Score | None
    precision: float | None
    recall: float | None
    false_positive_rate: float | None
    insufficient_share: float
    threshold: float
    min_confidence: float
    readings: Mapping[str, ReadingScores]


def score_flags(
    predictions: list[Prediction], split: Split, data: Dataset, calibration: Calibration, seed: int = 0
) -> FlagScores | None:
    """Score the flags of a split.

    Args:
        predictions: Of every sample, in order.
        split: With labels of its modalities.
        data: Says what a label is.
        calibration: Of the checkpoint that predicted.
        seed: Of the bootstrap.

    Returns:
        None where fewer than two modalities were labelled, or no sample has any.
    """
    conflict_N = contradict_by_labels(split, data.task)
    present_N = np.asarray(split.present_NM.any(axis=1))
    if conflict_N is None or not present_N.any():
        return None
    conflict_N = conflict_N[present_N]
    kept = [one for one, is_kept in zip(predictions, present_N, strict=True) if is_kept]
    flag_N = np.array([one.incongruity.flag for one in kept])
    insufficient_N = np.array([one.incongruity.status == "insufficient_evidence" for one in kept])
    return FlagScores(
        num_samples=len(kept),
        num_contradicting=int(conflict_N.sum()),
        auroc=_auroc(contradictions(kept, calibration.min_confidence), conflict_N, seed),
        precision=_share(conflict_N[flag_N]),
        recall=_share(flag_N[conflict_N]),
        false_positive_rate=_share(flag_N[~conflict_N]),
        insufficient_share=float(insufficient_N.mean()),
        threshold=calibration.incongruity_threshold,
        min_confidence=calibration.min_confidence,
        readings={name: _score_readings(name, predictions, split, data) for name in split.unimodal},
    )


def _auroc(score_N: npt.NDArray[np.float64], conflict_N: Bools, seed: int) -> Score | None:
    if conflict_N.all() or not conflict_N.any():
        return None
    value = auroc(score_N, conflict_N)
    found = interval(_auroc_or_nan, (score_N, conflict_N), seed)
    return Score(value, 0.5) if found is None else Score(value, 0.5, *found)


def _auroc_or_nan(score_N: npt.NDArray[np.float64], conflict_N: Bools) -> float:
    """A resample can lack one kind."""
    return float("nan") if conflict_N.all() or not conflict_N.any() else auroc(score_N, conflict_N)


def _share(is_so_N: Bools) -> float | None:
    return float(is_so_N.mean()) if len(is_so_N) else None


def _score_readings(name: str, predictions: list[Prediction], split: Split, data: Dataset) -> ReadingScores:
    pairs = [
        (reading, float(truth))
        for one, truth in zip(predictions, split.unimodal[name], strict=True)
        if (reading := one.readings[name]) is not None and not np.isnan(truth)
    ]
    if not pairs:
        return ReadingScores(0, float("nan"), None)
    right_N = np.array([is_right(reading, truth, data) for reading, truth in pairs])
    scores = [reading.score for reading, _ in pairs if reading.score is not None]
    r = pearson(np.array(scores), np.array([truth for _, truth in pairs])) if scores else None
    return ReadingScores(len(pairs), float(right_N.mean()), r)
