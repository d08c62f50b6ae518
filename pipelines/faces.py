"""Where the face of one person is in a segment's frames: found, chosen, followed.

Knows frames and OpenCV's frontal face detector. Does not know what a face shows.

A detector sees all faces of each frame; boxes that overlap from one frame to the next belong to one person;
the person whose boxes are largest in sum is the one the segment is about.
"""

import math
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
KEY_FRAMES = 5
"""Every so many frames the whole frame is searched; between them, around the faces of the frame before, which
takes a fifth of the time. A newcomer is thus seen within a second."""
NEAR, FAR = 0.5, 1.5
"""How far around a face, in face widths, it is looked for in the next frame: a large one, a small one."""
GROWTH = 1.3
"""How much a face may grow or shrink from one frame to the next."""
NUM_PROBES = 3
"""Frames that are searched closely when there is nobody; a close search costs ten times a plain one."""
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


Face = tuple[Box, int]
"""Where, and how many of the detector's windows agree."""
Faces = list[Face]
"""All faces of one frame."""


class FaceFinder:
    """The detector, one for each thread that asks: OpenCV's cascades are not thread-safe."""

    def __init__(self) -> None:
        self._of_thread = threading.local()
        self._cascade()

    def follow(self, frames: Sequence[Grey], times_s: Sequence[float]) -> list[Sighting]:
        """The sightings of the segment's main person, in order; empty when there is none."""
        found: list[Faces] = []
        for index, frame in enumerate(frames):
            before = found[-1] if index % KEY_FRAMES else []
            found.append(self._again(frame, before) or self._search(frame, SEARCH_PX))
        if sum(map(bool, found)) < len(frames) / 2:
            self._search_closely(frames, found)
        people = _people(found, times_s)
        least = min(MIN_SIGHTINGS, len(frames))
        likely = [person for person in people if len(person) >= least]
        if not likely:
            return []
        main = max(likely, key=lambda person: sum(sighting.box.size**2 for sighting in person))
        return _steadied(main)

    def _again(self, frame: Grey, before: Faces) -> Faces:
        """The faces of the frame before, each looked for around its place; empty unless all are found."""
        faces = []
        for box, _ in before:
            near = self._search_around(frame, SEARCH_PX, box, NEAR)
            if near is None:
                return []
            faces.append(near)
        return faces

    def _search_closely(self, frames: Sequence[Grey], found: list[Faces]) -> None:
        """Look for a small face in a few of the frames without one; once found, near it in the others."""
        empty = [index for index, faces in enumerate(found) if not faces]
        probes = [empty[len(empty) * (2 * probe + 1) // (2 * NUM_PROBES)] for probe in range(NUM_PROBES)]
        for start in dict.fromkeys(probes):
            largest_px = 2 * SMALLEST_PX * max(frames[start].shape) / SEARCH_PX
            # A large face would have been seen before: what only a close look takes for one is none.
            seen = self._search(frames[start], CLOSE_SEARCH_PX)
            small = [face for face in seen if face[0].size <= largest_px]
            if small:
                found[start] = small
                nearest = max(small, key=lambda face: face[0].size)[0]
                self._search_on(frames, found, range(start + 1, len(frames)), nearest)
                self._search_on(frames, found, range(start - 1, -1, -1), nearest)
                return

    def _search_on(self, frames: Sequence[Grey], found: list[Faces], order: range, last: Box) -> None:
        for index in order:
            if not found[index]:
                face = self._search_around(frames[index], CLOSE_SEARCH_PX, last, FAR)
                found[index] = [face] if face else []
            if found[index]:
                last = max((box for box, _ in found[index]), key=last.overlap)

    def _search_around(self, frame: Grey, longer_px: int, last: Box, radius: float) -> Face | None:
        """The face that overlaps most with where it was, of about its size."""
        reach = radius * last.size
        left, top = max(0, int(last.x - reach)), max(0, int(last.y - reach))
        right, bottom = int(last.x + last.size + reach), int(last.y + last.size + reach)
        scale = longer_px / max(frame.shape)
        faces = self._detect(frame[top:bottom, left:right], scale, last.size / GROWTH, last.size * GROWTH)
        moved = [(Box(left + box.x, top + box.y, box.size), count) for box, count in faces]
        return max(moved, key=lambda face: last.overlap(face[0]), default=None)

    def _search(self, frame: Grey, longer_px: int) -> Faces:
        return self._detect(frame, longer_px / max(frame.shape), 0, max(frame.shape))

    def _detect(self, frame: Grey, scale: float, smallest: float, largest: float) -> Faces:
        """Faces in a frame that is scaled first; sizes in pixels of the frame."""
        height, width = (round(side * scale) for side in frame.shape)
        if min(height, width) < SMALLEST_PX:
            return []
        method = cv2.INTER_AREA if scale < 1 else cv2.INTER_LINEAR
        small = cv2.resize(frame, (width, height), interpolation=method)
        least, most = max(SMALLEST_PX, int(smallest * scale)), max(SMALLEST_PX, math.ceil(largest * scale))
        boxes, counts = self._cascade().detectMultiScale2(
            small, SCALE_STEP, MIN_NEIGHBOURS, minSize=(least, least), maxSize=(most, most)
        )
        return [
            (Box(x / scale, y / scale, size / scale), int(count))
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


def _people(found: Sequence[Faces], times_s: Sequence[float]) -> list[list[Sighting]]:
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
