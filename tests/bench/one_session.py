"""A process with one session that answers every segment at once: what is left is the cost of delivery.

Started by `tests.bench.delivery`; writes one JSON line when it consumes, and one when it has published the asked
number of events. Then goes on until its stdin is closed.
"""

import json
import os
import sys
import threading
import time
from collections.abc import Callable
from concurrent.futures import Future
from datetime import UTC, datetime
from pathlib import Path

from pipelines.events import AffectEvent
from tests.bench.unreliable import make_unreliable
from workers.config import Settings
from workers.messages import Answer, Record, event_answer
from workers.session import Session

EXAMPLE = Path(__file__).parent.parent / "pipelines" / "baseline" / "affect-event-1.0.example.json"


def main() -> None:
    """Consume."""
    task = json.loads(sys.argv[1])
    if task["mode"] == "none":
        make_unreliable()
    session = Session(Settings.model_validate(task["settings"]), "bench-0", at_once(task["header"]))
    over = threading.Event()

    def wait_for_the_end() -> None:
        sys.stdin.read()
        over.set()

    threading.Thread(target=wait_for_the_end, daemon=True).start()
    watch = Watch(session, task["num_events"])
    session.run(lambda: watch.look() or over.is_set())
    session.leave()
    os._exit(0)


def at_once(header: str) -> Callable[[Record], "Future[Answer]"]:
    """Answers with an event of the usual size, which says when its segment was published."""
    example = event_answer(AffectEvent.model_validate_json(EXAMPLE.read_text()), datetime.now(UTC), None)

    def submit(record: Record) -> "Future[Answer]":
        future: Future[Answer] = Future()
        sent = (header, dict(record.headers)[header])
        future.set_result(Answer(record.key, example.value, (*example.headers, sent)))
        return future

    return submit


class Watch:
    """Looks at a session between its polls, and says when it is half way and done."""

    def __init__(self, session: Session, num_events: int) -> None:
        self._session = session
        self._num_events = num_events
        self._begun: tuple[float, float, int] | None = None
        self._is_done = False
        self._is_member = False

    def look(self) -> bool:
        """Never over."""
        progress = self._session.progress
        if progress.is_member and progress.partitions and not self._is_member:
            self._is_member = True
            say({"event": "consumes"})
        now = time.monotonic(), time.process_time(), progress.num_events
        if self._begun is None and progress.num_events >= self._num_events // 10:
            self._begun = now
        if self._begun and not self._is_done and progress.num_events >= self._num_events:
            self._is_done = True
            wall_s, cpu_s, number = (last - first for last, first in zip(now, self._begun, strict=True))
            say({"event": "done", "events_per_s": number / wall_s, "cpu_ms": 1000 * cpu_s / number})
        return False


def say(line: dict[str, object]) -> None:
    print(json.dumps(line), flush=True)


if __name__ == "__main__":
    main()
