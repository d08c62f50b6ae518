"""The affect event of a prepared segment and its prediction. Knows both and the message; nothing is computed here."""

from hctdmg.incongruity import Reading as ModelReading
from hctdmg.predictor import Prediction
from pipelines.events import (
    Affect,
    AffectEvent,
    Incongruity,
    ModalityReport,
    ModelInfo,
    Reading,
    Sentiment,
    Source,
    event_id,
)
from pipelines.prepared import PreparedSegment


def build_event(
    prepared: PreparedSegment, prediction: Prediction, model: ModelInfo, source: Source | None, infer_s: float
) -> AffectEvent:
    """Put an event together."""
    segment = prepared.segment
    return AffectEvent(
        event_id=event_id(segment.stream_id, segment.segment_id, model.checkpoint_sha256),
        stream_id=segment.stream_id,
        segment_id=segment.segment_id,
        sequence=segment.sequence,
        start_s=segment.start_s,
        duration_s=prepared.duration_s,
        affect=_affect(prediction),
        incongruity=_incongruity(prediction),
        modalities={
            name: ModalityReport(
                present=len(prepared.features[name]) > 0,
                quality=prepared.quality[name],
                num_steps=len(prepared.features[name]),
                gate_weight=prediction.gate_weights[name],
                role=role,
            )
            for name, role in prediction.roles.items()
        },
        model=model,
        source=source,
        timings_s={**prepared.timings_s, "infer": infer_s},
    )


def _affect(prediction: Prediction) -> Affect:
    sentiment = None
    if prediction.score is not None and prediction.lower is not None and prediction.upper is not None:
        sentiment = Sentiment(score=prediction.score, lower=prediction.lower, upper=prediction.upper)
    return Affect(label=prediction.label, sentiment=sentiment, emotions=prediction.emotions)


def _incongruity(prediction: Prediction) -> Incongruity:
    found = prediction.incongruity
    return Incongruity(
        status=found.status,
        flag=found.flag,
        score=found.score,
        threshold=found.threshold,
        pair=found.pair,
        reason=found.reason,
        readings={name: _reading(reading) for name, reading in prediction.readings.items()},
    )


def _reading(reading: ModelReading | None) -> Reading | None:
    if reading is None:
        return None
    return Reading(score=reading.score, confidence=reading.confidence, label=reading.label)
