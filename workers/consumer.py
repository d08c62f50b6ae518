"""The deployment `SegmentConsumer`: a thread with a session in the consumer group, in a Serve replica.

Serve starts, watches and stops the replica; the thread owns the Kafka clients; the replica's asyncio loop
waits for extractors and models. When the session breaks, the process exits and Serve starts another, which
goes on from the committed offsets. Knows Ray Serve and threads. Does not know the protocol (`session`) nor
the rules of trying (`attempts`).
"""

import asyncio
import logging
import os
import re
import threading
import time
from collections.abc import AsyncIterator
from concurrent.futures import Future
from dataclasses import dataclass
from typing import TypeVar

import ray
from kafka.errors import KafkaError
from ray import serve
from ray.exceptions import RayActorError
from ray.serve.handle import DeploymentHandle

from pipelines.deadline import Deadline
from pipelines.errors import ConfigError, Stage
from pipelines.prepared import PreparedSegment
from workers.attempts import Attempts
from workers.brake import Brake
from workers.config import KafkaConfig, Settings
from workers.kafka import check_connection
from workers.memory import Memory
from workers.messages import Answer, Failure, FailureKind, Record, Work
from workers.pace import Pace
from workers.progress import Progress
from workers.ray_metrics import measure_with_ray
from workers.report import Watch
from workers.rights import refused
from workers.session import Session
from workers.slots import claim
from workers.telemetry import set_up_logging
from workers.tracing import open_spans

log = logging.getLogger(__name__)

Result = TypeVar("Result")

MAX_NAME = 249
"""Kafka's limit for a group instance id."""
RESUME_S = 5.0
"""Longest wait for a halted consumer to go on."""
STUCK_S = 60.0
"""How much longer than its longest known waits a consumer may give no sign of life."""
RECONNECT_S = 1.0
"""Wait between attempts to reach a broker that is away."""


@dataclass(frozen=True)
class Status:
    """What a replica is doing.

    Attributes:
        replica: Its name in Serve.
        pid: Of its process.
        identity: Its name in the group, for life; no two live replicas share one.
        is_done: Whether it has drained and left the group.
        progress: Of its session; None before it has one.
    """

    replica: str
    pid: int
    identity: str
    is_done: bool
    progress: Progress | None

    @property
    def is_consuming(self) -> bool:
        """Whether it is a member of the group; it may have no partition."""
        return self.progress is not None and self.progress.is_member

    @property
    def halted_by(self) -> str | None:
        """The cap on dead letters that halted it; None while it is not halted."""
        return None if self.progress is None else self.progress.halted_by


class SegmentConsumer:
    """One replica.

    Args:
        settings: The settings.
        extractor: The deployment `FeatureExtractor`.
        model: The deployment `HctDmgReplica`.
    """

    async def __init__(  # type: ignore[misc]
        self, settings: Settings, extractor: DeploymentHandle, model: DeploymentHandle
    ) -> None:
        set_up_logging(settings.telemetry)
        self._settings = settings
        stem = _stem(settings.kafka)
        self._slot = await asyncio.to_thread(claim, stem)
        self._identity = _name(f"{stem}.{self._slot.number}")
        log.info("this consumer is %s", self._identity)
        self._loop = asyncio.get_running_loop()
        self._brake = Brake(settings.flow)
        self._memory = Memory()
        measure = measure_with_ray(serve.get_replica_context().app_name, settings.kafka.group_id)
        self._watch = Watch(measure, open_spans(settings.telemetry, self._identity))
        self._attempts = Attempts(settings.flow, ServeBackend(extractor, model), self._memory, measure)
        self._pace = Pace()
        self._stopping = threading.Event()
        self._session: Session | None = None
        self._thread = threading.Thread(target=self._run, name="consumer", daemon=True)
        self._thread.start()

    async def status(self) -> Status:
        """What this replica is doing."""
        session = self._session
        return Status(
            replica=serve.get_replica_context().replica_tag,
            pid=os.getpid(),
            identity=self._identity,
            is_done=not self._thread.is_alive(),
            progress=None if session is None else session.progress,
        )

    async def resume(self) -> Status:
        """Go on where dead letters past a cap have halted it, with none counted, and say that it does.

        One that halts again at once says that.
        """
        self._brake.release()
        deadline = Deadline.after(RESUME_S)
        while (status := await self.status()).halted_by is not None and not status.is_done:
            if deadline.remaining_s() <= 0:
                break
            await asyncio.sleep(0.02)
        return status

    async def record_autoscaling_stats(self) -> dict[str, float]:
        """Serve asks this when the consumer has an `autoscaling_config`; see `workers.scaling_policy`."""
        return {} if self._session is None else self._pace.stats(self._session.progress.video)

    async def check_health(self) -> None:
        """Serve asks this every second, and replaces a replica that raises.

        Raises:
            RuntimeError: The thread that owns the Kafka clients has been stuck for longer than anything that it
                waits for may take.
        """
        session, settings = self._session, self._settings
        if session is None or not self._thread.is_alive():
            return
        kafka, flow = settings.kafka, settings.flow
        longest_s = STUCK_S + flow.drain_timeout_s + kafka.request_timeout_s
        if time.monotonic() - session.beat_s > longest_s:
            raise RuntimeError(f"{self._identity} has been stuck for more than {longest_s:g} s")

    async def stop(self) -> Status:
        """Begin to drain, and say at once how far it is."""
        self._stopping.set()
        return await self.status()

    async def drain(self) -> Status:
        """Finish what is in flight within `flow.drain_timeout_s`, leave the group, then say what was done."""
        self._stopping.set()
        while self._thread.is_alive():
            await asyncio.sleep(0.02)
        return await self.status()

    async def __del__(self) -> None:
        """Serve awaits this before it stops the replica."""
        await self.drain()

    def _run(self) -> None:
        """The thread: sessions one after another, until the replica stops."""
        try:
            while not self._stopping.is_set():
                self._consume()
            if self._watch.spans is not None:
                self._watch.spans.close()
        except BaseException as error:
            why = refused(error, self._settings.kafka) or "Serve starts another, from the committed offsets"
            log.critical("the consumer stops: %s", why, exc_info=True)
            # Nothing may be published or committed after this. A process that is gone is noticed at once.
            os._exit(1)

    def _consume(self) -> None:
        """One session."""
        try:
            # First, because each client that can't connect leaves a thread behind.
            check_connection(self._settings.kafka)
            session = Session(
                self._settings, self._identity, self._submit, self._brake, self._memory, self._watch
            )
        except (ConfigError, KafkaError) as error:
            why = refused(error, self._settings.kafka) or error
            log.warning("no session with %s yet: %s", self._settings.kafka.bootstrap_servers, why)
            self._stopping.wait(RECONNECT_S)
            return
        self._session = session
        session.run(self._stopping.is_set)
        session.leave()
        self._slot.leave()

    def _submit(self, record: Record) -> "Future[Answer]":
        return asyncio.run_coroutine_threadsafe(self._attempts.answer(record), self._loop)


def _stem(config: KafkaConfig) -> str:
    """What the names of all consumers of this application have in common: group, instance, application.

    A consumer's name is this and the slot that it holds: the same again after it was killed, so that its
    successor takes over at once, and no other live consumer's.
    """
    instance = config.instance or ray.get_runtime_context().get_session_name()
    return f"{config.group_id}.{instance}.{serve.get_replica_context().app_name}"


def _name(text: str) -> str:
    """The text as a name in a group; what Kafka does not allow there is replaced."""
    return re.sub(r"[^A-Za-z0-9._-]", "_", text)[-MAX_NAME:]


class ServeBackend:
    """Has segments answered by the two other deployments.

    Args:
        extractor: The deployment `FeatureExtractor`.
        model: The deployment `HctDmgReplica`.
    """

    def __init__(self, extractor: DeploymentHandle, model: DeploymentHandle) -> None:
        self._extractor = extractor
        self._model = model
        self._extractor_alone = extractor.options(stream=True)
        self._model_alone = model.options(stream=True)

    async def together(self, work: Work) -> Answer | Failure:
        """Features go from the extractor to the model without coming by here."""
        try:
            prepared = self._extractor.extract.remote(work)
            answer: Answer | Failure = await self._model.answer.remote(
                prepared, work.source, work.traceparent
            )
        except Exception as error:  # noqa: BLE001 - Ray has many ways to say that a process died
            return _death("extract", error, "death")
        return answer

    async def alone(self, work: Work) -> Answer | Failure:
        """Each replica says when it begins, so that only a death after that is held against the segment."""
        prepared: PreparedSegment | Failure = await _last(
            "extract", self._extractor_alone.extract_alone.remote(work)
        )
        if isinstance(prepared, Failure):
            return prepared
        answer: Answer | Failure = await _last(
            "infer", self._model_alone.answer_alone.remote(prepared, work.source, work.traceparent)
        )
        return answer


async def _last(stage: Stage, results: AsyncIterator[Result | None]) -> Result | Failure:
    """The result that follows the None with which a replica says that it begins."""
    begun_s: float | None = None
    result: Result | None = None
    try:
        async for item in results:
            if item is None:
                begun_s = time.monotonic()
            else:
                result = item
    except Exception as error:  # noqa: BLE001 - Ray has many ways to say that a process died
        if begun_s is None:
            return _death(stage, error, "displaced")
        return _death(stage, error, "death", time.monotonic() - begun_s)
    if result is None:
        raise RuntimeError(f"{stage} ended without a result")
    return result


def _death(stage: Stage, error: Exception, kind: FailureKind, elapsed_s: float = 0.0) -> Failure:
    cause = error.__cause__ or error
    message = f"a replica died while it had this segment: {' '.join(str(cause).split())}"
    is_dead = isinstance(error, RayActorError) or isinstance(cause, RayActorError)
    replica_died = is_dead and kind == "death"
    return Failure(stage, type(cause).__name__, message, kind, elapsed_s, replica_died)
