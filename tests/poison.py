"""The real application, except that segments whose id says so hang, kill their extractor, or hit a bug."""

import os
import signal
import threading
from collections.abc import Callable, Mapping
from typing import Any

from ray import serve

from pipelines.deadline import Deadline
from pipelines.prepared import PreparedSegment
from pipelines.segment import IncomingSegment
from workers.app import bind
from workers.config import Settings, validate_settings
from workers.extracting import Prepares, make_preparer


class Poisonous:
    """Prepares segments as the worker does, unless the segment's id begins with "hang", "die" or "bug"."""

    def __init__(self, real: Prepares) -> None:
        self._real = real

    def prepare(
        self, incoming: IncomingSegment, deadline: Deadline, fetched: Callable[[Deadline], Deadline]
    ) -> PreparedSegment:
        """Prepare or misbehave."""
        kind = incoming.segment.segment_id.split("/")[0]
        if kind in ("hang", "die"):
            fetched(deadline)  # where a decoder does it: in its turn
        if kind == "hang":
            threading.Event().wait()
        if kind == "die":
            os.kill(os.getpid(), signal.SIGKILL)
        if kind == "bug":
            raise KeyError("a bug in an extractor")
        return self._real.prepare(incoming, deadline, fetched)


def make_poisonous(settings: Settings) -> Prepares:
    """What the extractor's replica calls."""
    return Poisonous(make_preparer(settings))


def build_app(args: Mapping[str, Any]) -> serve.Application:
    """In place of `workers.app:build_app`."""
    return bind(validate_settings(args), make_poisonous)
