"""A process of a pool ends with the one that started it, however that ended; else it would wait for work for ever.

    ProcessPoolExecutor(2, multiprocessing.get_context("spawn"), initializer=follow_parent)

Knows processes. Does not know what they work on.
"""

import multiprocessing
import os
import threading


def follow_parent() -> None:
    """From now on end when the parent does."""
    threading.Thread(target=_follow, daemon=True).start()


def _follow() -> None:
    parent = multiprocessing.parent_process()
    if parent is not None:
        parent.join()
        os._exit(1)
