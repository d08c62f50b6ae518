"""What every extractor gives: a track of feature steps with their times, and how good the evidence was.

Knows shapes and times. Does not know any modality.
"""

from dataclasses import dataclass
from typing import Protocol

import numpy as np
import numpy.typing as npt

from hctdmg.contract import ModalityContract
from pipelines.decode import Decoded
from pipelines.segment import Segment

FloatArray = npt.NDArray[np.float32]


@dataclass(frozen=True)
class Track:
    """One modality of one segment, in time order.

    Attributes:
        values_TD: (T, D) finite; T = 0 when the modality is absent.
        times_T2: (T, 2) start and end of each step, seconds from the segment's start.
        quality: How much there was to see, hear or read, in [0, 1]; 0 when the modality is absent.
    """

    values_TD: FloatArray
    times_T2: FloatArray
    quality: float

    @property
    def num_steps(self) -> int:
        """T."""
        return len(self.values_TD)


class Extractor(Protocol):
    """Turns one modality of a segment into features.

    Attributes:
        contract: What the features are; another contract means other numbers.
    """

    @property
    def contract(self) -> ModalityContract:
        """What the features are; another contract means other numbers."""
        ...

    def extract(self, segment: Segment, decoded: Decoded) -> Track:
        """Features of one segment: a pure function of its arguments, callable from several threads.

        Raises:
            SegmentError: Stage "extract": the segment breaks a limit. (A modality that isn't there is no
                error but an absent track.)
        """
        ...


def absent(width: int) -> Track:
    """The track of a modality that isn't there."""
    return Track(np.zeros((0, width), np.float32), np.zeros((0, 2), np.float32), 0.0)
