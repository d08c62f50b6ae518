"""The deployment `HctDmgReplica`: prepared segments in, answers out, computed in batches.

Knows the predictor and the event. Does not know where features come from, nor Kafka's client.
"""

import asyncio
import logging
import time
from collections.abc import AsyncIterator, Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from typing import Protocol

import torch
from ray import serve

from hctdmg.batch import Sample
from hctdmg.checkpoint import Checkpoint, load_checkpoint
from hctdmg.predictor import Prediction, Predictor
from pipelines.answer import build_event
from pipelines.errors import ConfigError
from pipelines.events import ModelInfo, Source
from pipelines.prepared import PreparedSegment
from workers.batching import batching
from workers.busy import Busy
from workers.config import ModelSettings, Settings
from workers.gate import ANNOUNCE_S
from workers.messages import Answer, Failure, event_answer, failure_of
from workers.scaling import BUSY
from workers.telemetry import set_up_logging
from workers.triton import ServerAwayError, TritonPredictor, check_server

log = logging.getLogger(__name__)

STUCK_S = 120.0
"""The largest batches take seconds on a slow core. How long a Triton server may take is `model.triton.timeout_s`."""

Timed = tuple[Prediction, float]
"""A prediction and the seconds that its batch took."""


class Predicts(Protocol):
    """A checkpoint's model, wherever it runs."""

    async def predict(self, samples: Sequence[Sample]) -> list[Prediction]:
        """Answer samples in their order."""
        ...


class LocalPredictor:
    """The model in this process, on a thread of its own, so that the loop stays free; warm once it is made.

    Args:
        checkpoint: Loaded.
        settings: Device, precision, execution, threads.
    """

    def __init__(self, checkpoint: Checkpoint, settings: ModelSettings) -> None:
        # One thread, always the same: OpenMP keeps a team of threads for each that computes.
        self._thread = ThreadPoolExecutor(1, "infer", set_num_threads, (settings.num_threads,))
        self._predictor = Predictor(
            checkpoint, _device(settings.device), settings.precision, settings.execution
        )
        self._thread.submit(self._predictor.warm_up, settings.max_batch_size).result()

    async def predict(self, samples: Sequence[Sample]) -> list[Prediction]:
        """Answer samples in their order."""
        return await asyncio.get_running_loop().run_in_executor(
            self._thread, self._predictor.predict, samples
        )


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
        self._settings, self._checkpoint = settings.model, checkpoint
        self._predictor = BACKENDS[settings.model.backend](checkpoint, settings.model)
        self._turn = asyncio.Lock()
        self._begun_s: float | None = None
        self._busy = Busy(1)

        @serve.batch(  # type: ignore[untyped-decorator]
            max_batch_size=settings.model.max_batch_size,
            batch_wait_timeout_s=settings.model.batch_wait_timeout_s,
        )
        async def predict(samples: list[Sample]) -> list[Timed]:
            async with self._turn:
                return await self._predict(samples)

        self._predict_in_batch = predict

    async def reconfigure(self, user_config: object) -> None:
        """Take another batch size and wait; called by Serve, at the start too.

        A wrong value changes nothing but the log: an exception from here would have Serve replace this replica, and
        every one after it.
        """
        try:
            wanted = batching(user_config, self._settings)
            if self._settings.backend == "triton" and wanted.max_batch_size > self._settings.max_batch_size:
                resized = self._settings.model_copy(update={"max_batch_size": wanted.max_batch_size})
                await asyncio.to_thread(check_server, resized, self._checkpoint)
        except ConfigError as error:
            log.error("%s; the batches stay as they are", error)
            return
        self._predict_in_batch.set_max_batch_size(wanted.max_batch_size)
        self._predict_in_batch.set_batch_wait_timeout_s(wanted.batch_wait_timeout_s)
        log.info("batches: %s", wanted)

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

    async def check_health(self) -> None:
        """Serve asks this every second, and replaces a replica that raises.

        Raises:
            RuntimeError: A batch has been computed for far longer than any takes: its segments would wait for ever.
                Each is then tried again alone, so that one which does that again is found.
        """
        begun_s = self._begun_s if self._settings.backend == "local" else None
        if begun_s is not None and time.perf_counter() - begun_s > STUCK_S:
            raise RuntimeError(f"a batch has been computed for more than {STUCK_S:g} s")

    async def record_autoscaling_stats(self) -> dict[str, float]:
        """Serve asks this when models have an `autoscaling_config`; see `workers.scaling_policy`."""
        return {BUSY: self._busy.share()}

    async def _predict(self, samples: list[Sample]) -> list[Timed]:
        self._begun_s = begun_s = time.perf_counter()
        try:
            with self._busy.place():
                predictions = await self._predictor.predict(samples)
        finally:
            self._begun_s = None
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


def set_num_threads(num_threads: int | None) -> None:
    """Of this process's computations on a CPU; None leaves what Ray has set (OMP_NUM_THREADS)."""
    if num_threads is not None:
        torch.set_num_threads(num_threads)


def _failure(error: Exception) -> Failure:
    if isinstance(error, ServerAwayError):
        return Failure("infer", type(error).__name__, str(error), "displaced")
    return failure_of(error, "infer")


def _device(name: str) -> str:
    if name != "auto":
        return name
    return "cuda" if torch.cuda.is_available() else "cpu"
