"""A segment as the model takes it.

A file of its own: processes that only hand it on need neither the decoder nor the extractors.
"""

from dataclasses import dataclass
from typing import TYPE_CHECKING

from pipelines.segment import Segment

if TYPE_CHECKING:
    from pipelines.features import FloatArray


@dataclass(frozen=True)
class PreparedSegment:
    """What the model needs of a segment, and what the answer says about it.

    Attributes:
        segment: As it came.
        features: (T, D) of each modality of the contract; T = 0 where it is absent.
        quality: Of each modality, in [0, 1]; 0 where it is absent.
        duration_s: The segment's own, or what the media say.
        timings_s: Seconds spent in "fetch", "decode", "extract" and "align".
    """

    segment: Segment
    features: "dict[str, FloatArray]"
    quality: dict[str, float]
    duration_s: float
    timings_s: dict[str, float]
