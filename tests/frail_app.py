"""The real application, whose extractor is killed once while the consumer is still starting."""

import asyncio
from collections.abc import Mapping
from typing import Any
from unittest import mock

import psutil
from ray import serve
from ray.serve.handle import DeploymentHandle

from workers import app
from workers.config import Settings, validate_settings
from workers.consumer import SegmentConsumer

IMPORT_PATH = "tests.frail_app:build_app"


class LateConsumer(SegmentConsumer):
    """Starts once the extractor has died and Serve has said so."""

    async def __init__(  # type: ignore[misc]
        self, settings: Settings, extractor: DeploymentHandle, model: DeploymentHandle
    ) -> None:
        if status() != "UNHEALTHY":
            await until("HEALTHY", "FeatureExtractor")
            siblings = psutil.Process().parent().children()
            replica, *_ = [one for one in siblings if "FeatureExtractor" in " ".join(one.cmdline())]
            replica.kill()
            await until("UNHEALTHY", "FeatureExtractor")
        await super().__init__(settings, extractor, model)


async def until(wanted: str, deployment: str) -> None:
    """Wait until Serve says this of a deployment."""
    async with asyncio.timeout(60):
        while status(deployment) != wanted:
            await asyncio.sleep(0.05)


def status(deployment: str = "FeatureExtractor") -> str:
    """What Serve says of a deployment."""
    (found,) = serve.status().applications.values()
    return str(found.deployments[deployment].status.value)


def build_app(args: Mapping[str, Any]) -> serve.Application:
    """In place of `workers.app:build_app`."""
    with mock.patch.object(app, "SegmentConsumer", LateConsumer):
        return app.bind(validate_settings(args))
