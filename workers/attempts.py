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
import time
from collections import defaultdict
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from typing import Protocol

from pipelines.segment import parse_segment
from workers.config import FlowConfig
from workers.memory import Memory
from workers.messages import Answer, Failure, Record, Work, dead_letter, failure_of
from workers.metrics import RETRIES, Measure, unmeasured
from workers.past import NOTHING, Past

MAX_BACKOFF_S = 5.0
"""A replica restarts within some 5 s: waiting longer gains nothing."""


class Backend(Protocol):
    """Turns segments into answers; whatever goes wrong is returned as a `Failure`."""

    async def together(self, work: Work) -> Answer | Failure:
        """Try a segment beside others."""
        ...

    async def alone(self, work: Work) -> Answer | Failure:
        """Try a segment where no other is in the process that prepares it or infers: a death then is its own."""
        ...


@dataclass
class Tries:
    """One segment's tries.

    Attributes:
        flow: The limits.
        past: What was tried so far, by earlier consumers too.
    """

    flow: FlowConfig
    past: Past = NOTHING
    _num_in_vain: int = 0

    @property
    def budget_s(self) -> float:
        """How long it may still be worked on."""
        return self.flow.segment_deadline_s - self.past.spent_s

    def verdict(self) -> Failure | None:
        """Why it must not be tried even once more, if what earlier consumers know of it says so."""
        past, flow = self.past, self.flow
        if past.num_deaths >= flow.max_deaths:
            found = f"{past.num_deaths} processes died of it while they had it alone (flow.max_deaths)"
            return Failure("extract", "ProcessDied", f"given up before another consumer: {found}", "death")
        if self.budget_s <= 0:
            found = f"{past.spent_s:.1f} s were spent on it by earlier consumers"
            return Failure("extract", "DeadlineExceeded", f"{found} (flow.segment_deadline_s)", "segment")
        return None

    def wait_after(self, failure: Failure) -> float | None:
        """Take note of a failed try.

        Returns:
            Seconds to wait before the next one; None to give up.
        """
        self._num_in_vain += 1
        was_alone = self.past.is_suspect
        self._note(failure)
        if self._is_final(failure, was_alone):
            return None
        wait_s = self._backoff_s()
        if failure.kind == "transient":
            # Only the segment's own trouble counts; replicas that restart are not its fault.
            self.past = replace(self.past, spent_s=self.past.spent_s + wait_s)
        return wait_s if self.budget_s > 0 else None

    def _note(self, failure: Failure) -> None:
        past, kind = self.past, failure.kind
        self.past = replace(
            past,
            num_attempts=past.num_attempts + (kind != "displaced"),
            num_transient=past.num_transient + (kind == "transient"),
            num_deaths=past.num_deaths + (kind == "death" and past.is_suspect),
            is_suspect=past.is_suspect or kind in ("unexpected", "death"),
            spent_s=past.spent_s + failure.elapsed_s,
        )

    def _is_final(self, failure: Failure, was_alone: bool) -> bool:
        match failure.kind:
            case "segment":
                return True
            case "transient":
                return self.past.num_transient >= self.flow.max_attempts
            case "unexpected":
                return was_alone
            case "death":
                return self.past.num_deaths >= self.flow.max_deaths
            case "displaced":
                return False

    def _backoff_s(self) -> float:
        longest_s = self.flow.retry_backoff_s * 2.0 ** min(16, self._num_in_vain - 1)
        return min(MAX_BACKOFF_S, longest_s) * random.uniform(0.5, 1.0)  # noqa: S311 - not a secret


@dataclass
class Turn:
    """Whose turn it is among the suspects of one partition: so they never hold more than one replica down.

    Attributes:
        lock: Held during a try.
        not_before_s: On the monotonic clock; the replica that died of the last one is back by then.
    """

    lock: asyncio.Lock = field(default_factory=asyncio.Lock)
    not_before_s: float = 0.0


class Attempts:
    """Answers records.

    Args:
        flow: The limits.
        backend: Who does the work.
        memory: Where the tries of each record are noted; what earlier consumers tried is there already.
        measure: Counts further tries.
    """

    def __init__(
        self,
        flow: FlowConfig,
        backend: Backend,
        memory: Memory | None = None,
        measure: Measure = unmeasured,
    ) -> None:
        self._flow = flow
        self._backend = backend
        self._memory = Memory() if memory is None else memory
        self._measure = measure
        self._turns: defaultdict[int, Turn] = defaultdict(Turn)

    async def answer(self, record: Record) -> Answer:
        """Answer one record, whatever is in it."""
        tries = Tries(self._flow, self._memory.recall(record.partition, record.offset))
        try:
            outcome = await self._try_all(record, tries)
        except Exception as error:  # noqa: BLE001 - a bug in here must not stop the partition for ever
            outcome = failure_of(error, "parse")
        if isinstance(outcome, Answer):
            return outcome
        return dead_letter(record, outcome, max(1, tries.past.num_attempts), datetime.now(UTC))

    async def _try_all(self, record: Record, tries: Tries) -> Answer | Failure:
        incoming = parse_segment(record.value, record.headers)
        if (verdict := tries.verdict()) is not None:
            return verdict
        while True:
            work = Work(incoming, record.source, record.traceparent, tries.budget_s)
            outcome = await self._try_once(work, tries.past.is_suspect)
            if isinstance(outcome, Answer):
                return outcome
            wait_s = tries.wait_after(outcome)
            self._memory.note(record.partition, record.offset, tries.past)
            if wait_s is None:
                return self._in_full(outcome, tries)
            self._measure(RETRIES, 1, kind=outcome.kind)
            await asyncio.sleep(wait_s)

    def _in_full(self, failure: Failure, tries: Tries) -> Failure:
        """The last failure, with why there was no further try."""
        if failure.kind != "transient":
            return failure
        why = f"given up after {tries.past.num_attempts} tries in {tries.past.spent_s:.1f} s"
        limits = f"limits: {self._flow.max_attempts} tries, {self._flow.segment_deadline_s:g} s"
        return replace(failure, message=f"{failure.message} ({why}; {limits})")

    async def _try_once(self, work: Work, is_suspect: bool) -> Answer | Failure:
        if not is_suspect:
            return await self._backend.together(work)
        turn = self._turns[work.source.partition]
        async with turn.lock:
            await asyncio.sleep(turn.not_before_s - time.monotonic())
            outcome = await self._backend.alone(work)
            if isinstance(outcome, Failure) and outcome.replica_died:
                turn.not_before_s = time.monotonic() + self._flow.replica_restart_s
        return outcome
