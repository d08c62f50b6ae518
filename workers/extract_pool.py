"""Rows of a manifest through the extractors, in processes of this machine.

A video that kills its process, or hangs in it, takes no other row with it: what was under way is tried again one by
one, each alone, and only what dies alone is given up. Knows processes. Does not know what a row is.
"""

import multiprocessing
import os
import signal
import threading
from collections import deque
from collections.abc import Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool

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
            yield from _one_by_one(deque(running.values()), plan)


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


def _one_by_one(waiting: deque[Row], plan: ExtractionPlan) -> Iterator[Outcome]:
    """Whoever is alone when the process dies has killed it."""
    reason = f"extract: its process died, or hung for more than {plan.deadline_s + GRACE_S:g} s"
    while waiting:
        with _pool(plan, 1) as pool:
            is_alive = True
            while waiting and is_alive:
                row = waiting.popleft()
                try:
                    yield pool.submit(_extract, row).result()
                except BrokenProcessPool:
                    is_alive = False
                    yield Outcome(row.line, reason=reason)


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
    threading.Thread(target=_follow_parent, daemon=True).start()
    _extractor, _timeout_s = RowExtractor(plan), plan.deadline_s + GRACE_S


def _follow_parent() -> None:
    """End with the parent, however it ended; else a process would wait for its next row for ever."""
    parent = multiprocessing.parent_process()
    if parent is not None:
        parent.join()
        os._exit(1)


def _extract(row: Row) -> Outcome:
    signal.setitimer(signal.ITIMER_REAL, _timeout_s)  # nobody handles the alarm: it ends the process
    try:
        return _extractor.extract(row)
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
