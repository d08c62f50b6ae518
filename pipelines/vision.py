"""Vision features: one face's smile, mouth, place and movement, five times a second.

Knows decoded frames. Does not know who is seen, nor any expression but a smile. A frame without the face has
no step; a segment without a face is absent.

Shape suffixes: T steps, D features.
"""

from collections.abc import Sequence
from dataclasses import asdict

import cv2
import numpy as np
import numpy.typing as npt

from hctdmg.contract import ModalityContract
from pipelines.decode import Decoded, Frame
from pipelines.faces import Box, FaceFinder, Grey, Sighting
from pipelines.features import FloatArray, Track, absent
from pipelines.segment import Segment
from pipelines.smile import CROP_PX, SmileDetector, load_prior

FRAMES_HZ = 5.0
FRAME_LONGEST_PX = 640
"""Of a frame's longer side: 320 px are enough for a face that fills it, a small one needs more."""
MAX_GAP_S = 0.5
"""No movement is computed across a longer gap."""
FULL_SIZE_PX = 80
"""A face this wide is as good as a larger one."""
MOUTH = (slice(62, 114), slice(24, 96))
"""Rows and columns of the mouth in a cut-out face; the jaw may drop to the last row."""
EYES = (slice(20, 58), slice(12, 108))
DCT_PX = 32
NUM_DCT = 4
DARK, BRIGHT = 40, 215
"""Of an equalised face: inside an open mouth, and teeth or highlights."""

COLUMNS: tuple[str, ...] = (
    "smile", "smile_rise", "smile_evidence", "smile_delta", "smile_width",
    *(f"mouth_dct_{row}{column}" for row in range(NUM_DCT) for column in range(NUM_DCT) if row + column),
    "mouth_dark", "mouth_bright", "mouth_symmetry",
    "face_x", "face_y", "face_size", "face_x_delta", "face_y_delta", "face_size_delta",
    "mouth_motion", "eyes_motion", "face_motion",
    "brightness", "sharpness", "confidence",
)  # fmt: skip
"""Names of the features; units are in `_smile`, `_mouth`, `_place` and `_motion`."""
WIDTH = len(COLUMNS)


class VisionExtractor:
    """The detectors and the smile prior, loaded; threads may share it."""

    def __init__(self) -> None:
        # Segments are the unit of parallel work; OpenCV's own threads would only fight for the same cores.
        cv2.setNumThreads(1)
        self._finder = FaceFinder()
        self._smiles = SmileDetector()
        self._prior = load_prior()
        self.contract = ModalityContract(
            extractor="haar-smile",
            version="1",
            width=WIDTH,
            rate_hz=FRAMES_HZ,
            settings={"smile_prior": {**asdict(self._prior), "fitted_on": list(self._prior.fitted_on)}},
        )

    def extract(self, segment: Segment, decoded: Decoded) -> Track:  # noqa: ARG002 - all extractors alike
        """A step for each frame that shows the main person's face."""
        times_s = [frame.time_s for frame in decoded.frames]
        greys = [_grey(frame) for frame in decoded.frames]
        sightings = self._finder.follow(greys, times_s)
        if not sightings:
            return absent(WIDTH)
        seen_s = np.array([times_s[sighting.frame] for sighting in sightings])
        values_TD = self._features(greys, sightings, seen_s)
        times_T2 = np.stack([seen_s, seen_s + 1 / FRAMES_HZ], axis=1).astype(np.float32)
        return Track(values_TD, times_T2, _quality(greys, sightings))

    def evidence(self, decoded: Decoded) -> FloatArray:
        """The smile detector's evidence at each step, (T,): what the prior is fitted on."""
        greys = [_grey(frame) for frame in decoded.frames]
        sightings = self._finder.follow(greys, [frame.time_s for frame in decoded.frames])
        crops = [cv2.equalizeHist(_cut_out(greys[sighting.frame], sighting.box)) for sighting in sightings]
        return self._smiles.hits(crops).evidence_T

    def _features(
        self, greys: Sequence[Grey], sightings: Sequence[Sighting], seen_s: npt.NDArray[np.float64]
    ) -> FloatArray:
        plain = [_cut_out(greys[sighting.frame], sighting.box) for sighting in sightings]
        crops = [cv2.equalizeHist(crop) for crop in plain]
        columns = [
            self._smile(crops, seen_s),
            np.array([_mouth(crop[MOUTH]) for crop in crops]),
            _place(sightings, [greys[sighting.frame].shape for sighting in sightings], seen_s),
            _motion(crops, seen_s),
            np.array([_visibility(crop) for crop in plain]),
            np.array([[np.log10(1 + sighting.num_neighbours)] for sighting in sightings]),
        ]
        return np.concatenate(columns, axis=1).astype(np.float32)

    def _smile(self, crops: Sequence[Grey], seen_s: npt.NDArray[np.float64]) -> npt.NDArray[np.floating]:
        """Smile in (0, 1), rise and evidence in log hits, change of the smile a second, width of the hits."""
        hits = self._smiles.hits(crops)
        rise_T = hits.evidence_T - self._prior.baseline(hits.evidence_T)
        smile_T = self._prior.smile(rise_T)
        return np.stack([smile_T, rise_T, hits.evidence_T, _rate(smile_T, seen_s), hits.width_T], axis=1)


def _grey(frame: Frame) -> Grey:
    return np.asarray(cv2.cvtColor(frame.rgb_HW3, cv2.COLOR_RGB2GRAY))


def _cut_out(grey: Grey, box: Box) -> Grey:
    """The face at CROP_PX; beyond the frame its edge is repeated."""
    scale = CROP_PX / box.size
    place = np.array([[scale, 0, -box.x * scale], [0, scale, -box.y * scale]])
    crop = cv2.warpAffine(
        grey, place, (CROP_PX, CROP_PX), flags=cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE
    )
    return np.asarray(crop)


def _mouth(mouth: Grey) -> list[float]:
    """Slow cosines of the standardised mouth, shares of dark and bright pixels, symmetry in [-1, 1]."""
    pixels = cv2.resize(mouth, (DCT_PX, DCT_PX), interpolation=cv2.INTER_AREA).astype(np.float32)
    standard = (pixels - pixels.mean()) / max(float(pixels.std()), 1.0)
    cosines = cv2.dct(standard)[:NUM_DCT, :NUM_DCT].ravel()[1:] / DCT_PX
    symmetry = float((standard * standard[:, ::-1]).mean())
    return [*map(float, cosines), float((mouth < DARK).mean()), float((mouth > BRIGHT).mean()), symmetry]


def _place(
    sightings: Sequence[Sighting], shapes: Sequence[tuple[int, ...]], seen_s: npt.NDArray[np.float64]
) -> npt.NDArray[np.floating]:
    """Centre over the frame's size from its middle, log2 of size over the frame's width, and their changes.

    Changes are a second; those of the centre in face widths.
    """
    height_T, width_T = np.array(shapes, np.float64).T
    boxes = np.array([(sighting.box.x, sighting.box.y, sighting.box.size) for sighting in sightings])
    size_T = boxes[:, 2]
    centre_T2 = boxes[:, :2] + size_T[:, None] / 2
    octaves_T = np.log2(size_T / width_T)
    moves = [_rate(centre_T2[:, axis], seen_s) / size_T for axis in (0, 1)]
    where = [centre_T2[:, 0] / width_T - 0.5, centre_T2[:, 1] / height_T - 0.5]
    return np.stack([*where, octaves_T, *moves, _rate(octaves_T, seen_s)], axis=1)


def _motion(crops: Sequence[Grey], seen_s: npt.NDArray[np.float64]) -> npt.NDArray[np.floating]:
    """Mean change of the mouth's, the eyes' and the whole face's pixels since the step before, in [0, 1]."""
    change_T3 = np.zeros((len(crops), 3))
    for step in range(1, len(crops)):
        if seen_s[step] - seen_s[step - 1] <= MAX_GAP_S:
            change = cv2.absdiff(crops[step], crops[step - 1]) / 255
            change_T3[step] = change[MOUTH].mean(), change[EYES].mean(), change.mean()
    return change_T3


def _visibility(crop: Grey) -> tuple[float, float]:
    """Mean luminance in [0, 1], and sharpness as log10 of the Laplacian's variance."""
    return float(crop.mean()) / 255, float(np.log10(1 + cv2.Laplacian(crop, cv2.CV_64F).var()))


def _rate(values_T: npt.NDArray[np.floating], seen_s: npt.NDArray[np.float64]) -> npt.NDArray[np.floating]:
    """Change a second since the step before; 0 at the first step and after a gap."""
    gap_s = np.diff(seen_s)
    is_near = (gap_s > 0) & (gap_s <= MAX_GAP_S)
    rate_T = np.zeros(len(values_T))
    rate_T[1:][is_near] = np.diff(values_T)[is_near] / gap_s[is_near]
    return rate_T


def _quality(greys: Sequence[Grey], sightings: Sequence[Sighting]) -> float:
    """Share of the frames that show the face, less where it is small."""
    size_px = float(np.median([sighting.box.size for sighting in sightings]))
    return len(sightings) / len(greys) * min(1.0, size_px / FULL_SIZE_PX)
