"""The videos of a manifest, by what they hold: one under several names is one, and is dealt to one split.

A long recording takes minutes to read. It is read once for all its rows, before any row's time counts. Knows files
and rows. Does not decode anything.
"""

import hashlib
import os
import stat
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path

from hctdmg.data.dataset import SPLITS
from pipelines.errors import SegmentError
from pipelines.labelled import BadRow, Labelled, Row, Video
from pipelines.labels import class_warnings, split_by_video


def read_video(path: Path) -> Video:
    """Read a whole file.

    Raises:
        SegmentError: It can't be read, or is no file.
    """
    status = _status(path)
    try:
        with open(path, "rb") as file:
            digest = hashlib.file_digest(file, "sha256").hexdigest()
    except OSError as error:
        raise _unreadable(error) from None
    return Video(digest, status.st_size, status.st_mtime_ns)


def check_unchanged(path: Path, video: Video) -> None:
    """See that a file is still the one that was read, by its size and time.

    Raises:
        SegmentError: It is not, or can't be read any more.
    """
    status = _status(path)
    if (status.st_size, status.st_mtime_ns) != (video.num_bytes, video.changed_ns):
        raise SegmentError("fetch", "has changed since the extraction began: extract again")


def identified(manifest: Labelled, videos: Mapping[Path, Video | SegmentError], seed: int) -> Labelled:
    """The manifest with each row's video, and its split where no column says it.

    Args:
        manifest: As it was read.
        videos: What was found at each row's path; rows of what can't be read become bad ones.
        seed: Of the split.

    Raises:
        ConfigError: Fewer than three videos are to be dealt to three splits.
    """
    rows, bad = list[Row](), list(manifest.bad)
    for row in manifest.rows:
        found = videos[row.path]
        if isinstance(found, Video):
            rows.append(replace(row, video=found))
        else:
            bad.append(BadRow(row.line, row.id, str(found)))
    if manifest.is_split_here and rows:
        splits = split_by_video([row.video.sha256 for row in rows], seed)
        rows = [replace(row, split=splits[row.video.sha256]) for row in rows]
    return replace(
        manifest,
        rows=tuple(rows),
        bad=tuple(sorted(bad, key=lambda one: one.line)),
        warnings=(*manifest.warnings, *_warnings(manifest, rows)),
    )


def _warnings(manifest: Labelled, rows: Sequence[Row]) -> Iterator[str]:
    for split in SPLITS:
        if not any(row.split == split for row in rows):
            yield f"no line is in split {split!r}, which training or its evaluation needs"
    names = _grouped((row.video.sha256, str(row.path)) for row in rows)
    for same in names.values():
        if len(same) > 1:
            yield f"{len(same)} files are one video: {', '.join(os.path.basename(name) for name in sorted(same))[:200]}"
    num_videos = _num_shared((row.video.sha256, row.split) for row in rows)
    if num_videos:
        yield f"{num_videos} videos have lines in more than one split: who is heard in training is heard in the test"
    num_stretches = _num_shared(((row.video.sha256, row.start_s, row.end_s), row.split) for row in rows)
    if num_stretches:
        yield f"{num_stretches} stretches are in more than one split under different names: remove all but one"
    if manifest.task == "classes":
        counts = Counter(manifest.label_names[int(row.labels[0])] for row in rows if row.split == "train")
        yield from class_warnings(manifest.label_names, counts)


def _grouped(pairs: Iterable[tuple[object, str]]) -> dict[object, set[str]]:
    groups = defaultdict[object, set[str]](set)
    for key, value in pairs:
        groups[key].add(value)
    return groups


def _num_shared(pairs: Iterable[tuple[object, str]]) -> int:
    return sum(len(values) > 1 for values in _grouped(pairs).values())


def _status(path: Path) -> os.stat_result:
    try:
        status = path.stat()
    except OSError as error:
        raise _unreadable(error) from None
    if not stat.S_ISREG(status.st_mode):
        raise SegmentError("fetch", "is a folder, pipe, socket or device; name a regular file")
    return status


def _unreadable(error: OSError) -> SegmentError:
    return SegmentError("fetch", f"{error.strerror}: mend the path, or put the video there")
