"""The real application with poison in its extractors and deadly moments in its consumers."""

from collections.abc import Mapping
from typing import Any
from unittest import mock

from ray import serve
from ray.serve.handle import DeploymentHandle

from tests.chaos.moments import arm
from tests.poison import make_poisonous
from workers import app
from workers.config import Settings, validate_settings
from workers.consumer import SegmentConsumer


class MortalConsumer(SegmentConsumer):
    """The consumer, armed."""

    async def __init__(  # type: ignore[misc]
        self, settings: Settings, extractor: DeploymentHandle, model: DeploymentHandle
    ) -> None:
        arm(lambda: self._slot.number)
        await super().__init__(settings, extractor, model)


def build_app(args: Mapping[str, Any]) -> serve.Application:
    """In place of `workers.app:build_app`."""
    with mock.patch.object(app, "SegmentConsumer", MortalConsumer):
        return app.bind(validate_settings(args), make_poisonous)
