"""Any stretch of a video, cut out without encoding anything again, as the cutter cuts segments.

    video    K p p p p K p p p p K p p p p K
    asked                  |---------|
    copied             |-------------|            from the key frame before it; the span says what was asked for

Of a stretch from one key frame to another the bytes are those of `pipelines.cut`. Only the stretch is in memory, and
only what lies shortly before it is read. Knows containers and packets. Does not know labels or features.
"""

import math
from dataclasses import dataclass, field
from pathlib import Path

import av
from av.container import InputContainer

from pipelines.container import Packet, Tracks, choose_tracks, open_container, seconds
from pipelines.cut import MAX_SKEW_S, TOLERANCE_S, begin_s, last_s, timed_packets
from pipelines.errors import SegmentError
from pipelines.media import MediaConfig, Span
from pipelines.remux import choose_muxer, remux

SLACK_S = 0.5
"""How far a stretch may reach beyond the file's end: labels' times are rounded, and tracks differ in length."""

KEEPS_TIME = ("mov", "matroska", "mpegts", "mpeg")
"""Demuxers whose packets tell their time wherever reading begins; of the others some count from there."""


@dataclass(frozen=True)
class Excerpt:
    """A stretch of a video.

    Attributes:
        data: A file of its own, or the whole one when its codecs can't be copied.
        span: Which part of it was asked for.
    """

    data: bytes
    span: Span


@dataclass
class _Copied:
    """Packets from a key frame on; a decoder can start at it. All times are on the container's clock.

    Attributes:
        begin_s: The key frame's time, or the file's begin.
        is_first: Whether it begins with the file.
        is_begun: Whether its key frame is there.
    """

    begin_s: float
    is_first: bool
    is_begun: bool
    leading: list[Packet] = field(default_factory=list)
    sound: list[tuple[Packet, float]] = field(default_factory=list)
    num_bytes: int = 0

    @property
    def packets(self) -> tuple[Packet, ...]:
        return (*self.leading, *(packet for packet, _ in self.sound))

    def begin_at(self, key_s: float) -> None:
        """Forget what lies before a later key frame."""
        self.begin_s, self.is_first, self.is_begun, self.leading = key_s, False, True, []
        self.sound = [(packet, time_s) for packet, time_s in self.sound if time_s >= key_s]
        self.num_bytes = sum(packet.size for packet, _ in self.sound)

    def add(self, packet: Packet, time_s: float, is_leading: bool) -> None:
        if is_leading:
            self.leading.append(packet)
        elif self.is_first or time_s >= self.begin_s:
            self.sound.append((packet, time_s))
        self.num_bytes += packet.size


def excerpt(path: Path, start_s: float, end_s: float | None, config: MediaConfig) -> Excerpt:
    """Copy a stretch out of a file.

    Args:
        path: A video, or a file of sound.
        start_s: Where it begins, from the file's begin.
        end_s: Where it ends; None goes to the file's end.
        config: Limits on the stretch; the file may be larger.

    Raises:
        SegmentError: Stage "fetch" when the file can't be read, "decode" when it can't be cut or is too short.
    """
    if end_s is not None and end_s - start_s > config.max_duration_s:
        raise _too_long(end_s - start_s, config)
    try:
        file = open(path, "rb")  # noqa: SIM115, closed below
    except OSError as error:
        raise SegmentError("fetch", f"{path}: {error.strerror}") from None
    with file, open_container(file, config) as container:
        tracks = choose_tracks(container, config)
        demuxer = container.format.name.split(",")[0]
        muxer = choose_muxer(tracks, demuxer)
        if muxer is None:
            file.seek(0)
            return _whole(file.read(config.max_bytes + 1), start_s, end_s, config)
        origin_s = begin_s(tracks)
        until_s = math.inf if end_s is None else origin_s + end_s
        copied = _copy(container, tracks, demuxer, origin_s + start_s, until_s, config)
        reached_s = last_s(copied.packets, origin_s) - origin_s
        _check_reached(reached_s, start_s, end_s)
        packets = (copied.leading, [packet for packet, _ in copied.sound])
        data, _ = remux(packets, tracks, muxer, copied.begin_s, is_first=copied.is_first)
    lead_s = origin_s + start_s - copied.begin_s
    return Excerpt(data, _span(lead_s, start_s, end_s))


def _span(lead_s: float, start_s: float, end_s: float | None) -> Span:
    # A key frame within the rounding of time stamps is where the stretch begins.
    begin_s = lead_s if lead_s > TOLERANCE_S else 0.0
    return Span(begin_s) if end_s is None else Span(begin_s, lead_s + end_s - start_s)


def _copy(
    container: InputContainer,
    tracks: Tracks,
    demuxer: str,
    start_s: float,
    end_s: float,
    config: MediaConfig,
) -> _Copied:
    """The packets of a stretch, from the last key frame before it on."""
    # Sound may lie in the file this far from the pictures that it belongs to.
    target_s = start_s - MAX_SKEW_S
    if target_s > begin_s(tracks) and demuxer in KEEPS_TIME:
        leader = tracks.present[0]
        copied = _Copied(target_s, is_first=False, is_begun=False)
        try:
            container.seek(round(target_s / (leader.time_base or 1)), stream=leader)
            _collect(container, tracks, start_s, end_s, copied, config)
        except av.FFmpegError:
            copied.is_begun = False
        if copied.is_begun:
            return copied
        container.seek(0)
    copied = _Copied(begin_s(tracks), is_first=True, is_begun=True)
    _collect(container, tracks, start_s, end_s, copied, config)
    return copied


def _collect(
    container: InputContainer,
    tracks: Tracks,
    start_s: float,
    end_s: float,
    copied: _Copied,
    config: MediaConfig,
) -> None:
    """Read from where the container is; nothing is begun when that is behind the key frame that is needed."""
    leader = tracks.present[0]
    awaited = {track.index for track in tracks.present}
    for packet, time_s in timed_packets(container, tracks):
        is_leading, is_key = packet.stream_index == leader.index, packet.is_keyframe
        if packet.stream_index in awaited and _is_behind(packet, time_s, end_s, is_leading):
            awaited.remove(packet.stream_index)
        if not awaited or time_s > end_s + MAX_SKEW_S:
            return
        if packet.stream_index not in awaited:
            continue
        if is_leading and is_key and time_s <= start_s + TOLERANCE_S:
            if copied.leading or not copied.is_begun:
                copied.begin_at(time_s)
        elif is_leading and is_key and not copied.is_begun:
            return
        if copied.is_begun or not is_leading:
            copied.add(packet, time_s, is_leading)
        _check_size(copied, start_s, time_s, config)


def _is_behind(packet: Packet, time_s: float, end_s: float, is_leading: bool) -> bool:
    """Whether nothing that comes from here on in this track is shown before the end, or needed for what is."""
    if not is_leading:
        return time_s >= end_s
    decoded_s = time_s if packet.dts is None else seconds(packet.dts, packet.time_base)
    return decoded_s >= end_s or (packet.is_keyframe and time_s >= end_s - TOLERANCE_S)


def _check_size(copied: _Copied, start_s: float, reached_s: float, config: MediaConfig) -> None:
    if reached_s - start_s > config.max_duration_s + MAX_SKEW_S:
        raise _too_long(reached_s - start_s, config)
    if copied.num_bytes > config.max_bytes:
        raise SegmentError(
            "decode",
            f"the stretch and what lies between it and the key frame before it hold more than {config.max_bytes} "
            "bytes; label shorter ones, or encode the video with key frames every few seconds (ffmpeg -g)",
        )


def _too_long(duration_s: float, config: MediaConfig) -> SegmentError:
    return SegmentError(
        "decode",
        f"lasts {duration_s:.1f} s or more, limit {config.max_duration_s:g} s; label shorter stretches",
    )


def _check_reached(reached_s: float, start_s: float, end_s: float | None) -> None:
    if reached_s <= start_s + TOLERANCE_S:
        raise SegmentError("decode", f"begins at {start_s:g} s, but the file ends at {reached_s:.2f} s")
    if end_s is not None and reached_s < end_s - SLACK_S:
        raise SegmentError("decode", f"ends at {end_s:g} s, but the file ends at {reached_s:.2f} s")


def _whole(data: bytes, start_s: float, end_s: float | None, config: MediaConfig) -> Excerpt:
    if len(data) > config.max_bytes:
        raise SegmentError(
            "decode",
            f"its codecs can't be copied into another container, and the whole file is larger than "
            f"{config.max_bytes} bytes; encode it as h264 and aac",
        )
    return Excerpt(data, _span(start_s, start_s, end_s))
