"""Waits until something has happened that only a question can tell, while signals still reach who waits.

Knows threads. Does not know what is asked.
"""

import logging
import threading
from collections.abc import Callable
from queue import SimpleQueue
from typing import TypeVar

Found = TypeVar("Found")

LOOK_S = 1.0
"""How often it is asked."""
LAST_LOOK_S = 1.0
"""Longest wait for a question that is under way when a signal ends the wait: it must not hold up the drain."""


def look_until(ask: Callable[[], Found | None]) -> Found:
    """Ask in a thread of its own: a signal must not break into a call to Ray.

    Args:
        ask: None while there is nothing to tell. What it raises is logged, and it is asked again.

    Returns:
        The first answer.
    """
    found: SimpleQueue[Found] = SimpleQueue()
    over = threading.Event()

    def look() -> None:
        while not over.wait(LOOK_S):
            try:
                answer = ask()
            except Exception as error:  # noqa: BLE001 - Ray has many errors for a controller that restarts
                logging.getLogger(__name__).info("no answer now: %s", error)
                continue
            if answer is not None:
                found.put(answer)
                return

    thread = threading.Thread(target=look, name="look", daemon=True)
    thread.start()
    try:
        return found.get()
    finally:
        over.set()
        thread.join(timeout=LAST_LOOK_S)
