"""From a video track's packets to the few pictures that are needed.

    time       0.0            0.2            0.4
    packets    I  b  P  b  P  b  I  b  P  b  P  b  ...
    needed     x              x              x          the first frame at or after each tick
    decoded    x     x     x  x        x     x          and those that needed ones refer to

Knows decoders, scaling and rotation. Does not know what is seen.
"""

import itertools
import math
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

import av
import numpy as np
import numpy.typing as npt
from av.video.frame import VideoFrame
from av.video.stream import VideoStream

from pipelines.container import Packet, check_pixels, decoder_pixels, packet_time_s, seconds
from pipelines.deadline import Deadline
from pipelines.media import MediaConfig, Span
from pipelines.restarts import is_restart

SKIPS_EXACTLY = ("h264", "hevc", "mpeg1video", "mpeg2video", "mpeg4")
"""Decoders that can leave out a frame to which no other refers, without a change to any other frame."""

PROGRESSIVE = (0, 1)
"""`field_order` of whole frames (or not told). A field of an interlaced one may be a packet of its own."""

TICK_TOLERANCE_S = 0.001
"""Matroska rounds time stamps to milliseconds: a frame that is this early is at its tick."""

MAX_PIXEL_ASPECT = 4.0
"""Pixels that claim to be longer than this are taken for square: the widest in use are 2.2 to 1."""


@dataclass(frozen=True)
class Frame:
    """One picture.

    Attributes:
        time_s: When it is shown.
        rgb_HW3: Upright (the container's rotation is applied), with square pixels, 8 bits a channel.
    """

    time_s: float
    rgb_HW3: npt.NDArray[np.uint8]


@dataclass(frozen=True)
class Pictures:
    """What is needed of a video track.

    Attributes:
        frames: At least one. Times are on the container's clock.
        start_s: When the first picture of the track is shown.
        end_s: When the last picture of the track ends.
        num_damaged: Packets that could not be decoded, of those that had to be.
    """

    frames: tuple[Frame, ...]
    start_s: float
    end_s: float
    num_damaged: int


def decode_pictures(
    track: VideoStream,
    packets: Sequence[Packet],
    config: MediaConfig,
    deadline: Deadline,
    *,
    start_s: float | None,
    span: Span,
    frames_hz: float,
    longest_px: int,
) -> Pictures | None:
    """Decode and convert the first picture at or after each tick.

    Args:
        track: The track.
        packets: All its packets, in the order of decoding.
        config: Limits.
        deadline: When to stop.
        start_s: When the media begin, unless this track begins earlier; None when only this track counts.
        span: Which part of the media counts.
        frames_hz: Ticks a second.
        longest_px: Longest side of a picture; larger ones are scaled down.

    Returns:
        None when there is no picture: no packet could be decoded, or none is shown within the span.

    Raises:
        SegmentError: Stage "decode": a frame is too large, or the deadline passed.
    """
    shown_s = sorted(_shown_s(packets))
    first_s = shown_s[0] if shown_s else 0.0
    zero_s = first_s if start_s is None else min(first_s, start_s)
    period_s = _period_s(track, packets, shown_s)
    begin_s, until_s = zero_s + span.start_s, zero_s + span.end_s
    needed = _needed(packets, _Ticks(begin_s, frames_hz, until_s))

    def take(some: Sequence[Packet]) -> Pictures:
        ticks, pixel_aspect = _Ticks(begin_s, frames_hz, until_s), _pixel_aspect(track)
        frames: list[Frame] = []
        # The last pictures may not be needed: their packets still say when the track ends.
        end_s, num_damaged = shown_s[-1] + period_s if shown_s else 0.0, 0
        next_s = first_s
        for picture in _decoded(track, some, needed, deadline):
            if picture is None:
                num_damaged += 1
                continue
            time_s = next_s if picture.pts is None else seconds(picture.pts, track.time_base)
            next_s = time_s + period_s
            end_s = max(end_s, next_s)
            if ticks.take(time_s):
                check_pixels(picture.width, picture.height, config)
                frames.append(Frame(time_s, _upright(picture, pixel_aspect, longest_px)))
        return Pictures(tuple(frames), first_s, end_s, num_damaged)

    track.codec_context.thread_count = 1  # one replica a core: threads would only take turns
    track.codec_context.options = {"max_pixels": str(decoder_pixels(config))}
    leading = leading_to(needed, packets, track)
    pictures = take(leading)
    if len(leading) < len(packets) and (pictures.num_damaged or len(pictures.frames) < len(needed)):
        # In place of a lost picture the next one is taken, which may have been left out. (What the decoder hides
        # without saying so is filled in from the last picture that it has: where some are left out, an older one.)
        track.codec_context.flush_buffers()
        pictures = take(packets)
    return pictures if pictures.frames else None


@dataclass
class _Ticks:
    """Moments at which a picture is wanted; each one is served once.

    Attributes:
        zero_s: The first one.
        rate_hz: Of the others.
        until_s: From here on there is none.
        num_passed: Ticks that were served or missed.
    """

    zero_s: float
    rate_hz: float
    until_s: float
    num_passed: int = 0

    def take(self, time_s: float) -> bool:
        """Whether a picture at this time is the first one since the next tick."""
        if time_s >= self.until_s - TICK_TOLERANCE_S:
            return False
        num_reached = math.floor((time_s - self.zero_s + TICK_TOLERANCE_S) * self.rate_hz) + 1
        if num_reached <= self.num_passed:
            return False
        self.num_passed = num_reached
        return True


def _decoded(
    track: VideoStream,
    packets: Sequence[Packet],
    needed: frozenset[int],
    deadline: Deadline,
) -> Iterator[VideoFrame | None]:
    """Each picture in the order of showing; None for a packet that can't be decoded.

    A picture that is neither needed nor referred to may be missing.
    """
    context = track.codec_context
    may_skip = context.codec.name in SKIPS_EXACTLY and _is_progressive(track) and bool(needed)
    for packet in (*packets, None):
        deadline.check("decode")
        if may_skip and packet is not None:
            context.skip_frame = "DEFAULT" if packet.pts in needed else "NONREF"
        try:
            yield from context.decode(packet)
        except av.FFmpegError:
            yield None


def _needed(packets: Sequence[Packet], ticks: _Ticks) -> frozenset[int]:
    """Time stamps of the pictures at the ticks; empty when some packet does not say when it is shown."""
    stamps = {
        packet.pts: seconds(packet.pts, packet.time_base)
        for packet in _shown(packets)
        if packet.pts is not None
    }
    if any(packet.pts is None for packet in packets):
        return frozenset()
    return frozenset(pts for pts in sorted(stamps) if ticks.take(stamps[pts]))


def leading_to(needed: frozenset[int], packets: Sequence[Packet], track: VideoStream) -> Sequence[Packet]:
    """The packets without those that no needed picture can refer to.

        packets    IDR  P  P  P  P  IDR  P  P  P  P      all, in the order of decoding
        needed      x      x         x
        leading    IDR  P  P        IDR

    Args:
        needed: Time stamps of the pictures that are needed; when empty, nothing is left out.
        packets: All of the track.
        track: Where they come from.
    """
    if not needed or not _is_progressive(track):
        return packets
    leading: list[Packet] = []
    is_led_to = False
    for packet in reversed(packets):
        is_led_to = is_led_to or packet.pts in needed
        if is_led_to:
            leading.append(packet)
            is_led_to = not is_restart(packet, track)
    return leading[::-1]


def _is_progressive(track: VideoStream) -> bool:
    return track.codec_context.field_order in PROGRESSIVE


def _shown(packets: Iterable[Packet]) -> Iterator[Packet]:
    """Without the packets that are there only so that others can be decoded."""
    return (packet for packet in packets if not packet.is_discard)


def _shown_s(packets: Iterable[Packet]) -> Iterator[float]:
    return (time_s for packet in _shown(packets) if (time_s := packet_time_s(packet)) is not None)


def _period_s(track: VideoStream, packets: Sequence[Packet], shown_s: Sequence[float]) -> float:
    """How long a picture is shown: as packets say, else the usual distance, else by the track's rate."""
    durations_s = [seconds(packet.duration, packet.time_base) for packet in packets if packet.duration]
    gaps_s = [later - earlier for earlier, later in itertools.pairwise(shown_s) if later > earlier]
    for known_s in (durations_s, gaps_s):
        if known_s:
            return sorted(known_s)[len(known_s) // 2]
    return float(1 / track.average_rate) if track.average_rate else 0.0


def _pixel_aspect(track: VideoStream) -> float:
    """Width of a pixel over its height."""
    aspect = float(track.sample_aspect_ratio or 1)
    return aspect if 1 / MAX_PIXEL_ASPECT <= aspect <= MAX_PIXEL_ASPECT else 1.0


def _upright(frame: VideoFrame, pixel_aspect: float, longest_px: int) -> npt.NDArray[np.uint8]:
    """Scale down and convert, then turn: turning the small picture is cheap."""
    width = frame.width * max(1.0, pixel_aspect)
    height = frame.height / min(1.0, pixel_aspect)
    scale = min(1.0, longest_px / max(width, height))
    small = frame.reformat(
        width=max(1, round(width * scale)),
        height=max(1, round(height * scale)),
        format="rgb24",
        interpolation="FAST_BILINEAR",
        threads=1,
    )
    quarter_turns = round(frame.rotation / 90) % 4 if abs(frame.rotation) <= 180 else 0
    return np.ascontiguousarray(np.rot90(small.to_ndarray(), quarter_turns))
