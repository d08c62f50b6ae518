"""Which samples contradict themselves: as people say of the modalities, and as a checkpoint's readings say.

Knows labels and predictions. Does not know models.

Shape suffixes: N samples, M modalities.
"""

import numpy as np
import numpy.typing as npt

from hctdmg.data.dataset import Bools, Split, Task
from hctdmg.incongruity import assess, distance
from hctdmg.predictor import Prediction

NEUTRAL_WITHIN = 0.5
"""Half way to the first step of CMU's scale: what people place nearer to 0 is neutral and contradicts nothing."""


def contradict_by_labels(split: Split, task: Task) -> Bools | None:
    """(N,) whether people found one present modality negative and another positive; of classes, different ones.

    None where nobody labelled two modalities on their own.
    """
    names = [name for name in split.features if name in split.unimodal]
    if len(names) < 2 or task == "binary":
        return None
    labels_NM = np.stack([split.unimodal[name] for name in names], axis=1).astype(np.float64)
    present_NM = np.stack([split.masks[name].any(axis=1) for name in names], axis=1)
    labels_NM[~present_NM] = np.nan
    if task == "classes":
        lowest_N = np.where(np.isnan(labels_NM), np.inf, labels_NM).min(axis=1)
        highest_N = np.where(np.isnan(labels_NM), -np.inf, labels_NM).max(axis=1)
        differ_N: Bools = lowest_N < highest_N
        return differ_N
    is_negative_N = np.asarray((labels_NM < -NEUTRAL_WITHIN).any(axis=1))
    is_positive_N = np.asarray((labels_NM > NEUTRAL_WITHIN).any(axis=1))
    return is_negative_N & is_positive_N


def contradiction(prediction: Prediction, min_confidence: float) -> float:
    """Widest distance between two confident readings that exclude each other, in [0, 1]; 0 without such."""
    verdict = assess(prediction.readings, min_confidence, 0.0)
    if verdict.pair is None:
        return 0.0
    left, right = (prediction.readings[name] for name in verdict.pair)
    assert left is not None
    assert right is not None
    return distance(left, right)


def true_class(truth: float, zone: float = NEUTRAL_WITHIN) -> str:
    """The class of a true sentiment, which no head's own neutral zone decides."""
    return "negative" if truth < -zone else "positive" if truth > zone else "neutral"


def contradictions(predictions: list[Prediction], min_confidence: float) -> npt.NDArray[np.float64]:
    """(N,) `contradiction` of each prediction."""
    return np.array([contradiction(one, min_confidence) for one in predictions], np.float64)
