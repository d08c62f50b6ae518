"""One record's way to its one answer: tried, tried again, tried alone, or given up as a dead letter.

    together ──answer──▶ event
       │
       ├─ segment ─────────────────────────────▶ dead letter
       ├─ transient ──▶ back off, try again; attempts run out ──▶ dead letter
       ├─ unexpected ─▶ alone; again ──────────▶ dead letter with its traceback
       ├─ death ──────▶ alone; `max_deaths` while alone ──▶ dead letter
       └─ displaced ──▶ try again, nothing is held against it

Runs on an asyncio loop. Knows the rules of trying. Knows neither Kafka nor Ray: whoever does the work is a
`Backend`.
"""

import asyncio
import random
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import Protocol

from pipelines.segment import parse_segment
from workers.config import FlowConfig
from workers.messages import Answer, Failure, Record, Work, dead_letter, failure_of

MAX_BACKOFF_S = 5.0
"""A replica restarts within some 5 s: waiting longer gains nothing."""


class Backend(Protocol):
    """Turns segments into answers; whatever goes wrong is returned as a `Failure`."""

    async def together(self, work: Work) -> Answer | Failure:
        """Try a segment beside others."""
        ...

    async def alone(self, work: Work) -> Answer | Failure:
        """Try a segment while the replicas that have it have no other: a death then is its own."""
        ...


@dataclass
class Tries:
    """What was tried with one segment so far.

    Attributes:
        flow: The limits.
        num_attempts: How often it was tried.
        spent_s: How long it was worked on, waits between tries included.
        is_suspect: Whether it may be tried only alone.
    """

    flow: FlowConfig
    num_attempts: int = 0
    spent_s: float = 0.0
    is_suspect: bool = False
    _num_transient: int = 0
    _num_deaths: int = 0
    _num_in_vain: int = 0

    @property
    def budget_s(self) -> float:
        """How long it may still be worked on."""
        return self.flow.segment_deadline_s - self.spent_s

    def wait_after(self, failure: Failure) -> float | None:
        """Take note of a failed try.

        Returns:
            Seconds to wait before the next one; None to give up.
        """
        self.num_attempts += failure.kind != "displaced"
        self._num_in_vain += 1
        self.spent_s += failure.elapsed_s
        if self._is_final(failure):
            return None
        wait_s = self._backoff_s()
        if failure.kind == "transient":
            # Only the segment's own trouble counts; replicas that restart are not its fault.
            self.spent_s += wait_s
        return wait_s if self.budget_s > 0 else None

    def _is_final(self, failure: Failure) -> bool:
        match failure.kind:
            case "segment":
                return True
            case "transient":
                self._num_transient += 1
                return self._num_transient >= self.flow.max_attempts
            case "unexpected":
                was_alone, self.is_suspect = self.is_suspect, True
                return was_alone
            case "death":
                self._num_deaths += self.is_suspect
                self.is_suspect = True
                return self._num_deaths >= self.flow.max_deaths
            case "displaced":
                return False

    def _backoff_s(self) -> float:
        longest_s = self.flow.retry_backoff_s * 2.0 ** min(16, self._num_in_vain - 1)
        return min(MAX_BACKOFF_S, longest_s) * random.uniform(0.5, 1.0)  # noqa: S311 - not a secret


class Attempts:
    """Answers records.

    Args:
        flow: The limits.
        backend: Who does the work.
    """

    def __init__(self, flow: FlowConfig, backend: Backend) -> None:
        self._flow = flow
        self._backend = backend
        self._turn_alone = asyncio.Lock()

    async def answer(self, record: Record) -> Answer:
        """Answer one record, whatever is in it."""
        tries = Tries(self._flow)
        try:
            outcome = await self._try_all(record, tries)
        except Exception as error:  # noqa: BLE001 - a bug in here must not stop the partition for ever
            outcome = failure_of(error, "parse")
        if isinstance(outcome, Answer):
            return outcome
        return dead_letter(record, outcome, max(1, tries.num_attempts), datetime.now(UTC))

    async def _try_all(self, record: Record, tries: Tries) -> Answer | Failure:
        incoming = parse_segment(record.value, record.headers)
        while True:
            work = Work(incoming, record.source, record.traceparent, tries.budget_s)
            outcome = await self._try_once(work, tries.is_suspect)
            if isinstance(outcome, Answer):
                return outcome
            wait_s = tries.wait_after(outcome)
            if wait_s is None:
                return self._in_full(outcome, tries)
            await asyncio.sleep(wait_s)

    def _in_full(self, failure: Failure, tries: Tries) -> Failure:
        """The last failure, with why there was no further try."""
        if failure.kind != "transient":
            return failure
        why = f"given up after {tries.num_attempts} tries in {tries.spent_s:.1f} s"
        limits = f"limits: {self._flow.max_attempts} tries, {self._flow.segment_deadline_s:g} s"
        return replace(failure, message=f"{failure.message} ({why}; {limits})")

    async def _try_once(self, work: Work, is_suspect: bool) -> Answer | Failure:
        if not is_suspect:
            return await self._backend.together(work)
        async with self._turn_alone:  # suspects one by one, or they would be charged with each other's deaths
            return await self._backend.alone(work)
