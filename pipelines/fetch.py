"""From a segment to its media's bytes: inline, or from a URI that the settings allow.

Files are opened by the operating system's own calls, because a library would wait at a pipe; http(s) has a
module of its own; every other scheme is fsspec's.

Knows where media lie and what they must weigh. Does not know what the bytes mean.
"""

import errno
import hashlib
import os
import stat
from pathlib import Path
from typing import IO

import fsspec

from pipelines.deadline import Deadline
from pipelines.download import described, download, too_large
from pipelines.errors import RetryableError, SegmentError
from pipelines.location import Location, is_within_roots, locate, shown
from pipelines.media import MediaConfig
from pipelines.segment import Segment

CHUNK_BYTES = 2**20
FINAL = (errno.EACCES, errno.EPERM, errno.EISDIR, errno.ENOTDIR, errno.ELOOP, errno.ENAMETOOLONG)
"""Errors of a file system that no retry can mend."""


def fetch(segment: Segment, inline: bytes | None, config: MediaConfig, deadline: Deadline) -> bytes:
    """Get a segment's media and check them against what the segment says of them.

    Args:
        segment: Says where the media are, and maybe their size and digest.
        inline: The media, when they came with the message.
        config: What may be fetched, and how much.
        deadline: When to stop; `config.fetch_timeout_s` may stop earlier.

    Raises:
        SegmentError: Stage "fetch": not allowed, not there, empty, too large, or not what the segment says.
        RetryableError: Stage "fetch": the other side failed or was too slow.
    """
    deadline.check("fetch")
    if (segment.size_bytes or 0) > config.max_bytes:
        raise too_large("the segment's media", segment.size_bytes, config.max_bytes)
    if inline is None:
        if segment.uri is None:
            raise SegmentError("fetch", "the segment has neither a uri nor inline media; send one of them")
        media, what = _read(segment.uri, config, deadline), f"uri {shown(segment.uri)}"
    else:
        media, what = inline, "the inline media"
    _check(media, what, segment, config)
    return media


def _read(uri: str, config: MediaConfig, deadline: Deadline) -> bytes:
    location = locate(uri, config)
    if location.scheme in ("http", "https"):
        return _download(location, config, deadline)
    limit = Deadline.after(min(config.fetch_timeout_s, deadline.remaining_s()))
    try:
        if location.path is not None:
            return _read_file(location.path, uri, config, limit)
        return _read_object(location, config, limit)
    except FileNotFoundError:
        raise SegmentError(
            "fetch", f"uri {shown(uri)} does not exist; send segments once their media are there"
        ) from None
    except OSError as error:
        if error.errno in FINAL:
            raise SegmentError("fetch", f"uri {shown(uri)} can't be read: {error.strerror}") from None
        deadline.check("fetch")
        raise RetryableError("fetch", f"{shown(uri)}: {described(error)}") from None


def _download(location: Location, config: MediaConfig, deadline: Deadline) -> bytes:
    try:
        return download(location.uri, config, min(config.fetch_timeout_s, deadline.remaining_s()))
    except RetryableError:
        deadline.check("fetch")  # what ran out may have been the segment's time: then no retry can help
        raise


def _read_file(path: Path, uri: str, config: MediaConfig, limit: Deadline) -> bytes:
    """Read a regular file; nothing waits at a pipe, and no symlink that appears meanwhile is followed."""
    _check_regular(os.stat(path), uri)
    descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_NOFOLLOW | os.O_CLOEXEC)
    with open(descriptor, "rb", buffering=0) as file:
        status = os.fstat(descriptor)
        _check_regular(status, uri)
        if not is_within_roots(Path(os.readlink(f"/proc/self/fd/{descriptor}")), config):
            raise SegmentError("fetch", f"uri {shown(uri)} was moved while it was opened; send it again")
        if status.st_size > config.max_bytes:
            raise too_large(f"uri {shown(uri)}", status.st_size, config.max_bytes)
        return _read_all(file, uri, config, limit)


def _check_regular(status: os.stat_result, uri: str) -> None:
    if not stat.S_ISREG(status.st_mode):
        raise SegmentError(
            "fetch", f"uri {shown(uri)} is a folder, pipe, socket or device; name a regular file"
        )


def _read_object(location: Location, config: MediaConfig, limit: Deadline) -> bytes:
    """Read an object from a store that fsspec knows; the time is checked between chunks."""
    try:
        store = fsspec.filesystem(location.scheme)
    except (ImportError, ValueError) as error:
        raise SegmentError(
            "fetch",
            f"uri {shown(location.uri)}: scheme {location.scheme!r} needs a package: {described(error)}",
        ) from None
    info = store.info(location.uri)
    if info["type"] != "file":
        raise SegmentError("fetch", f"uri {shown(location.uri)} is a folder; name an object")
    if (info.get("size") or 0) > config.max_bytes:
        raise too_large(f"uri {shown(location.uri)}", info["size"], config.max_bytes)
    with store.open(location.uri, "rb") as file:
        return _read_all(file, location.uri, config, limit)


def _read_all(file: IO[bytes], uri: str, config: MediaConfig, limit: Deadline) -> bytes:
    media = bytearray()
    while chunk := file.read(min(CHUNK_BYTES, config.max_bytes + 1 - len(media))):
        media += chunk
        if len(media) > config.max_bytes:
            raise too_large(f"uri {shown(uri)}", None, config.max_bytes)
        if limit.remaining_s() == 0:
            raise TimeoutError(f"only {len(media)} bytes within the time limit")
    return bytes(media)


def _check(media: bytes, what: str, segment: Segment, config: MediaConfig) -> None:
    if not media:
        raise SegmentError("fetch", f"{what} is empty: 0 bytes; send the segment with its media")
    if len(media) > config.max_bytes:
        raise too_large(what, len(media), config.max_bytes)
    if segment.size_bytes is not None and len(media) != segment.size_bytes:
        raise SegmentError(
            "fetch",
            f"{what} holds {len(media)} bytes, but the segment says size_bytes {segment.size_bytes}; "
            "send segments once their media are written",
        )
    if segment.sha256 is not None and (digest := hashlib.sha256(media).hexdigest()) != segment.sha256:
        raise SegmentError(
            "fetch",
            f"{what} has SHA-256 {digest}, but the segment says {segment.sha256}; "
            "the media were changed or damaged: send the segment again",
        )
