"""Which replica a call goes to: the one that has the fewest of this process's calls.

Serve's own router goes by queues as it last knew them. It does not know yet what it has just sent, and passes over
replicas that it has not heard of for 10 s: most of a backlog that came at once went to a single replica, the more so
after a pause. A process knows what it has sent and what came back of it; of many consumers, each spreads its own calls
evenly. Knows Serve's routers. Does not know what is called.
"""

import asyncio
import random
from collections import Counter

from ray.serve.request_router import FIFOMixin, PendingRequest, ReplicaID, RequestRouter, RunningReplica


class FewestOutstanding(FIFOMixin, RequestRouter):  # type: ignore[misc]
    """Serve makes one in each process that has a handle, for each deployment."""

    def initialize_state(self) -> None:
        """Serve calls this first."""
        self._num_outstanding: Counter[ReplicaID] = Counter()

    async def choose_replicas(
        self,
        candidate_replicas: list[RunningReplica],
        pending_request: PendingRequest | None = None,  # noqa: ARG002 - as Serve calls it
    ) -> list[list[RunningReplica]]:
        """All, in the order in which they are to be tried; among equals, first who last told of a shorter queue."""
        await asyncio.sleep(0)  # what was chosen before this is sent meanwhile, and so counts
        return [[replica] for replica in sorted(candidate_replicas, key=self._load)]

    def on_send_request(self, replica_id: ReplicaID) -> None:
        """A call goes out."""
        super().on_send_request(replica_id)
        self._num_outstanding[replica_id] += 1

    def on_request_completed(self, replica_id: ReplicaID, internal_request_id: str) -> None:
        """A call came back, or its replica died; Serve says so once for each."""
        super().on_request_completed(replica_id, internal_request_id)
        self._num_outstanding[replica_id] -= 1
        if self._num_outstanding[replica_id] <= 0:
            del self._num_outstanding[replica_id]

    def _load(self, replica: RunningReplica) -> tuple[int, int, float]:
        told = self.replica_queue_len_cache.get(replica.replica_id) or 0
        return self._num_outstanding[replica.replica_id], told, random.random()  # noqa: S311 - not a secret
