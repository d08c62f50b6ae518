"""What was tried with the records that a consumer holds: written by who tries them, read by who commits.

Knows threads. Does not know where it is stored (`journal`).
"""

import threading
from collections.abc import Mapping

from workers.past import NOTHING, Past, Pasts


class Memory:
    """Of one consumer; any thread may use it."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._pasts: dict[int, dict[int, Past]] = {}

    def recall(self, partition: int, offset: int) -> Past:
        """What was tried with a record."""
        with self._lock:
            return self._pasts.get(partition, {}).get(offset, NOTHING)

    def note(self, partition: int, offset: int, past: Past) -> None:
        """Something was tried with a record."""
        if past != NOTHING:
            with self._lock:
                self._pasts.setdefault(partition, {})[offset] = past

    def replace(self, partition: int, pasts: Pasts) -> None:
        """Know this, and nothing else, of the records of a partition."""
        with self._lock:
            self._pasts[partition] = dict(pasts)

    def since(self, partition: int, next_offset: int) -> Mapping[int, Past]:
        """What is known of a partition from an offset on; what is older is forgotten."""
        with self._lock:
            known = self._pasts.get(partition, {})
            kept = {offset: past for offset, past in known.items() if offset >= next_offset}
            self._pasts[partition] = kept
            return dict(kept)
