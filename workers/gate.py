"""Who may work at the same time in one replica, so that no group takes all of its places.

Of one group no more than half are in: when all of its segments are slow, or hang, the others still find a place.

Knows waiting. Does not know what the work is.
"""

import asyncio
from collections import defaultdict
from collections.abc import AsyncIterator, Hashable
from contextlib import asynccontextmanager

ANNOUNCE_S = 0.1
"""Whose death would count says so first, and waits this long for the word to get out: what dies unsent is never
heard."""


class Gate:
    """Admits in the order of arrival, within a group.

    Args:
        size: How many may be in; of one group half of that, rounded up.
    """

    def __init__(self, size: int) -> None:
        self._places = asyncio.Semaphore(size)
        self._shares: defaultdict[Hashable, asyncio.Semaphore] = defaultdict(
            lambda: asyncio.Semaphore((size + 1) // 2)
        )

    @asynccontextmanager
    async def place(self, group: Hashable) -> AsyncIterator[None]:
        """Be in, beside others."""
        async with self._shares[group], self._places:
            yield
