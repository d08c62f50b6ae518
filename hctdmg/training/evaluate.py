"""What a checkpoint is worth on a split: scores with floors and intervals, and its flag beside people's labels.

Knows checkpoints, splits and figures. Does not know how they are shown.

Shape suffixes: N samples, K outputs.
"""

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from torch import nn

from hctdmg.checkpoint import Checkpoint, find_checkpoint, load_checkpoint
from hctdmg.contract import FeatureContract
from hctdmg.data.dataset import Dataset, Floats, Split
from hctdmg.data.errors import DataError
from hctdmg.data.scale import on_cmu_scale
from hctdmg.manifest import CheckpointError
from hctdmg.predictor import Predictor
from hctdmg.training.calibrate import predict_samples
from hctdmg.training.flags import FlagScores, score_flags
from hctdmg.training.network import labelled_rows, predict_split
from hctdmg.training.peer_checkpoint import is_peer, load_peer
from hctdmg.training.run import CHECKPOINT
from hctdmg.training.scores import Score, class_scores, emotion_scores, sentiment_scores

Scores = dict[str, Score]


@dataclass(frozen=True)
class Judged:
    """A checkpoint that can be judged: HCT-DMG's, or a peer's.

    Attributes:
        network: In evaluation mode.
        name: Of the model.
        sha256: Digest of the checkpoint.
        widths: D of each modality that it needs.
        labels: Names of its classes; empty where it predicts sentiment.
        features: What it was trained on; None for a peer of ready-made features.
        training: What it says of how it was made.
        checkpoint: HCT-DMG's; None for a peer, which reads no modality on its own.
    """

    network: nn.Module
    name: str
    sha256: str
    widths: Mapping[str, int]
    labels: tuple[str, ...]
    features: FeatureContract | None
    training: Mapping[str, Any]
    checkpoint: Checkpoint | None


@dataclass(frozen=True)
class Evaluation:
    """What was found.

    Attributes:
        num_samples: That were scored.
        num_left_out: Without any modality, or without a label.
        scores: By name; of yes-or-no labels, "NAME accuracy", "NAME f1" and "NAME f1_macro" for each.
        predicted_NK: Raw outputs of the samples that were scored.
        truth_NK: Their labels.
        flags: None for a peer, and where no two modalities were labelled on their own.
    """

    num_samples: int
    num_left_out: int
    scores: Scores
    predicted_NK: Floats
    truth_NK: Floats
    flags: FlagScores | None


def load_judged(name_or_path: str) -> Judged:
    """A checkpoint's folder, a run's folder, or the name of a shipped checkpoint.

    Raises:
        CheckpointError: There is none, or it can't be read.
    """
    inside = Path(name_or_path).expanduser() / CHECKPOINT
    folder = inside if inside.is_dir() else Path(name_or_path).expanduser()
    if is_peer(folder):
        network, peer, sha256 = load_peer(folder)
        labels = tuple(peer.training.get("data", {}).get("labels", ()))
        return Judged(network, peer.model, sha256, network.widths, labels, peer.features, peer.training, None)
    loaded = load_checkpoint(str(inside) if inside.is_dir() else str(find_checkpoint(name_or_path)))
    manifest = loaded.manifest
    model = manifest.model
    return Judged(
        loaded.model,
        manifest.name,
        loaded.sha256,
        model.widths,
        model.labels,
        manifest.features,
        manifest.training,
        loaded,
    )


def evaluate_split(judged: Judged, data: Dataset, split_name: str, seed: int = 0) -> Evaluation:
    """Score a checkpoint on one split; a regression on CMU's scale, whatever scale the data has.

    Args:
        judged: The checkpoint.
        data: As read.
        split_name: "train", "valid" or "test".
        seed: Of the bootstrap.

    Raises:
        CheckpointError: The checkpoint does not fit the data.
        DataError: No sample of the split can be scored.
    """
    _check_fit(judged, data)
    data = on_cmu_scale(data)
    split = data.splits[split_name]
    rows_N = labelled_rows(split)
    if not len(rows_N):
        raise DataError(
            f"{split_name}: none of {split.num_samples} samples has a modality and a label: nothing to score"
        )
    predicted_NK, truth_NK = predict_split(judged.network, split)[rows_N], split.labels_NK[rows_N]
    return Evaluation(
        num_samples=len(rows_N),
        num_left_out=split.num_samples - len(rows_N),
        scores=task_scores(predicted_NK, truth_NK, data, seed),
        predicted_NK=predicted_NK,
        truth_NK=truth_NK,
        flags=_flags(judged, data, split, seed),
    )


def task_scores(predicted_NK: Floats, truth_NK: Floats, data: Dataset, seed: int) -> Scores:
    """The scores of the data's kind of label, with 95 % intervals."""
    if data.task == "classes":
        return class_scores(predicted_NK.argmax(axis=1), truth_NK[:, 0].astype(np.int64), True, seed)
    if data.task == "binary":
        found = emotion_scores(predicted_NK > 0, truth_NK > 0.5, data.label_names, True, seed)
        return {
            f"{name} {what}": score
            for name, three in found.items()
            for what, score in zip(("accuracy", "f1", "f1_macro"), three, strict=True)
        }
    predicted_N, truth_N = predicted_NK[:, 0].astype(np.float64), truth_NK[:, 0].astype(np.float64)
    return sentiment_scores(predicted_N, truth_N, True, seed)


def _flags(judged: Judged, data: Dataset, split: Split, seed: int) -> FlagScores | None:
    if judged.checkpoint is None or data.task == "binary":
        return None
    calibration = judged.checkpoint.manifest.calibration
    return score_flags(predict_samples(Predictor(judged.checkpoint), split), split, data, calibration, seed)


def _check_fit(judged: Judged, data: Dataset) -> None:
    if dict(judged.widths) != data.widths:
        raise CheckpointError(
            f"the checkpoint needs widths {dict(judged.widths)}, the data has {data.widths}: give the data set that "
            "it was trained on, or one with the same features"
        )
    if judged.labels != data.label_names:
        theirs, ours = (", ".join(names) or "sentiment" for names in (judged.labels, data.label_names))
        raise CheckpointError(f"the checkpoint answers with {theirs}, the data is labelled with {ours}")
    needed = judged.features
    if data.contract is None or needed is None or needed.is_precomputed:
        return
    if differences := needed.differences(data.contract):
        raise CheckpointError(
            f"the data's features are not those that the checkpoint needs (checkpoint != data): {differences[0]}"
        )


def as_json(evaluation: Evaluation) -> dict[str, Any]:
    """All figures as JSON values; a figure that is undefined is null."""
    found = {
        "num_samples": evaluation.num_samples,
        "num_left_out": evaluation.num_left_out,
        "scores": {name: dataclasses.asdict(score) for name, score in evaluation.scores.items()},
        "incongruity": dataclasses.asdict(evaluation.flags) if evaluation.flags else None,
    }
    cleaned: dict[str, Any] = _without_nan(found)
    return cleaned


def _without_nan(value: Any) -> Any:
    if isinstance(value, dict):
        return {name: _without_nan(one) for name, one in value.items()}
    return None if isinstance(value, float) and np.isnan(value) else value
