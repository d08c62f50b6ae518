"""Where the face of one person is in a segment's frames: found, chosen, followed.

Knows frames and OpenCV's frontal face detector. Does not know what a face shows.

A detector sees all faces of each frame; boxes that overlap from one frame to the next belong to one person;
the person whose boxes are largest in sum is the one the segment is about.
"""

import threading
from collections.abc import Sequence
from dataclasses import dataclass, replace
from importlib.resources import as_file, files

import cv2
import numpy as np
import numpy.typing as npt

Grey = npt.NDArray[np.uint8]
"""(H, W) luminance."""

SEARCH_PX = 160
"""Longer side of the frame in which faces are searched: a face must fill a seventh of it."""
CLOSE_SEARCH_PX = 480
"""The same when that finds nobody: a face must fill a twentieth of the frame."""
SMALLEST_PX = 22
"""Smallest face in a searched frame; the detector was trained at 20."""
SCALE_STEP = 1.1
MIN_NEIGHBOURS = 3
NUM_PROBES = 3
"""Frames that are searched closely when there is nobody; a close search costs ten times a plain one."""
CLOSE_RADIUS = 2.0
"""A small face is looked for within this many face widths around where it was."""
SAME_PERSON = 0.25
"""Least overlap (intersection over union) of two boxes of one person."""
MAX_GAP_S = 1.0
"""A person who is out of sight for longer is another one."""
MIN_SIGHTINGS = 3
"""A face seen less often in a segment is a pattern on the wall, unless there are fewer frames."""


@dataclass(frozen=True)
class Box:
    """A square around a face from the brows to the chin, in pixels; it may reach over the frame's edge."""

    x: float
    y: float
    size: float

    def overlap(self, other: "Box") -> float:
        """Intersection over union."""
        width = min(self.x + self.size, other.x + other.size) - max(self.x, other.x)
        height = min(self.y + self.size, other.y + other.size) - max(self.y, other.y)
        shared = max(0.0, width) * max(0.0, height)
        return shared / (self.size**2 + other.size**2 - shared)


@dataclass(frozen=True)
class Sighting:
    """The face in one frame.

    Attributes:
        frame: Index of the frame.
        num_neighbours: How many of the detector's windows agree on the face.
    """

    frame: int
    box: Box
    num_neighbours: int


class FaceFinder:
    """The detector, one for each thread that asks: OpenCV's cascades are not thread-safe."""

    def __init__(self) -> None:
        self._of_thread = threading.local()
        self._cascade()

    def follow(self, frames: Sequence[Grey], times_s: Sequence[float]) -> list[Sighting]:
        """The sightings of the segment's main person, in order; empty when there is none."""
        found = [self._search(frame, SEARCH_PX) for frame in frames]
        if sum(map(bool, found)) < len(frames) / 2:
            self._search_closely(frames, found)
        people = _people(found, times_s)
        least = min(MIN_SIGHTINGS, len(frames))
        likely = [person for person in people if len(person) >= least]
        if not likely:
            return []
        main = max(likely, key=lambda person: sum(sighting.box.size**2 for sighting in person))
        return _steadied(main)

    def _search_closely(self, frames: Sequence[Grey], found: list[list[tuple[Box, int]]]) -> None:
        """Look for a small face in a few of the frames without one; once found, near it in the others."""
        empty = [index for index, faces in enumerate(found) if not faces]
        probes = [empty[len(empty) * (2 * probe + 1) // (2 * NUM_PROBES)] for probe in range(NUM_PROBES)]
        for index in dict.fromkeys(probes):
            found[index] = self._search(frames[index], CLOSE_SEARCH_PX)
            if found[index]:
                self._search_outwards(frames, found, index)
                return

    def _search_outwards(
        self, frames: Sequence[Grey], found: list[list[tuple[Box, int]]], start: int
    ) -> None:
        for order in (range(start + 1, len(frames)), range(start - 1, -1, -1)):
            last = max((box for box, _ in found[start]), key=lambda box: box.size)
            for index in order:
                if not found[index]:
                    found[index] = self._search(frames[index], CLOSE_SEARCH_PX, around=last)
                if found[index]:
                    last = max((box for box, _ in found[index]), key=last.overlap)

    def _search(self, frame: Grey, longer_px: int, around: Box | None = None) -> list[tuple[Box, int]]:
        left = top = 0
        scale = longer_px / max(frame.shape)
        if around is not None:
            reach = CLOSE_RADIUS * around.size
            left, top = max(0, int(around.x - reach)), max(0, int(around.y - reach))
            frame = frame[
                top : int(around.y + around.size + reach), left : int(around.x + around.size + reach)
            ]
        height, width = (round(side * scale) for side in frame.shape)
        if min(height, width) < SMALLEST_PX:
            return []
        method = cv2.INTER_AREA if scale < 1 else cv2.INTER_LINEAR
        small = cv2.resize(frame, (width, height), interpolation=method)
        boxes, counts = self._cascade().detectMultiScale2(
            small, SCALE_STEP, MIN_NEIGHBOURS, minSize=(SMALLEST_PX, SMALLEST_PX)
        )
        return [
            (Box(left + x / scale, top + y / scale, size / scale), int(count))
            for (x, y, size, _), count in zip(boxes, counts, strict=True)
        ]

    def _cascade(self) -> cv2.CascadeClassifier:
        if not hasattr(self._of_thread, "cascade"):
            self._of_thread.cascade = load_cascade("haarcascade_frontalface_alt2.xml")
        cascade: cv2.CascadeClassifier = self._of_thread.cascade
        return cascade


def load_cascade(name: str) -> cv2.CascadeClassifier:
    """One of the cascades inside OpenCV's wheel."""
    with as_file(files("cv2") / "data" / name) as path:
        if not path.is_file():
            raise FileNotFoundError(f"{path}: no such cascade; install opencv-python-headless below 5")
        return cv2.CascadeClassifier(str(path))


def _people(found: Sequence[Sequence[tuple[Box, int]]], times_s: Sequence[float]) -> list[list[Sighting]]:
    """Join boxes that overlap from frame to frame, the best pairs first."""
    people: list[list[Sighting]] = []
    for index, faces in enumerate(found):
        recent = [person for person in people if times_s[index] - times_s[person[-1].frame] <= MAX_GAP_S]
        pairs = sorted(
            ((person[-1].box.overlap(box), who, what) for who, person in enumerate(recent)
             for what, (box, _) in enumerate(faces)),
            reverse=True,
        )  # fmt: skip
        taken: dict[int, int] = {}
        for overlap, who, what in pairs:
            if overlap >= SAME_PERSON and what not in taken and who not in taken.values():
                taken[what] = who
        for what, (box, num_neighbours) in enumerate(faces):
            sighting = Sighting(index, box, num_neighbours)
            if what in taken:
                recent[taken[what]].append(sighting)
            else:
                people.append([sighting])
    return people


def _steadied(sightings: list[Sighting]) -> list[Sighting]:
    """Each box as the median of itself and its neighbours: the detector's boxes tremble by a few per cent."""
    boxes = np.array([(sighting.box.x, sighting.box.y, sighting.box.size) for sighting in sightings])
    around = np.pad(boxes, ((1, 1), (0, 0)), mode="edge")
    steady = np.median([around[:-2], boxes, around[2:]], axis=0)
    return [
        replace(sighting, box=Box(*map(float, row))) for sighting, row in zip(sightings, steady, strict=True)
    ]
