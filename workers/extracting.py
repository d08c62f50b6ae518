"""What prepares segments in an extractor: the extractors that a checkpoint demands, or what a test puts in their place.

Knows checkpoints and pipelines. Does not know processes.
"""

from collections.abc import Callable
from typing import Protocol

from pipelines.deadline import Deadline
from pipelines.errors import ConfigError
from pipelines.prepared import PreparedSegment
from pipelines.segment import IncomingSegment
from workers.config import Settings


class Prepares(Protocol):
    """What a replica needs of `pipelines.prepare.Preparer`."""

    def prepare(
        self, incoming: IncomingSegment, deadline: Deadline, fetched: Callable[[Deadline], Deadline]
    ) -> PreparedSegment:
        """Turn a segment into features; `fetched` as in `pipelines.prepare`, to be called once."""
        ...


def make_preparer(settings: Settings) -> Prepares:
    """The extractors that the settings' checkpoint demands.

    Raises:
        ConfigError: The checkpoint can't be read or needs other extractors.
    """
    # Late: the module is imported where nothing is extracted.
    from hctdmg.checkpoint import load_checkpoint
    from hctdmg.manifest import CheckpointError
    from pipelines.prepare import Preparer

    try:
        features = load_checkpoint(settings.model.checkpoint).manifest.features
    except CheckpointError as error:
        raise ConfigError(str(error)) from error
    return Preparer(features, settings.media)
