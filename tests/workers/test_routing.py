"""A burst of calls is spread evenly over the replicas of a real Serve, at once and after one of them was replaced."""

import asyncio
import os
from collections import Counter
from collections.abc import Iterator
from contextlib import suppress

import pytest
import ray
from ray import serve
from ray.exceptions import RayActorError
from ray.serve.config import RequestRouterConfig
from ray.serve.handle import DeploymentHandle

from workers.app import MANY
from workers.ray_start import start_ray
from workers.routing import FewestOutstanding

pytestmark = pytest.mark.e2e

NUM_REPLICAS = 2
NUM_CALLS = 48
UNEVEN = 2 * NUM_REPLICAS
"""Serve chooses for so many calls at the same time: these can't know of each other."""


class Slow:
    """Says which replica it is, after a time in which all calls of a burst find one."""

    async def __call__(self, wait_s: float) -> str:
        await asyncio.sleep(wait_s)
        return str(serve.get_replica_context().replica_id.unique_id)

    async def die(self) -> None:
        """As if killed."""
        os._exit(1)


class Caller:
    """Makes all calls at once, from a process of its own, as a consumer does."""

    def __init__(self, slow: DeploymentHandle) -> None:
        self._slow = slow

    async def burst(self, number: int, wait_s: float) -> list[str]:
        """Which replica answered each."""
        return await asyncio.gather(*(self._one(wait_s) for _ in range(number)))

    async def kill_one(self) -> None:
        """Returns when it is dead."""
        with pytest.raises(Exception, match="died"):
            await self._slow.die.remote()

    async def _one(self, wait_s: float) -> str:
        return str(await self._slow.remote(wait_s))


@pytest.fixture(scope="module")
def caller() -> Iterator[DeploymentHandle]:
    start_ray(None, relay_logs=False)
    options = {"max_ongoing_requests": MANY, "ray_actor_options": {"num_cpus": 0.1}}
    router = RequestRouterConfig(request_router_class=FewestOutstanding)
    slow = serve.deployment(Slow, num_replicas=NUM_REPLICAS, request_router_config=router, **options)
    yield serve.run(serve.deployment(Caller, **options).bind(slow.bind()), route_prefix=None)
    serve.shutdown()
    ray.shutdown()


def test_a_burst_is_spread_evenly(caller: DeploymentHandle) -> None:
    for _ in range(3):
        found = Counter(caller.burst.remote(NUM_CALLS, 0.5).result())
        assert len(found) == NUM_REPLICAS
        assert max(found.values()) - min(found.values()) <= UNEVEN, found


def test_what_a_dead_replica_had_does_not_count_for_ever(caller: DeploymentHandle) -> None:
    before = set(caller.burst.remote(NUM_CALLS, 0.1).result())
    caller.kill_one.remote().result()

    async def until_replaced() -> None:
        async with asyncio.timeout(60):
            while True:
                with suppress(RayActorError):  # the caller may not know yet that it is dead
                    found = set(await caller.burst.remote(NUM_CALLS, 0.1))
                    if len(found) == NUM_REPLICAS and found != before:
                        return

    asyncio.run(until_replaced())
    # Another burst: the new replica may have come in the midst of the last one.
    found = Counter(caller.burst.remote(NUM_CALLS, 0.5).result())
    assert len(found) == NUM_REPLICAS
    assert max(found.values()) - min(found.values()) <= UNEVEN, found
