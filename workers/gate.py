"""Who may work at the same time in one replica: several segments together, or one alone.

Of one group no more than half are in together: when all of its segments are slow, or hang, the others still find
a place.

Knows waiting. Does not know what the work is.
"""

import asyncio
from collections import defaultdict
from collections.abc import AsyncIterator, Hashable
from contextlib import asynccontextmanager

ANNOUNCE_S = 0.1
"""Who is alone says so first, and waits this long for the word to get out: what dies unsent is never heard."""


class Gate:
    """Admits in the order of arrival, within a group; nobody overtakes one who waits to be alone.

    Args:
        size: How many may be in together; of one group half of that, rounded up.
    """

    def __init__(self, size: int) -> None:
        self._size = size
        self._turn = asyncio.Lock()
        self._places = asyncio.Semaphore(size)
        self._shares: defaultdict[Hashable, asyncio.Semaphore] = defaultdict(
            lambda: asyncio.Semaphore((size + 1) // 2)
        )

    @asynccontextmanager
    async def together(self, group: Hashable) -> AsyncIterator[None]:
        """Be in with up to `size - 1` others."""
        async with self._shares[group]:
            async with self._turn:
                await self._places.acquire()
            try:
                yield
            finally:
                self._places.release()

    @asynccontextmanager
    async def alone(self) -> AsyncIterator[None]:
        """Be in while nobody else is."""
        num_taken = 0
        try:
            async with self._turn:
                while num_taken < self._size:
                    await self._places.acquire()
                    num_taken += 1
            yield
        finally:
            for _ in range(num_taken):
                self._places.release()
