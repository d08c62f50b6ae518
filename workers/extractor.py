"""The deployment `FeatureExtractor`: fetches, decodes and extracts segments, several at a time.

Each is prepared in a process of its own (`workers.cells`): one that dies or hangs takes neither the replica nor any
other segment with it. Media are fetched side by side; as many segments compute at a time as Ray keeps cores for the
replica. Whatever is wrong with a segment is returned as a `Failure`. Decoded frames never leave its process.
Knows asyncio and Ray. Does not know Kafka, the model or what preparing is.
"""

import asyncio
import logging
import math
import os
from collections.abc import AsyncIterator, Callable
from concurrent.futures import ThreadPoolExecutor

import ray

from pipelines.prepared import PreparedSegment
from workers.busy import Busy
from workers.cells import Cells, SourceGoneError
from workers.config import Settings
from workers.extracting import Prepares, make_preparer
from workers.gate import ANNOUNCE_S, Gate
from workers.messages import Failure, Work
from workers.scaling import BUSY
from workers.telemetry import set_up_logging

log = logging.getLogger(__name__)


class FeatureExtractor:
    """One replica.

    Args:
        settings: The settings.
        make: Makes what prepares segments; a function of a module.

    Raises:
        ConfigError: It can't be made.
    """

    def __init__(self, settings: Settings, make: Callable[[Settings], Prepares] = make_preparer) -> None:
        set_up_logging(settings.telemetry)
        num_places = settings.flow.max_concurrent_extractions
        num_cores = _num_cores()
        self._cells = Cells(settings, make, num_cores)
        self._gate = Gate(num_places)
        self._threads = ThreadPoolExecutor(num_places, "extract")
        self._busy = Busy(num_places, self._cells.cpu_s, num_cores)

    async def extract(self, work: Work) -> PreparedSegment | Failure:
        """Prepare a segment beside others."""
        async with self._gate.place(work.source.partition):
            return await self._to_the_end(work)

    async def extract_alone(self, work: Work) -> AsyncIterator[PreparedSegment | Failure | None]:
        """Prepare a segment that may be deadly: no other is in its process, as ever.

        Yields:
            None when it begins: from then on a death of this replica is on this segment. Then the result.
        """
        async with self._gate.place(work.source.partition):
            yield None
            await asyncio.sleep(ANNOUNCE_S)
            yield await self._to_the_end(work)

    async def record_autoscaling_stats(self) -> dict[str, float]:
        """Serve asks this when extractors have an `autoscaling_config`; see `workers.scaling_policy`."""
        return {BUSY: self._busy.share()}

    def close(self) -> None:
        """End the processes that it has started."""
        self._cells.close()
        self._threads.shutdown()

    def __del__(self) -> None:
        """Serve calls this before it stops the replica."""
        if hasattr(self, "_threads"):  # it was made
            self.close()

    async def _to_the_end(self, work: Work) -> PreparedSegment | Failure:
        """Keep the place until the process is free again, even when nobody waits for the result any more."""
        task = asyncio.ensure_future(self._extract(work))
        with self._busy.place():
            try:
                return await asyncio.shield(task)
            except asyncio.CancelledError:
                await asyncio.wait({task})
                raise

    async def _extract(self, work: Work) -> PreparedSegment | Failure:
        loop = asyncio.get_running_loop()
        try:
            return await loop.run_in_executor(self._threads, self._cells.prepare, work)
        except SourceGoneError as error:
            log.critical("%s: Serve starts another replica", error)
            os._exit(1)  # a process that is gone is noticed at once


def _num_cores() -> int:
    """What Ray keeps for this replica (`num_cpus`), at least one."""
    context = ray.get_runtime_context() if ray.is_initialized() else None
    if context is None or context.get_actor_id() is None:  # made by hand
        return 1
    num_cpus: float = context.get_assigned_resources().get("CPU", 0)
    return max(1, math.ceil(num_cpus))
