"""What media the pipeline may fetch and how much of it: the settings that `fetch`, `decode` and `cut` obey.

Knows limits. Does not know how any of them is enforced.
"""

import math
from dataclasses import dataclass
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field

ContainerFormat = Literal[
    "mp4", "mov", "mpegts", "mpeg", "matroska", "webm", "ogg", "wav", "mp3", "flac", "aac"
]

ALL_FORMATS: tuple[ContainerFormat, ...] = (
    "mp4", "mov", "mpegts", "mpeg", "matroska", "webm", "ogg", "wav", "mp3", "flac", "aac",
)  # fmt: skip


class MediaConfig(BaseModel):
    """Group `media` of the settings.

    Attributes:
        allowed_schemes: URI schemes that may be fetched.
        allowed_roots: Folders under which a file must lie once symlinks are resolved. Empty: no file.
        allowed_hosts: Hosts (with ":port" where it is not the scheme's own) that http(s) may ask, and buckets
            that object stores may read. Empty: none. No redirect leads off this list.
        formats: Container formats that may be opened; nothing else is probed.
        max_bytes: Largest media object; nothing is read past it.
        max_duration_s: Longest segment.
        max_frames: Most video frames in a segment.
        max_pixels: Largest frame, width times height.
        max_streams: Most tracks in a container.
        fetch_timeout_s: Time to connect and to read a whole object.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    allowed_schemes: tuple[str, ...] = ("file",)
    allowed_roots: tuple[str, ...] = ()
    allowed_hosts: tuple[str, ...] = ()
    formats: tuple[ContainerFormat, ...] = ALL_FORMATS
    max_bytes: Annotated[int, Field(gt=0)] = 64 * 2**20
    max_duration_s: Annotated[float, Field(gt=0)] = 60.0
    max_frames: Annotated[int, Field(gt=0)] = 7200  # 60 s at 120 frames a second
    max_pixels: Annotated[int, Field(gt=0)] = 3840 * 2160
    max_streams: Annotated[int, Field(gt=0)] = 16
    fetch_timeout_s: Annotated[float, Field(gt=0)] = 10.0


@dataclass(frozen=True)
class Span:
    """The part of a media object that is the segment; the rest is there so that this part can be decoded.

    Attributes:
        start_s: Counted from the object's begin; nothing before it is seen or heard.
        end_s: No picture from here on is seen. What sounds from here on was left out when the object was cut.
    """

    start_s: float = 0.0
    end_s: float = math.inf


WHOLE = Span()
"""How segments come from a stream."""
