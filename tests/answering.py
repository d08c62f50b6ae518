"""Answers records by the worker's own rules of trying, on a loop in a thread, as the consumer's replica does."""

import asyncio
import threading
from collections.abc import Iterator
from concurrent.futures import Future
from contextlib import contextmanager
from dataclasses import dataclass

from workers.attempts import Attempts, Backend
from workers.config import FlowConfig, Settings
from workers.extractor import FeatureExtractor
from workers.memory import Memory
from workers.messages import Answer, Failure, Record, Work
from workers.replica import HctDmgReplica


@dataclass(frozen=True)
class Answering:
    """What a session needs.

    Attributes:
        memory: What was tried.
    """

    memory: Memory
    _attempts: Attempts
    _loop: asyncio.AbstractEventLoop

    def submit(self, record: Record) -> "Future[Answer]":
        """Have a record answered."""
        return asyncio.run_coroutine_threadsafe(self._attempts.answer(record), self._loop)


@contextmanager
def answering(flow: FlowConfig, backend: Backend) -> Iterator[Answering]:
    """Answer until the block is left; what is being tried then is never heard of again, as in a killed process."""
    memory, loop = Memory(), asyncio.new_event_loop()
    thread = threading.Thread(target=loop.run_forever, daemon=True)
    thread.start()
    try:
        yield Answering(memory, Attempts(flow, backend, memory), loop)
    finally:
        loop.call_soon_threadsafe(loop.stop)
        thread.join(10)
        for task in (tasks := asyncio.all_tasks(loop)):
            task.cancel()
        if tasks:
            loop.run_until_complete(asyncio.wait(tasks))
        loop.close()


class InThisProcess:
    """Extractor and model, called directly."""

    def __init__(self, settings: Settings) -> None:
        self._extractor = FeatureExtractor(settings)
        self._model = HctDmgReplica(settings)

    def close(self) -> None:
        """End the extractor's processes."""
        self._extractor.close()

    async def together(self, work: Work) -> Answer | Failure:
        """One after the other."""
        prepared = await self._extractor.extract(work)
        if isinstance(prepared, Failure):
            return prepared
        found = [one async for one in self._model.answer_alone(prepared, work.source, work.traceparent)]
        assert found[-1] is not None
        return found[-1]

    async def alone(self, work: Work) -> Answer | Failure:
        """No different here."""
        return await self.together(work)
