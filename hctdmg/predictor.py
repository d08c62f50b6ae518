"""From features to a calibrated answer: collate, run, calibrate, assess.

`Interpreter` is all but the run, the same code wherever the model runs; `Predictor` runs it here. Knows checkpoints
and samples. Does not know segments or events.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

from hctdmg.batch import Batch, Sample, collate
from hctdmg.buckets import split_by_length
from hctdmg.checkpoint import Checkpoint
from hctdmg.incongruity import Assessment, Reading, assess
from hctdmg.manifest import HeadCalibration
from hctdmg.model import Output
from hctdmg.runner import Execution, Precision, Runner

Role = Literal["primary", "auxiliary", "absent"]

MAX_SCORE = 3.0
"""Sentiment runs from -3 to 3 on CMU's scale."""


@dataclass(frozen=True)
class Prediction:
    """One sample's answer. Label, score and emotions are None when the sample has no modality at all.

    Attributes:
        label: "negative", "neutral", "positive", or the likeliest emotion.
        score: Sentiment in [-3, 3]; None for a checkpoint of emotions.
        lower: Lower end of the 80 % interval; None with the score.
        upper: Upper end of the 80 % interval; None with the score.
        emotions: Calibrated probabilities; None for a checkpoint of sentiment.
        readings: What each modality says on its own; None where it is absent.
        incongruity: Whether the readings contradict each other.
        roles: What each modality was in the hierarchy.
        gate_weights: Weight of each modality; they sum to 1.
    """

    label: str | None
    score: float | None
    lower: float | None
    upper: float | None
    emotions: dict[str, float] | None
    readings: dict[str, Reading | None]
    incongruity: Assessment
    roles: dict[str, Role]
    gate_weights: dict[str, float]


@dataclass(frozen=True)
class Question:
    """What the model is asked about some samples.

    Attributes:
        num_samples: All of them.
        rows: Those that have a modality, by index.
        batch: Those, padded; None when there are none, and then nobody needs to be asked.
    """

    num_samples: int
    rows: list[int]
    batch: Batch | None


class Interpreter:
    """Puts samples before a checkpoint's model and says what its output means, whoever runs it.

    Args:
        checkpoint: Loaded.
    """

    def __init__(self, checkpoint: Checkpoint) -> None:
        self.manifest = checkpoint.manifest
        weights = checkpoint.model.gate.weights_N().tolist()
        self.gate_weights: dict[str, float] = dict(zip(self.manifest.model.names, weights, strict=True))

    def ask(self, samples: Sequence[Sample]) -> Question:
        """Collate samples; one without any modality is answered without the model.

        Raises:
            ValueError: A sample does not fit the checkpoint (see `hctdmg.batch.collate`).
        """
        rows = [index for index, sample in enumerate(samples) if any(len(x_TD) for x_TD in sample.values())]
        present = [samples[index] for index in rows]
        return Question(len(samples), rows, collate(present, self.manifest.model.widths) if rows else None)

    def answer(self, question: Question, output: Output | None) -> list[Prediction]:
        """Answer the samples in their order.

        Args:
            question: From `ask`.
            output: What the model said of its batch; None when there was none.
        """
        answers = [self._nothing_to_read() for _ in range(question.num_samples)]
        if question.batch is not None and output is not None:
            predictions = self._calibrate(output, question.batch.masks)
            for row, prediction in zip(question.rows, predictions, strict=True):
                answers[row] = prediction
        return answers

    def _calibrate(self, output: Output, masks: Mapping[str, Tensor]) -> list[Prediction]:
        names = self.manifest.model.names
        fused = output.prediction_BK.float().tolist()
        unimodal = {name: raw_BK.float().tolist() for name, raw_BK in output.unimodal.items()}
        present = {name: mask_BT.any(dim=1).tolist() for name, mask_BT in masks.items()}
        primaries = output.order_BN[:, 0].tolist()
        return [
            self._prediction(
                fused[row],
                {name: unimodal[name][row] if present[name][row] else None for name in names},
                names[primaries[row]],
            )
            for row in range(len(fused))
        ]

    def _prediction(
        self, fused: list[float], unimodal: dict[str, list[float] | None], primary: str
    ) -> Prediction:
        calibration = self.manifest.calibration
        readings = {
            name: None if raw is None else self._read(raw, calibration.unimodal[name])
            for name, raw in unimodal.items()
        }
        answer = self._read(fused, calibration.fused)
        lower = upper = None
        if answer.score is not None:
            half = calibration.interval_factor * calibration.fused.temperature * math.exp(fused[1])
            lower, upper = clip_score(fused[0] - half), clip_score(fused[0] + half)
        labels = self.manifest.model.labels
        roles: dict[str, Role] = {
            name: "absent" if reading is None else "primary" if name == primary else "auxiliary"
            for name, reading in readings.items()
        }
        return Prediction(
            label=answer.label,
            score=answer.score,
            lower=lower,
            upper=upper,
            emotions=dict(zip(labels, answer.probabilities, strict=True)) if answer.probabilities else None,
            readings=readings,
            incongruity=assess(readings, calibration.min_confidence, calibration.incongruity_threshold),
            roles=roles,
            gate_weights=self.gate_weights,
        )

    def _read(self, raw: list[float], head: HeadCalibration) -> Reading:
        """Calibrate one head's output for one sample."""
        labels = self.manifest.model.labels
        if labels:
            probabilities = (
                torch.tensor(raw, dtype=torch.float64).div(head.temperature).softmax(dim=0).tolist()
            )
            best = max(range(len(labels)), key=lambda index: probabilities[index])
            return Reading(labels[best], probabilities[best], probabilities=tuple(probabilities))
        location, scale = raw[0], head.temperature * math.exp(raw[1])
        label, confidence = sentiment_class(location, scale, head.neutral_zone)
        return Reading(label, confidence, score=clip_score(location))

    def _nothing_to_read(self) -> Prediction:
        calibration = self.manifest.calibration
        readings: dict[str, Reading | None] = dict.fromkeys(self.manifest.model.names)
        return Prediction(
            label=None,
            score=None,
            lower=None,
            upper=None,
            emotions=None,
            readings=readings,
            incongruity=assess(readings, calibration.min_confidence, calibration.incongruity_threshold),
            roles=dict.fromkeys(readings, "absent"),
            gate_weights=self.gate_weights,
        )


class Predictor:
    """Answers samples with one checkpoint, in this process, in runs of similar lengths.

    Args:
        checkpoint: Loaded; its model is moved to the device and the precision.
        device: A torch device.
        precision: Of the model's transformers (see `hctdmg.runner`).
        execution: How the model is run.
    """

    def __init__(
        self,
        checkpoint: Checkpoint,
        device: str = "cpu",
        precision: Precision = "fp32",
        execution: Execution = "eager",
    ) -> None:
        self._interpreter = Interpreter(checkpoint)
        self.manifest = checkpoint.manifest
        self.gate_weights = self._interpreter.gate_weights
        self._by_weight = sorted(self.gate_weights, key=lambda name: -self.gate_weights[name])
        self._runner = Runner(checkpoint.model, device, precision, execution)
        self.model = self._runner.model

    def warm_up(self, num_samples: int) -> None:
        """Run batches of one and of so many samples, so that the first real one does not wait for what is done once."""
        self._runner.warm_up(num_samples)

    def predict(self, samples: Sequence[Sample]) -> list[Prediction]:
        """Answer samples in their order.

        Raises:
            ValueError: A sample does not fit the checkpoint (see `hctdmg.batch.collate`).
        """
        runs = split_by_length(samples, self._by_weight)
        questions = [self._interpreter.ask([samples[row] for row in rows]) for rows in runs]
        outputs = iter(self._runner.run([one.batch for one in questions if one.batch is not None]))
        answers: dict[int, Prediction] = {}
        for rows, question in zip(runs, questions, strict=True):
            output = None if question.batch is None else next(outputs)
            answers.update(zip(rows, self._interpreter.answer(question, output), strict=True))
        return [answers[row] for row in range(len(samples))]


def sentiment_class(location: float, scale: float, neutral_zone: float) -> tuple[str, float]:
    """The class that a location falls in, and its probability under Laplace(location, scale).

    Args:
        location: Predicted sentiment.
        scale: Predicted Laplace scale b, calibrated; positive.
        neutral_zone: Sentiment within this distance of 0 is neutral.
    """
    below = laplace_cdf((-neutral_zone - location) / scale)
    above = laplace_cdf((location - neutral_zone) / scale)
    if location < -neutral_zone:
        return "negative", below
    if location > neutral_zone:
        return "positive", above
    return "neutral", max(0.0, 1.0 - below - above)


def laplace_cdf(z: float) -> float:
    """Probability that a standard Laplace variable is at most z."""
    return 0.5 * math.exp(z) if z < 0 else 1.0 - 0.5 * math.exp(-z)


def clip_score(score: float) -> float:
    """Sentiment within its scale."""
    return min(MAX_SCORE, max(-MAX_SCORE, score))
