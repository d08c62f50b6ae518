"""The deployment `HctDmgReplica`: prepared segments in, answers out, computed in batches.

Knows the predictor and the event. Does not know where features come from, nor Kafka's client.
"""

import asyncio
import time
from collections.abc import AsyncIterator, Callable, Sequence
from datetime import UTC, datetime
from typing import Protocol

from ray import serve

from hctdmg.batch import Sample
from hctdmg.checkpoint import Checkpoint, load_checkpoint
from hctdmg.predictor import Prediction, Predictor
from pipelines.answer import build_event
from pipelines.events import ModelInfo, Source
from pipelines.prepare import PreparedSegment
from workers.busy import Busy
from workers.config import ModelSettings, Settings
from workers.gate import ANNOUNCE_S
from workers.messages import Answer, Failure, event_answer, failure_of
from workers.scaling import BUSY
from workers.telemetry import set_up_logging
from workers.triton import ServerAwayError, TritonPredictor

Timed = tuple[Prediction, float]
"""A prediction and the seconds that its batch took."""


class Predicts(Protocol):
    """A checkpoint's model, wherever it runs."""

    async def predict(self, samples: Sequence[Sample]) -> list[Prediction]:
        """Answer samples in their order."""
        ...


class LocalPredictor:
    """The model in this process, on a thread of its own, so that the loop stays free.

    Args:
        checkpoint: Loaded.
        settings: The device.
    """

    def __init__(self, checkpoint: Checkpoint, settings: ModelSettings) -> None:
        self._predictor = Predictor(checkpoint, _device(settings.device))

    async def predict(self, samples: Sequence[Sample]) -> list[Prediction]:
        """Answer samples in their order."""
        return await asyncio.to_thread(self._predictor.predict, samples)


BACKENDS: dict[str, Callable[[Checkpoint, ModelSettings], Predicts]] = {
    "local": LocalPredictor,
    "triton": TritonPredictor,
}
"""Where a model can run, by the name that `model.backend` uses."""


class HctDmgReplica:
    """One replica.

    Args:
        settings: The settings.

    Raises:
        CheckpointError: The checkpoint can't be read.
    """

    def __init__(self, settings: Settings) -> None:
        set_up_logging(settings.telemetry)
        checkpoint = load_checkpoint(settings.model.checkpoint)
        manifest = checkpoint.manifest
        self._model = ModelInfo(
            name=manifest.name,
            version=manifest.version,
            checkpoint_sha256=checkpoint.sha256,
            backend=settings.model.backend,
        )
        self._predictor = BACKENDS[settings.model.backend](checkpoint, settings.model)
        self._turn = asyncio.Lock()
        self._busy = Busy(1, counts_cpu=False)

        @serve.batch(  # type: ignore[untyped-decorator]
            max_batch_size=settings.model.max_batch_size,
            batch_wait_timeout_s=settings.model.batch_wait_timeout_s,
        )
        async def predict(samples: list[Sample]) -> list[Timed]:
            async with self._turn:
                return await self._predict(samples)

        self._predict_in_batch = predict

    async def answer(
        self, prepared: PreparedSegment | Failure, source: Source, traceparent: bytes | None
    ) -> Answer | Failure:
        """Answer a segment in a batch with others; a failure of the extractor is passed on.

        Args:
            prepared: From the extractor.
            source: Where the segment was read.
            traceparent: The trace context to carry through.
        """
        if isinstance(prepared, Failure):
            return prepared
        try:
            prediction, infer_s = await self._predict_in_batch(prepared.features)
            return self._event(prepared, prediction, source, infer_s, traceparent)
        except Exception as error:  # noqa: BLE001 - of any segment of the batch: each is tried again alone
            return _failure(error)

    async def answer_alone(
        self, prepared: PreparedSegment, source: Source, traceparent: bytes | None
    ) -> AsyncIterator[Answer | Failure | None]:
        """Answer a segment while no other is computed.

        Yields:
            None when it begins: from then on a death of this process is on this segment. Then the result.
        """
        async with self._turn:
            yield None
            await asyncio.sleep(ANNOUNCE_S)
            try:
                ((prediction, infer_s),) = await self._predict([prepared.features])
                yield self._event(prepared, prediction, source, infer_s, traceparent)
            except Exception as error:  # noqa: BLE001 - returned as data
                yield _failure(error)

    async def record_autoscaling_stats(self) -> dict[str, float]:
        """Serve asks this when models have an `autoscaling_config`; see `workers.scaling_policy`."""
        return {BUSY: self._busy.share()}

    async def _predict(self, samples: list[Sample]) -> list[Timed]:
        begun_s = time.perf_counter()
        with self._busy.place():
            predictions = await self._predictor.predict(samples)
        took_s = time.perf_counter() - begun_s
        return [(prediction, took_s) for prediction in predictions]

    def _event(
        self,
        prepared: PreparedSegment,
        prediction: Prediction,
        source: Source,
        infer_s: float,
        traceparent: bytes | None,
    ) -> Answer:
        event = build_event(prepared, prediction, self._model, source, infer_s)
        return event_answer(event, datetime.now(UTC), traceparent)


def _failure(error: Exception) -> Failure:
    if isinstance(error, ServerAwayError):
        return Failure("infer", type(error).__name__, str(error), "displaced")
    return failure_of(error, "infer")


def _device(name: str) -> str:
    if name != "auto":
        return name
    import torch

    return "cuda" if torch.cuda.is_available() else "cpu"
