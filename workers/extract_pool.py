"""Rows of a manifest through the extractors, in processes of this machine.

A video that kills its process, or hangs in it, takes no other row with it: what was under way is tried again one by
one, each alone, and only what dies alone is given up. Knows processes. Does not know what a row is.
"""

import multiprocessing
import signal
from collections import deque
from collections.abc import Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from contextlib import closing

from hctdmg.following import follow_parent
from pipelines.extraction import ExtractionPlan, Outcome, RowExtractor
from pipelines.labelled import Row

GRACE_S = 10.0
"""How much later than its deadline a row's process is killed: most work looks at its deadline and stops itself."""

AHEAD = 2
"""Rows handed out for each process, so that none waits for the next."""


def extract_here(rows: Sequence[Row], plan: ExtractionPlan, num_processes: int) -> Iterator[Outcome]:
    """Extract rows, several at a time.

    Yields:
        Each row's outcome, in the order of completion.

    Raises:
        OSError: A sample can't be written.
    """
    waiting = deque(rows)
    while waiting:
        running: dict[Future[Outcome], Row] = {}
        try:
            yield from _in_pool(waiting, running, plan, min(num_processes, len(waiting)))
        except BrokenProcessPool:
            with closing(LoneProcess(plan)) as process:
                for row in running.values():
                    yield process.extract(row)


def _in_pool(
    waiting: deque[Row], running: dict[Future[Outcome], Row], plan: ExtractionPlan, num_processes: int
) -> Iterator[Outcome]:
    """Until nothing waits, or a process died; then `running` holds what was under way."""
    pool = _pool(plan, num_processes)
    try:
        while waiting or running:
            while waiting and len(running) < AHEAD * num_processes:
                row = waiting.popleft()
                try:
                    running[pool.submit(_extract, row)] = row
                except BrokenProcessPool:
                    waiting.appendleft(row)
                    raise
            done, _ = wait(running, return_when=FIRST_COMPLETED)
            for future in done:
                outcome = future.result()
                del running[future]
                yield outcome
    finally:
        pool.shutdown(wait=True, cancel_futures=True)


class LoneProcess:
    """A process that has one row at a time: whoever is in it when it dies has killed it, and the next row gets another.

    Args:
        plan: What to do.
    """

    def __init__(self, plan: ExtractionPlan) -> None:
        self._plan = plan
        self._pool: ProcessPoolExecutor | None = None

    def extract(self, row: Row) -> Outcome:
        """Extract a row.

        Raises:
            OSError: The sample can't be written.
        """
        self._pool = self._pool or _pool(self._plan, 1)
        try:
            return self._pool.submit(_extract, row).result()
        except BrokenProcessPool:
            self.close()
            limit_s = self._plan.deadline_s + GRACE_S
            return Outcome(row.line, reason=f"extract: its process died, or hung for more than {limit_s:g} s")

    def close(self) -> None:
        """End the process."""
        if self._pool is not None:
            self._pool.shutdown()
            self._pool = None


def _pool(plan: ExtractionPlan, num_processes: int) -> ProcessPoolExecutor:
    # Not forked: libraries with threads of their own would be copied in the middle of their work.
    context = multiprocessing.get_context("spawn")
    return ProcessPoolExecutor(num_processes, context, initializer=_start, initargs=(plan,))


_extractor: RowExtractor
_timeout_s: float


def _start(plan: ExtractionPlan) -> None:
    """Load what each process needs, once."""
    global _extractor, _timeout_s
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the parent gets it too, and ends us
    signal.signal(signal.SIGALRM, signal.SIG_DFL)
    follow_parent()
    _extractor, _timeout_s = RowExtractor(plan), plan.deadline_s + GRACE_S


def _extract(row: Row) -> Outcome:
    signal.setitimer(signal.ITIMER_REAL, _timeout_s)  # nobody handles the alarm: it ends the process
    try:
        return _extractor.extract(row)
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
