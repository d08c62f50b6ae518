"""The worker's application whose extractors take a fixed time for each segment, without using a core.

So that many of them run side by side on a small machine, and how much they can do is known beforehand.
"""

import time
from collections.abc import Callable, Mapping
from typing import Any

from ray import serve

from pipelines.deadline import Deadline
from pipelines.prepared import PreparedSegment
from pipelines.segment import IncomingSegment
from workers import app
from workers.config import Settings, validate_settings
from workers.extracting import Prepares, make_preparer

IMPORT_PATH = "tests.slow_app:build_app"
SLOW_S = 0.25
"""What a segment takes, beside the few milliseconds that a tone takes to prepare."""


class Slow:
    """The real extractors, and a wait."""

    def __init__(self, inner: Prepares) -> None:
        self._inner = inner

    def prepare(
        self, incoming: IncomingSegment, deadline: Deadline, fetched: Callable[[Deadline], Deadline]
    ) -> PreparedSegment:
        """Wait, as for media, which segments do beside each other, then prepare."""
        time.sleep(SLOW_S)
        return self._inner.prepare(incoming, deadline, fetched)


def make_slow(settings: Settings) -> Prepares:
    """In place of `make_preparer`."""
    return Slow(make_preparer(settings))


def build_app(args: Mapping[str, Any]) -> serve.Application:
    """In place of `workers.app:build_app`."""
    return app.bind(validate_settings(args), make_slow)
