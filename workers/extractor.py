"""The deployment `FeatureExtractor`: fetches, decodes and extracts segments, several at a time.

Whatever is wrong with a segment is returned as a `Failure`. A segment that hangs is cut off at its budget;
its thread can't be stopped, so the whole replica is: it says so to the other segments that it has, then
exits, and Serve starts another. Decoded frames never leave it. Knows pipelines. Does not know Kafka or the
model.
"""

import asyncio
import logging
import os
import sys
import threading
import time
import traceback
from collections.abc import AsyncIterator, Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any, Protocol, get_args

from pipelines.deadline import Deadline
from pipelines.errors import ConfigError, Stage
from pipelines.prepare import PreparedSegment, Preparer
from pipelines.segment import IncomingSegment
from workers.busy import Busy
from workers.config import Settings
from workers.gate import ANNOUNCE_S, Gate
from workers.messages import Failure, Work, failure_of
from workers.scaling import BUSY
from workers.telemetry import set_up_logging

log = logging.getLogger(__name__)

GRACE_S = 1.0
"""How much later than its budget a segment is cut off: most work looks at its deadline and stops itself."""
EXIT_DELAY_S = 0.5
"""Time for the answers to leave this process before it exits."""


class Prepares(Protocol):
    """What a replica needs of `pipelines.prepare.Preparer`."""

    def prepare(self, incoming: IncomingSegment, deadline: Deadline) -> PreparedSegment:
        """Turn a segment into features."""
        ...


def make_preparer(settings: Settings) -> Prepares:
    """The extractors that the settings' checkpoint demands.

    Raises:
        ConfigError: The checkpoint can't be read or needs other extractors.
    """
    from hctdmg.checkpoint import load_checkpoint  # late: the module is imported where nothing is extracted
    from hctdmg.manifest import CheckpointError

    try:
        features = load_checkpoint(settings.model.checkpoint).manifest.features
    except CheckpointError as error:
        raise ConfigError(str(error)) from error
    return Preparer(features, settings.media)


class FeatureExtractor:
    """One replica.

    Args:
        settings: The settings.
        make: Makes what prepares segments.
    """

    def __init__(self, settings: Settings, make: Callable[[Settings], Prepares] = make_preparer) -> None:
        set_up_logging(settings.telemetry)
        num_threads = settings.flow.max_concurrent_extractions
        self._preparer = make(settings)
        self._gate = Gate(num_threads)
        self._threads = ThreadPoolExecutor(num_threads, "extract")
        self._busy = Busy(num_threads, counts_cpu=True)
        self._exiting = asyncio.Event()

    async def extract(self, work: Work) -> PreparedSegment | Failure:
        """Prepare a segment beside others."""
        async with self._gate.together(work.source.partition):
            return await self._to_the_end(work)

    async def extract_alone(self, work: Work) -> AsyncIterator[PreparedSegment | Failure | None]:
        """Prepare a segment while this replica has no other.

        Yields:
            None when it begins: from then on a death of this process is on this segment. Then the result.
        """
        async with self._gate.alone():
            yield None
            await asyncio.sleep(ANNOUNCE_S)
            yield await self._to_the_end(work)

    async def record_autoscaling_stats(self) -> dict[str, float]:
        """Serve asks this when extractors have an `autoscaling_config`; see `workers.scaling_policy`."""
        return {BUSY: self._busy.share()}

    async def _to_the_end(self, work: Work) -> PreparedSegment | Failure:
        """Keep the place until the thread is free again, even when nobody waits for the result any more."""
        task = asyncio.ensure_future(self._extract(work))
        with self._busy.place():
            try:
                return await asyncio.shield(task)
            except asyncio.CancelledError:
                await asyncio.wait({task})
                raise

    async def _extract(self, work: Work) -> PreparedSegment | Failure:
        if self._exiting.is_set():
            return _DISPLACED
        begun_s = time.monotonic()
        started: list[int] = []
        thread = asyncio.get_running_loop().run_in_executor(self._threads, self._prepare, work, started)
        exiting = asyncio.ensure_future(self._exiting.wait())
        try:
            both: set[asyncio.Future[Any]] = {thread, exiting}
            timeout_s = work.budget_s + GRACE_S
            await asyncio.wait(both, timeout=timeout_s, return_when=asyncio.FIRST_COMPLETED)
        finally:
            exiting.cancel()
        if thread.done():
            error = thread.exception()
            if error is None:
                return thread.result()
            if isinstance(error, Exception):
                return failure_of(error, "extract", time.monotonic() - begun_s)
            raise error
        if self._exiting.is_set():
            return _DISPLACED
        return self._give_up(work, started)

    def _prepare(self, work: Work, started: list[int]) -> PreparedSegment:
        started.append(threading.get_ident())
        return self._preparer.prepare(work.incoming, Deadline.after(work.budget_s))

    def _give_up(self, work: Work, started: list[int]) -> Failure:
        """Say where the segment hangs, and exit."""
        stage, where = _where_it_hangs(started[0]) if started else ("extract", "no thread was free")
        log.error(
            "%s hangs in %s: cut off after %.1f s, this replica exits", work.source, stage, work.budget_s
        )
        self._exiting.set()
        asyncio.get_running_loop().call_later(EXIT_DELAY_S, os._exit, 1)
        message = f"cut off at flow.segment_deadline_s, it was stuck {where}"
        return Failure(stage, "DeadlineExceeded", message, "segment", work.budget_s)


_DISPLACED = Failure("extract", "Displaced", "its extractor restarts because of another segment", "displaced")


def _where_it_hangs(thread: int) -> tuple[Stage, str]:
    """The stage and the innermost line that a thread is in."""
    frame = sys._current_frames().get(thread)
    if frame is None:
        return "extract", "where nobody knows"
    lines = traceback.extract_stack(frame)
    stages = [line.name for line in lines if line.name in get_args(Stage)]
    last = lines[-1]
    stage: Stage = stages[0] if stages else "extract"  # type: ignore[assignment]
    return stage, f"in {last.name} ({os.path.basename(last.filename)}:{last.lineno})"
