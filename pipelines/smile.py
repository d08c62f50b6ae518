"""How much a face smiles: what OpenCV's smile detector finds, against what a neutral face gives it.

Knows cut-out faces. Does not know frames, nor who the person is. The evidence is one-sided: no smile means
neutral, not negative.

A neutral face already sets the detector off, one person's thirty times as often as another's, so the count
of its hits is read against a baseline: the segment's own lower level, shrunk towards the mean of a population
(`smile_prior.json`, fitted by `fit_smile_prior`). The shrinkage lets a lasting smile stay a smile.

Checked frame by frame on eight clips against MediaPipe's smile blendshape: r = .82; a frame above .5 there
reads higher here than one below .2 in 99 % of the pairs. A wide shout that MediaPipe takes for a smile reads
.1 to .6 here.
"""

import threading
from collections.abc import Sequence
from dataclasses import dataclass
from importlib.resources import files

import cv2
import numpy as np
import numpy.typing as npt
from pydantic import TypeAdapter

from pipelines.faces import Grey, load_cascade
from pipelines.features import FloatArray

CROP_PX = 120
"""Side of a cut-out face."""
SMALLEST_HIT_PX = (30, 15)
"""A quarter of the face wide: the neutral mouth is about a third."""
RESTING_PERCENTILE = 30
"""Of a segment's evidence: the face's level at rest when it smiles for up to two thirds of the time."""
BROAD_SMILE = 1.5
"""How far a lasting smile may have raised a segment's resting level: standard deviation in log hits. A broad
smile raises the evidence by 2 to 2.5."""
NEUTRAL_READS = 0.1
"""What 95 % of the neutral frames of the fit stay below: a face at rest must rarely look like a smile."""


@dataclass(frozen=True)
class SmilePrior:
    """What neutral, speaking faces give the detector, in log(1 + hits).

    Attributes:
        mean: Of the people's means.
        between_sd: Standard deviation of the people's means.
        within_sd: Standard deviation within one person's clip.
        neutral_rise: 95th percentile of the rise above the baseline in the same frames.
        fitted_on: The clips.
    """

    mean: float
    between_sd: float
    within_sd: float
    neutral_rise: float
    fitted_on: tuple[str, ...]

    def baseline(self, evidence_T: npt.NDArray[np.floating]) -> float:
        """Likely level of this segment's neutral face: its resting level, shrunk to the population's mean."""
        resting = float(np.percentile(evidence_T, RESTING_PERCENTILE))
        known = self.between_sd**2
        weight = known / (known + self.within_sd**2 + BROAD_SMILE**2)
        return self.mean + weight * (resting - self.mean)

    def smile(self, rise_T: npt.NDArray[np.floating]) -> FloatArray:
        """The rise above the baseline as a number in (0, 1); 0.5 and above is a smile."""
        softness = self.within_sd / 3
        middle = self.neutral_rise + softness * np.log(1 / NEUTRAL_READS - 1)
        return np.asarray(1 / (1 + np.exp(-(rise_T - middle) / softness)), np.float32)


@dataclass(frozen=True)
class Hits:
    """What the detector says about each face.

    Attributes:
        evidence_T: log(1 + number of hits).
        width_T: Mean width of the hits over the face's; 0 without a hit.
    """

    evidence_T: FloatArray
    width_T: FloatArray


class SmileDetector:
    """The detector, one for each thread that asks: OpenCV's cascades are not thread-safe."""

    def __init__(self) -> None:
        self._of_thread = threading.local()
        self._cascade()

    def hits(self, crops: Sequence[Grey]) -> Hits:
        """Evidence in cut-out, equalised faces of CROP_PX.

        Both numbers are medians of three faces in a row: a vowel may look like a smile for one frame.
        """
        counts, widths = [], []
        for crop in crops:
            # Every window counts, not only where several agree: the count is the evidence.
            found = self._cascade().detectMultiScale(crop[CROP_PX // 2 :], 1.1, 0, minSize=SMALLEST_HIT_PX)
            counts.append(np.log1p(len(found)))
            widths.append(
                float(np.mean([width for _, _, width, _ in found])) / CROP_PX if len(found) else 0.0
            )
        return Hits(_median_of_three(counts), _median_of_three(widths))

    def _cascade(self) -> cv2.CascadeClassifier:
        if not hasattr(self._of_thread, "cascade"):
            self._of_thread.cascade = load_cascade("haarcascade_smile.xml")
        cascade: cv2.CascadeClassifier = self._of_thread.cascade
        return cascade


def load_prior() -> SmilePrior:
    """The committed prior."""
    return TypeAdapter(SmilePrior).validate_json((files("pipelines") / "smile_prior.json").read_bytes())


def _median_of_three(values: Sequence[float]) -> FloatArray:
    padded = np.pad(np.asarray(values, np.float32), 1, mode="edge")
    return np.asarray(np.median([padded[:-2], padded[1:-1], padded[2:]], axis=0), np.float32)
