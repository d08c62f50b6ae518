"""From an audio track's packets to one channel of samples on the container's clock.

Knows decoders and resampling. Does not know what is heard.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from fractions import Fraction

import av
import numpy as np
import numpy.typing as npt
from av.audio.frame import AudioFrame
from av.audio.resampler import AudioResampler
from av.audio.stream import AudioStream

from pipelines.container import Packet, check_duration, seconds
from pipelines.deadline import Deadline
from pipelines.media import MediaConfig

Samples = npt.NDArray[np.float32]

GAP_S = 0.05
"""A time stamp this far from where the samples so far end is a gap or an overlap. Less is rounding: a
millisecond in Matroska, up to a packet (26 ms) in streams that were cut and joined."""

MAX_AUDIO_HZ = 768_000
"""The fastest sampling in use; a higher rate in a header is damage."""

FULL_SCALE = 2.0**31


@dataclass(frozen=True)
class Sound:
    """What an audio track holds.

    Attributes:
        start_s: When the first sample sounds, on the container's clock.
        end_s: When the last one has sounded.
        samples: (N,) mono in [-1, 1]; gaps are silent.
        num_damaged: Packets that could not be decoded.
    """

    start_s: float
    end_s: float
    samples: Samples
    num_damaged: int


@dataclass
class _Run:
    """Samples without a gap, all in one format."""

    start_s: float
    resampler: AudioResampler
    source: tuple[str, str, int]
    num_source: int = 0
    pieces: list[Samples] = field(default_factory=list)

    @property
    def end_s(self) -> float:
        return self.start_s + self.num_source / self.source[2]


def decode_sound(
    track: AudioStream, packets: Sequence[Packet], config: MediaConfig, deadline: Deadline, audio_hz: int
) -> Sound | None:
    """Decode and resample an audio track.

    Returns:
        None when no packet could be decoded.

    Raises:
        SegmentError: Stage "decode": longer than allowed, or the deadline passed.
    """
    runs: list[_Run] = []
    num_damaged = 0
    for frame in _frames(track, packets, deadline):
        if frame is None:
            num_damaged += 1
            continue
        run = _run_for(frame, runs, track.time_base, audio_hz)
        run.num_source += frame.samples
        check_duration(run.end_s - run.start_s, config)
        frame.pts = None  # the run knows the time; the resampler would take a jitter for a gap
        run.pieces += _resampled(run, frame)
    for run in runs:
        run.pieces += _resampled(run, None)
    if not any(run.num_source for run in runs):
        return None
    start_s, end_s = min(run.start_s for run in runs), max(run.end_s for run in runs)
    check_duration(end_s - start_s, config)
    return Sound(start_s, end_s, _placed(runs, start_s, audio_hz), num_damaged)


def _frames(track: AudioStream, packets: Sequence[Packet], deadline: Deadline) -> Iterator[AudioFrame | None]:
    """Each decoded frame; None for a packet that can't be decoded."""
    context = track.codec_context
    context.thread_count = 1
    for packet in (*packets, None):
        deadline.check("decode")
        try:
            frames = context.decode(packet)
        except av.FFmpegError:
            yield None
            continue
        yield from (frame if 0 < frame.sample_rate <= MAX_AUDIO_HZ else None for frame in frames)


def _run_for(frame: AudioFrame, runs: list[_Run], time_base: Fraction | None, audio_hz: int) -> _Run:
    """The last run if the frame goes on where it ends, else a new one."""
    source = (frame.format.name, frame.layout.name, frame.sample_rate)
    expected_s = runs[-1].end_s if runs else 0.0
    time_s = expected_s if frame.pts is None else seconds(frame.pts, time_base)
    if runs and runs[-1].source == source and abs(time_s - expected_s) <= GAP_S:
        return runs[-1]
    # To 32-bit integers, because only then does libswresample scale a down-mix so that it can't clip: to
    # floats, two equal channels would add up to 1.41 times either.
    runs.append(_Run(time_s, AudioResampler(format="s32", layout="mono", rate=audio_hz), source))
    return runs[-1]


def _resampled(run: _Run, frame: AudioFrame | None) -> list[Samples]:
    """What comes out for a frame; None empties the resampler."""
    return [
        (out.to_ndarray().reshape(-1) / FULL_SCALE).astype(np.float32)
        for out in run.resampler.resample(frame)
    ]


def _placed(runs: Sequence[_Run], start_s: float, audio_hz: int) -> Samples:
    """All runs on one clock, silence between them; where two overlap, the later one is heard."""
    placed = [(round((run.start_s - start_s) * audio_hz), piece) for run in runs for piece in [_joined(run)]]
    samples = np.zeros(max(offset + len(piece) for offset, piece in placed), dtype=np.float32)
    for offset, piece in placed:
        samples[offset : offset + len(piece)] = piece
    return samples


def _joined(run: _Run) -> Samples:
    return np.concatenate(run.pieces) if run.pieces else np.zeros(0, dtype=np.float32)
