"""From a media object's bytes to sound and pictures on one clock.

Knows which tracks there are and where time 0 is. Does not know where the bytes came from, nor what is seen
or heard.
"""

import io
import math
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from pipelines.container import check_duration, choose_tracks, open_container, read_packets
from pipelines.deadline import Deadline
from pipelines.errors import SegmentError
from pipelines.media import WHOLE, MediaConfig, Span
from pipelines.pictures import Frame, Pictures, decode_pictures
from pipelines.sound import Sound, decode_sound

__all__ = ["Decoded", "Frame", "decode"]

FRAMES_HZ = 5.0
FRAME_WIDTH_PX = 640
"""320 px lose nothing of a face that fills the picture (r >= .998); a small one needs more to crop from."""
AUDIO_HZ = 16_000


@dataclass(frozen=True, eq=False)
class Decoded:
    """What a segment shows and sounds like. Time 0 is the first moment of either track, or the span's begin.

    Each is equal to itself alone, so that what was found in it can be remembered with it.

    Attributes:
        duration_s: Length of what was decoded.
        audio: (N,) mono in [-1, 1] from time 0, silent where the track has nothing; None without a track.
        audio_hz: Samples a second.
        frames: In the order of time; empty without a video track.
        num_damaged: Packets that could not be decoded.
    """

    duration_s: float
    audio: npt.NDArray[np.float32] | None
    audio_hz: int
    frames: tuple[Frame, ...]
    num_damaged: int = 0


def decode(
    media: bytes,
    config: MediaConfig,
    deadline: Deadline,
    *,
    span: Span = WHOLE,
    frames_hz: float = FRAMES_HZ,
    frame_width_px: int = FRAME_WIDTH_PX,
    audio_hz: int = AUDIO_HZ,
) -> Decoded:
    """Decode a segment's media; what is damaged is left out as long as something is readable.

    Args:
        media: The whole file.
        config: Limits.
        deadline: When to stop.
        span: Which part of the file is the segment.
        frames_hz: Pictures a second: the first one at or after each tick.
        frame_width_px: Longest side of a picture; larger ones are scaled down.
        audio_hz: Samples a second.

    Raises:
        SegmentError: Stage "decode": nothing is readable, a limit is passed, or the deadline.
    """
    with open_container(io.BytesIO(media), config) as container:
        tracks = choose_tracks(container, config)
        packets = read_packets(container, tracks, config, deadline)
        sound, pictures = None, None
        if tracks.audio is not None:
            sound = decode_sound(tracks.audio, packets[tracks.audio.index], config, deadline, audio_hz)
        if tracks.video is not None:
            pictures = decode_pictures(
                tracks.video,
                packets[tracks.video.index],
                config,
                deadline,
                start_s=sound.start_s if sound else None,
                span=span,
                frames_hz=frames_hz,
                longest_px=frame_width_px,
            )
    if sound is None and pictures is None:
        num_packets = sum(len(found) for found in packets.values())
        raise SegmentError(
            "decode",
            f"none of its {num_packets} packets can be decoded; encode the segment again"
            if num_packets
            else "no packet behind its header: it is truncated or lasts 0 s; send it again whole",
        )
    return _on_one_clock(sound, pictures, span, config, audio_hz)


def _on_one_clock(
    sound: Sound | None, pictures: Pictures | None, span: Span, config: MediaConfig, audio_hz: int
) -> Decoded:
    """Count time from the first moment of either track; a span begins later.

    container's clock   1.40      1.52                      6.43  6.48
    pictures            |------------------------------------|
    sound                          |------------------------------|
    decoded             0  silence 0.12                           5.08
    """
    zero_s = min(track.start_s for track in (sound, pictures) if track is not None) + span.start_s
    duration_s = max(track.end_s for track in (sound, pictures) if track is not None) - zero_s
    check_duration(duration_s, config)
    if duration_s <= 0:
        raise SegmentError("decode", "lasts 0 s; send a segment with more than one picture or sample")
    audio = None
    if sound is not None and sound.end_s > zero_s:
        num_silent = round((sound.start_s - zero_s) * audio_hz)
        silence = np.zeros(max(0, num_silent), dtype=np.float32)
        audio = np.concatenate([silence, sound.samples[max(0, -num_silent) :]])
        if span.ends_sound and math.isfinite(span.end_s):
            audio = audio[: round((span.end_s - span.start_s) * audio_hz)]
    frames = pictures.frames if pictures else ()
    return Decoded(
        duration_s=duration_s,
        audio=audio,
        audio_hz=audio_hz,
        frames=tuple(Frame(max(0.0, frame.time_s - zero_s), frame.rgb_HW3) for frame in frames),
        num_damaged=(sound.num_damaged if sound else 0) + (pictures.num_damaged if pictures else 0),
    )
