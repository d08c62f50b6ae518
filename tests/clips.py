"""Small clips in any container and codec, drawn here, whose content tells its own time.

Each picture carries its number as a bar code, and the sound is a tone that begins at a known moment: what
comes out of a decoder can be held against what went in.

Knows PyAV's encoders. Does not know the code under test.
"""

import io
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from fractions import Fraction
from typing import Any, TypeAlias

import av
import numpy as np
import numpy.typing as npt
from av.audio.frame import AudioFrame
from av.packet import Packet as AnyPacket
from av.video.frame import VideoFrame

Packet: TypeAlias = "AnyPacket[Any]"  # generic in PyAV's stubs only

NUM_BITS = 10
FAST = {"libx264": {"preset": "veryfast"}, "libvpx": {"deadline": "realtime", "cpu-used": "8"}}
"""Options of encoders that are slow without."""


@dataclass(frozen=True)
class Video:
    """A video track.

    Attributes:
        num_frames: At `rate_hz`; picture k shows the number k.
        key_frame_every: Pictures from one key frame to the next.
        num_b_frames: Between two others.
        start_s: When the first picture is shown.
    """

    codec: str = "libx264"
    num_frames: int = 60
    rate_hz: int = 30
    width_px: int = 160
    height_px: int = 96
    key_frame_every: int = 30
    num_b_frames: int = 2
    pixel_format: str = "yuv420p"
    start_s: float = 0.0
    options: tuple[tuple[str, str], ...] = ()


@dataclass(frozen=True)
class Audio:
    """An audio track: silence, then a tone from `tone_from_s` on; all channels alike.

    Attributes:
        start_s: When the first sample sounds.
        gap_s: From and to: samples between are left out, time goes on.
    """

    codec: str = "aac"
    duration_s: float = 2.0
    hz: int = 48_000
    layout: str = "mono"
    sample_format: str | None = None
    tone_hz: float = 440.0
    tone_from_s: float = 0.0
    amplitude: float = 0.5
    start_s: float = 0.0
    gap_s: tuple[float, float] | None = None


def write_clip(
    container: str,
    video: Video | None = None,
    audio: Audio | None = None,
    options: Mapping[str, str] | None = None,
) -> bytes:
    """Encode a clip; `options` are the muxer's."""
    file = io.BytesIO()
    with av.open(file, "w", format=container, options=dict(options or {})) as output:
        tracks: list[Iterator[Packet]] = []
        if video is not None:
            tracks.append(_video_packets(output, video))
        if audio is not None:
            tracks.append(_audio_packets(output, audio))
        packets = [packet for track in tracks for packet in track]
        for packet in sorted(packets, key=lambda packet: float((packet.dts or 0) * packet.time_base)):
            output.mux(packet)
    return file.getvalue()


def draw_number(number: int, width_px: int, height_px: int) -> npt.NDArray[np.uint8]:
    """A picture (H, W, 3) whose columns are the number's bits, white for 1; noise keeps encoders honest."""
    bits = np.array([number >> bit & 1 for bit in range(NUM_BITS)])
    columns = bits[np.arange(width_px) * NUM_BITS // width_px]
    noise = np.random.default_rng(number).integers(-15, 16, (height_px, width_px))
    grey = np.clip(40 + 170 * columns + noise, 0, 255).astype(np.uint8)
    return np.repeat(grey[:, :, None], 3, axis=2)


def read_number(rgb: npt.NDArray[np.uint8]) -> int:
    """The number on a picture of any size."""
    columns = rgb.mean(axis=(0, 2))
    centres = ((np.arange(NUM_BITS) + 0.5) * len(columns) / NUM_BITS).astype(int)
    return sum(1 << bit for bit, centre in enumerate(centres) if columns[centre] > 125)


def _video_packets(output: av.container.OutputContainer, video: Video) -> Iterator[Packet]:
    track = output.add_stream(video.codec, rate=video.rate_hz)
    track.width, track.height, track.pix_fmt = video.width_px, video.height_px, video.pixel_format
    track.gop_size = video.key_frame_every
    track.codec_context.max_b_frames = video.num_b_frames
    track.options = FAST.get(video.codec, {}) | dict(video.options)
    track.codec_context.thread_count = 1
    base = Fraction(1, video.rate_hz * 1000)
    for number in range(video.num_frames):
        picture = VideoFrame.from_ndarray(
            draw_number(number, video.width_px, video.height_px), format="rgb24"
        )
        picture = picture.reformat(format=video.pixel_format)
        picture.time_base = base
        picture.pts = number * 1000 + round(video.start_s / base)
        yield from track.encode(picture)
    yield from track.encode(None)


def _audio_packets(output: av.container.OutputContainer, audio: Audio) -> Iterator[Packet]:
    track = output.add_stream(audio.codec, rate=audio.hz, layout=audio.layout)
    if audio.sample_format is not None:
        track.format = audio.sample_format
    times_s = np.arange(round(audio.duration_s * audio.hz)) / audio.hz
    tone = audio.amplitude * np.sin(2 * np.pi * audio.tone_hz * times_s) * (times_s >= audio.tone_from_s)
    samples = np.repeat(tone[None, :], track.codec_context.layout.nb_channels, axis=0).astype(np.float32)
    size = 960
    for begin in range(0, len(times_s), size):
        if audio.gap_s is not None and audio.gap_s[0] <= times_s[begin] < audio.gap_s[1]:
            continue
        frame = AudioFrame.from_ndarray(
            np.ascontiguousarray(samples[:, begin : begin + size]), format="fltp", layout=audio.layout
        )
        frame.sample_rate, frame.time_base = audio.hz, Fraction(1, audio.hz)
        frame.pts = begin + round(audio.start_s * audio.hz)
        yield from track.encode(frame)
    yield from track.encode(None)
