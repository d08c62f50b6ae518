"""The worker's application without delivery, for the second table of `tests.bench.delivery`."""

from collections.abc import Mapping
from typing import Any

import pytest
from ray import serve

import workers.app
import workers.consumer
from tests.bench.unreliable import make_unreliable
from workers.config import validate_settings


class UnreliableConsumer(workers.consumer.SegmentConsumer):
    """The worker's consumer, in a process whose sessions keep no promise."""

    async def __init__(self, *arguments: Any) -> None:  # type: ignore[misc]
        make_unreliable()
        await super().__init__(*arguments)


def build_app(args: Mapping[str, Any]) -> serve.Application:
    """In place of `workers.app:build_app`."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(workers.app, "SegmentConsumer", UnreliableConsumer)
        return workers.app.bind(validate_settings(args))
