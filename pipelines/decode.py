"""From a media object's bytes to sound and pictures.

Knows containers and codecs (PyAV). Does not know where the bytes came from, nor what is seen or heard in them.
"""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt


@dataclass(frozen=True)
class Frame:
    """One picture.

    Attributes:
        time_s: Seconds from the segment's start.
        rgb_HW3: Upright (the container's rotation is applied), 8 bits a channel.
    """

    time_s: float
    rgb_HW3: npt.NDArray[np.uint8]  # noqa: N815


@dataclass(frozen=True)
class Decoded:
    """What a segment shows and sounds like. Time 0 is the first moment of either track.

    Attributes:
        duration_s: Length of what was decoded.
        audio: (N,) mono in [-1, 1] from time 0, silence where the track is silent or absent; None without a track.
        audio_hz: Samples a second.
        frames: In the order of time; empty without a video track.
    """

    duration_s: float
    audio: npt.NDArray[np.float32] | None
    audio_hz: int
    frames: tuple[Frame, ...]
