"""Audio features: how a voice sounds, ten times a second (spectrum, loudness, voicing, pitch).

Knows 16 kHz mono sound. Does not know words, nor who speaks: pitch is relative to the segment's own median,
because its level mostly tells one person from another.

Shape suffixes: N samples, F frames (100 a second), T steps (10 a second), M mel bands, S frequency bins.
"""

from functools import cache

import numpy as np
import numpy.typing as npt

from hctdmg.contract import ModalityContract
from pipelines.decode import Decoded
from pipelines.features import FloatArray, Track, absent
from pipelines.pitch import FRAMES_HZ, SAMPLE_HZ, SILENCE_DBFS, Pitch, frames
from pipelines.segment import Segment
from pipelines.voicing import as_sound, pitch_of

STEPS_HZ = 10
FRAMES_PER_STEP = FRAMES_HZ // STEPS_HZ
WINDOW = 400
"""25 ms, the usual window of speech analysis."""
FFT = 512
NUM_MEL = 40
NUM_CEPSTRA = 13
LOWEST_HZ, HIGHEST_HZ = 50.0, 7600.0
FLOOR = 1e-9
"""Power below which a band counts as silent: -90 dB of full scale, the quantisation noise of 16 bits."""
VOICED_SHARE_OF_SPEECH = 0.4
"""Connected speech is voiced 40 to 60 % of the time; from here on the quality is 1."""
LEAST_QUALITY = 0.1
"""Quality of sound in which no voice is found."""

COLUMNS: tuple[str, ...] = (
    *(f"mel_{band}" for band in range(NUM_MEL)),
    *(f"mfcc_{order}" for order in range(NUM_CEPSTRA)),
    "loudness", "loudness_relative", "loudness_std", "loudness_delta", "loudness_range",
    "voiced", "periodicity", "harmonicity", "pitch", "pitch_std", "pitch_delta", "jitter", "shimmer",
    "centroid", "spread", "rolloff", "flatness", "tilt", "flux", "high_share", "zero_crossings",
)  # fmt: skip
"""Names of the features; units and formulas are in `_prosody` and `_shape`."""
WIDTH = len(COLUMNS)


class AudioExtractor:
    """Holds nothing but its contract, so threads may share it."""

    def __init__(self) -> None:
        self.contract = ModalityContract(
            extractor="logmel-prosody", version="1", width=WIDTH, rate_hz=float(STEPS_HZ)
        )

    def extract(self, segment: Segment, decoded: Decoded) -> Track:  # noqa: ARG002 - all extractors alike
        """A step each tenth of a second; absent without an audio track or when it is silent throughout."""
        if decoded.audio is None:
            return absent(WIDTH)
        audio_N = as_sound(decoded.audio, decoded.audio_hz)
        if is_silent(audio_N):
            return absent(WIDTH)
        pitch = pitch_of(decoded)
        values_TD = _features(audio_N, pitch)
        starts_T = np.arange(len(values_TD)) / STEPS_HZ
        ends_T = np.minimum(starts_T + 1 / STEPS_HZ, len(audio_N) / SAMPLE_HZ)
        voiced_share = float(pitch.is_voiced.mean()) / VOICED_SHARE_OF_SPEECH
        quality = max(LEAST_QUALITY, min(1.0, voiced_share))
        return Track(values_TD, np.stack([starts_T, ends_T], axis=1).astype(np.float32), quality)


def is_silent(audio_N: FloatArray) -> bool:
    """Whether no frame of 25 ms is as loud as SILENCE_DBFS. A constant offset is no sound."""
    frames_FN = frames(audio_N - audio_N.mean() if len(audio_N) else audio_N, WINDOW)
    power_F = np.square(frames_FN).mean(axis=1)
    return bool(power_F.max(initial=0.0) < 10 ** (SILENCE_DBFS / 10))


def _features(audio_N: FloatArray, pitch: Pitch) -> FloatArray:
    frames_FN = frames(audio_N - audio_N.mean(), WINDOW)
    window_N = np.hanning(WINDOW).astype(np.float32)
    # Divided by the window's sum, a full-scale sine has the same power whatever the window.
    spectrum_FS = np.fft.rfft(frames_FN * window_N, FFT, axis=1) * (2 / window_N.sum())
    power_FS = (spectrum_FS.real**2 + spectrum_FS.imag**2).astype(np.float32)
    log_mel_FM = np.log(power_FS @ _mel_filters().T + FLOOR)
    columns = [
        _pooled(log_mel_FM),
        _pooled(log_mel_FM @ _cosines().T),
        _prosody(frames_FN, pitch),
        _shape(power_FS, frames_FN),
    ]
    return np.concatenate(columns, axis=1).astype(np.float32)


def _prosody(frames_FN: FloatArray, pitch: Pitch) -> FloatArray:
    """Loudness (dB of full scale) and voice, (T, 13).

    Relative loudness is to the segment's 95th percentile; ranges and deltas are within a step. Pitch is in
    octaves from the segment's median, 0 where unvoiced; its delta in octaves a second. Jitter and shimmer are
    the mean changes from frame to frame of pitch (octaves) and loudness (dB) in voiced frames.
    """
    loudness_F1 = 10 * np.log10(np.square(frames_FN).mean(axis=1, keepdims=True) + FLOOR)
    is_voiced_F1 = pitch.is_voiced[:, None]
    periodicity_F1 = pitch.periodicity_F[:, None]
    bounded_F1 = np.clip(periodicity_F1, 0.01, 0.99)
    harmonicity_F1 = 10 * np.log10(bounded_F1 / (1 - bounded_F1))
    voiced_hz = pitch.hz_F[pitch.is_voiced]
    median_hz = float(np.median(voiced_hz)) if len(voiced_hz) else 1.0
    octaves_F1 = np.where(is_voiced_F1, np.log2(np.maximum(pitch.hz_F[:, None], 1e-3) / median_hz), 0)
    both_F1 = is_voiced_F1 & np.roll(is_voiced_F1, 1, axis=0)
    both_F1[:1] = False
    pitch_step_F1 = np.where(both_F1, np.diff(octaves_F1, axis=0, prepend=octaves_F1[:1]), 0)
    loudness_step_F1 = np.diff(loudness_F1, axis=0, prepend=loudness_F1[:1])
    num_voiced_T1 = np.maximum(_pooled(is_voiced_F1.astype(np.float32)), 1e-6)
    num_both_T1 = np.maximum(_pooled(both_F1.astype(np.float32)), 1e-6)
    pitch_T1 = _pooled(octaves_F1) / num_voiced_T1
    square_T1 = _pooled(octaves_F1**2) / num_voiced_T1
    columns = [
        _pooled(loudness_F1),
        _pooled(loudness_F1) - np.percentile(loudness_F1, 95),
        _pooled_std(loudness_F1),
        _pooled(loudness_step_F1) * FRAMES_HZ,
        _pooled_range(loudness_F1),
        _pooled(is_voiced_F1.astype(np.float32)),
        _pooled(periodicity_F1),
        _pooled(harmonicity_F1),
        pitch_T1,
        np.sqrt(np.maximum(square_T1 - pitch_T1**2, 0)),
        _pooled(pitch_step_F1) / num_both_T1 * FRAMES_HZ,
        _pooled(np.abs(pitch_step_F1)) / num_both_T1,
        _pooled(np.where(both_F1, np.abs(loudness_step_F1), 0)) / num_both_T1,
    ]
    return np.concatenate(columns, axis=1)


def _shape(power_FS: FloatArray, frames_FN: FloatArray) -> FloatArray:
    """Shape of the spectrum and of the wave, (T, 8).

    Centroid, spread and 85 % roll-off in kHz; flatness as the log of the geometric over the arithmetic mean;
    tilt in dB an octave; flux as half the change of the normalised spectrum from frame to frame, in [0, 1];
    share of the power above 2 kHz; zero crossings in thousands a second.
    """
    khz_S = np.arange(power_FS.shape[1]) * (SAMPLE_HZ / FFT / 1000)
    total_F1 = power_FS.sum(axis=1, keepdims=True) + FLOOR
    share_FS = power_FS / total_F1
    centroid_F1 = share_FS @ khz_S[:, None]
    spread_F1 = np.sqrt(np.maximum(share_FS @ khz_S[:, None] ** 2 - centroid_F1**2, 0))
    rolloff_F1 = khz_S[(np.cumsum(share_FS, axis=1) < 0.85).sum(axis=1).clip(max=len(khz_S) - 1)][:, None]
    log_FS = np.log(power_FS + FLOOR)
    flatness_F1 = log_FS.mean(axis=1, keepdims=True) - np.log(power_FS.mean(axis=1, keepdims=True) + FLOOR)
    octaves_S = np.log2(np.maximum(khz_S, khz_S[1]))
    octaves_S = octaves_S - octaves_S.mean()
    tilt_F1 = (log_FS @ octaves_S[:, None]) / np.square(octaves_S).sum() * (10 / np.log(10))
    flux_F1 = 0.5 * np.abs(np.diff(share_FS, axis=0, prepend=share_FS[:1])).sum(axis=1, keepdims=True)
    high_F1 = share_FS[:, khz_S > 2].sum(axis=1, keepdims=True)
    num_crossings_F1 = np.count_nonzero(np.diff(np.signbit(frames_FN), axis=1), axis=1)[:, None]
    crossings_F1 = num_crossings_F1 * (SAMPLE_HZ / WINDOW / 1000)
    shapes = [centroid_F1, spread_F1, rolloff_F1, flatness_F1, tilt_F1, flux_F1, high_F1, crossings_F1]
    return _pooled(np.concatenate(shapes, axis=1))


def _pooled(frames_FD: npt.NDArray[np.floating]) -> FloatArray:
    """Mean over each step's frames, (T, D); the last step may have fewer frames than the others."""
    starts = np.arange(0, len(frames_FD), FRAMES_PER_STEP)
    num_frames = np.diff(starts, append=len(frames_FD))
    return np.asarray(np.add.reduceat(frames_FD, starts, axis=0) / num_frames[:, None], np.float32)


def _pooled_std(frames_FD: FloatArray) -> FloatArray:
    mean_TD = _pooled(frames_FD)
    deviation_TD: FloatArray = np.sqrt(np.maximum(_pooled(frames_FD**2) - mean_TD**2, 0))
    return deviation_TD


def _pooled_range(frames_FD: FloatArray) -> FloatArray:
    starts = np.arange(0, len(frames_FD), FRAMES_PER_STEP)
    range_TD: FloatArray = np.maximum.reduceat(frames_FD, starts) - np.minimum.reduceat(frames_FD, starts)
    return range_TD


@cache
def _mel_filters() -> FloatArray:
    """Triangles evenly spaced on the mel scale 2595 log10(1 + f/700), (M, S), each of sum 1."""
    lowest_mel, highest_mel = 2595 * np.log10(1 + np.array([LOWEST_HZ, HIGHEST_HZ]) / 700)
    edges_mel = np.linspace(lowest_mel, highest_mel, NUM_MEL + 2)
    edges_hz = 700 * (10 ** (edges_mel / 2595) - 1)
    bins_hz = np.arange(FFT // 2 + 1) * SAMPLE_HZ / FFT
    rising = (bins_hz - edges_hz[:-2, None]) / np.diff(edges_hz)[:-1, None]
    falling = (edges_hz[2:, None] - bins_hz) / np.diff(edges_hz)[1:, None]
    triangles_MS = np.maximum(0, np.minimum(rising, falling))
    # The lowest triangles are narrower than a bin and may miss all of them: they take the nearest.
    nearest = np.abs(bins_hz - edges_hz[1:-1, None]).argmin(axis=1)
    missed = triangles_MS.sum(axis=1) == 0
    triangles_MS[missed, nearest[missed]] = 1
    filters_MS: FloatArray = (triangles_MS / triangles_MS.sum(axis=1, keepdims=True)).astype(np.float32)
    return filters_MS


@cache
def _cosines() -> FloatArray:
    """The orthonormal DCT-II that turns log-mel bands into cepstra, (NUM_CEPSTRA, M)."""
    order, band = np.arange(NUM_CEPSTRA)[:, None], np.arange(NUM_MEL)[None]
    cosines = np.cos(np.pi * order * (2 * band + 1) / (2 * NUM_MEL)) * np.sqrt(2 / NUM_MEL)
    cosines[0] /= np.sqrt(2)
    return np.asarray(cosines, np.float32)
