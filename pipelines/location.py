"""Where a URI points, and whether the settings allow to read there.

A URI is refused unless it can be read in one way only: what is checked here must be what is opened later.

Knows URIs and the allow-lists. Does not know how anything is read.
"""

import os
import re
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import SplitResult, unquote_to_bytes, urlsplit

from pipelines.errors import SegmentError
from pipelines.media import MediaConfig

HTTP_PORTS = {"http": "80", "https": "443"}
NETLOC = re.compile(r"(?P<host>[A-Za-z0-9._-]+|\[[0-9A-Fa-f:.]+\])(:(?P<port>[0-9]{1,5}))?")
"""Host or bucket, and port; no user, no escapes, nothing that two parsers might split at two places."""
CONTROL = re.compile(r"[\x00-\x20\x7f]")
SHOWN_CHARACTERS = 200


@dataclass(frozen=True)
class Location:
    """A URI that may be read.

    Attributes:
        scheme: Lower case.
        uri: As it was given.
        path: The file with all symlinks resolved; None for other schemes.
    """

    scheme: str
    uri: str
    path: Path | None = None


def locate(uri: str, config: MediaConfig) -> Location:
    """Check a URI against the allow-lists.

    Raises:
        SegmentError: Stage "fetch": ambiguous, or not on the lists.
    """
    parts = _split(uri)
    schemes = ", ".join(config.allowed_schemes) or "none"
    if parts.scheme not in config.allowed_schemes:
        raise _refusal(
            uri,
            f"scheme {parts.scheme!r} is not allowed (media.allowed_schemes: {schemes})"
            if parts.scheme
            else f"has no scheme; write it like file:///folder/name.mp4 (media.allowed_schemes: {schemes})",
        )
    if b".." in re.split(rb"[/\\]", unquote_to_bytes(parts.path)):
        raise _refusal(uri, "'..' leads out of its folder; give the path without it")
    if parts.scheme in ("file", "local"):
        return Location("file", uri, _allowed_path(uri, parts, config))
    _check_host(uri, parts, config)
    return Location(parts.scheme, uri)


def shown(uri: str) -> str:
    """A URI as messages may show it: without a password, on one line, not too long."""
    return repr(re.sub(r"//[^/?#]*@", "//***@", uri)[:SHOWN_CHARACTERS])


def is_within_roots(path: Path, config: MediaConfig) -> bool:
    """Whether a resolved path lies under one of the allowed folders."""
    return any(path.is_relative_to(Path(root).resolve()) for root in config.allowed_roots)


def _split(uri: str) -> SplitResult:
    # urlsplit drops some of these silently, and other parsers don't. A blank within a path is harmless.
    if CONTROL.search(uri.replace(" ", "_")) or uri != uri.strip():
        raise _refusal(uri, "holds control characters or blanks around it; escape them as %XX")
    if "::" in uri.partition("[")[0].partition("?")[0]:
        raise _refusal(uri, "chained file systems ('::') are not allowed; give one URI")
    try:
        return urlsplit(uri)
    except ValueError as error:
        raise _refusal(uri, f"is no URI: {error}") from None


def _allowed_path(uri: str, parts: SplitResult, config: MediaConfig) -> Path:
    if parts.netloc not in ("", "localhost"):
        raise _refusal(uri, f"names the host {parts.netloc[:100]!r}; a file URI begins with file:///")
    if parts.query or parts.fragment:
        raise _refusal(uri, "holds '?' or '#'; escape them as %3F and %23")
    name = unquote_to_bytes(parts.path)
    if b"\x00" in name or not name.startswith(b"/"):
        raise _refusal(uri, "is no absolute path; write it like file:///folder/name.mp4")
    roots = ", ".join(config.allowed_roots) or "none"
    try:
        path = Path(os.fsdecode(name)).resolve()
    except (OSError, RuntimeError) as error:  # a loop of symlinks, a name too long
        raise _refusal(uri, f"can't be resolved: {error}") from None
    if not is_within_roots(path, config):
        raise _refusal(
            uri,
            f"lies outside the allowed folders (media.allowed_roots: {roots}); "
            "move it there, or add its folder",
        )
    return path


def _check_host(uri: str, parts: SplitResult, config: MediaConfig) -> None:
    match = NETLOC.fullmatch(parts.netloc)
    if match is None:
        raise _refusal(uri, "must name one plain host or bucket, without a user or password")
    if _canonical(parts.netloc, parts.scheme) not in {
        _canonical(host, parts.scheme) for host in config.allowed_hosts
    }:
        hosts = ", ".join(config.allowed_hosts) or "none"
        raise _refusal(
            uri,
            f"host or bucket {parts.netloc[:100]!r} is not allowed (media.allowed_hosts: {hosts}); "
            "add it there if it is yours",
        )


def _canonical(netloc: str, scheme: str) -> str:
    """One spelling of a host and its port; a bucket's name is left alone."""
    if scheme not in HTTP_PORTS:
        return netloc
    return netloc.lower().removesuffix(":" + HTTP_PORTS[scheme])


def _refusal(uri: str, reason: str) -> SegmentError:
    return SegmentError("fetch", f"uri {shown(uri)} {reason}")
