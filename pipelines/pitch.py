"""Pitch, voicing and periodicity of a voice, a hundred times a second.

Knows sound. Does not know what a pitch says about anybody.

The method is Boersma's: each frame's autocorrelation divided by the window's own, its peaks as candidates,
and the cheapest path through the candidates of all frames (P. Boersma, "Accurate short-term analysis of the
fundamental frequency and the harmonics-to-noise ratio of a sampled sound", IFA Proceedings 17, 1993, 97-110).

Shape suffixes: N samples, F frames, L lags, K candidates (the first one is "unvoiced").
"""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from pipelines.features import FloatArray

SAMPLE_HZ = 16000
FRAMES_HZ = 100
HOP = SAMPLE_HZ // FRAMES_HZ
LOWEST_HZ, HIGHEST_HZ = 65.0, 500.0
WINDOW = 768
"""48 ms: three periods of the lowest pitch, as the method asks for."""
FFT = 1024
"""At least WINDOW plus the longest lag (247), so that the circular autocorrelation is the linear one."""
NUM_PEAKS = 5
SILENCE_DBFS = -60.0
"""Nothing quieter than this is a voice: a microphone's own noise lies below, whispering above."""

# Boersma's recommended values.
VOICING_THRESHOLD = 0.45
SILENCE_SHARE = 0.03
OCTAVE_COST = 0.01
OCTAVE_JUMP_COST = 0.35
VOICING_COST = 0.14


@dataclass(frozen=True)
class Pitch:
    """What was found in each frame; frame f is centred on (f + 1/2) / FRAMES_HZ seconds.

    Attributes:
        hz_F: Fundamental frequency; 0 where unvoiced.
        periodicity_F: Height of the autocorrelation's best peak in [0, 1]; 0 in silence.
    """

    hz_F: FloatArray
    periodicity_F: FloatArray

    @property
    def is_voiced(self) -> npt.NDArray[np.bool_]:
        """(F,) frames with a pitch."""
        return self.hz_F > 0


def track_pitch(audio_N: FloatArray) -> Pitch:
    """Follow the pitch of 16 kHz mono sound, finite and in [-1, 1]; less than a hop of sound has no frame."""
    frames_FN = frames(audio_N, WINDOW)
    if len(frames_FN) == 0:
        return Pitch(np.zeros(0, np.float32), np.zeros(0, np.float32))
    frames_FN = frames_FN - frames_FN.mean(axis=1, keepdims=True)
    peak_F = np.abs(frames_FN).max(axis=1)
    is_silent_F = np.square(frames_FN).mean(axis=1) < 10 ** (SILENCE_DBFS / 10)
    if is_silent_F.all():  # a track that is there but holds nothing, as of many cameras
        return Pitch(np.zeros(len(frames_FN), np.float32), np.zeros(len(frames_FN), np.float32))
    hz_FK, strength_FK = _candidates(_autocorrelation(frames_FN))
    hz_FK[is_silent_F], strength_FK[is_silent_F] = 0, -np.inf
    loudness_F = peak_F / max(float(peak_F.max()), 1e-12)
    quiet_F = np.maximum(0, 2 - loudness_F / (SILENCE_SHARE / (1 + VOICING_THRESHOLD)))
    hz_FK = np.concatenate([np.zeros((len(hz_FK), 1)), hz_FK], axis=1)
    periodicity_F = np.clip(strength_FK.max(axis=1, initial=0), 0, 1)
    cost_FK = _costs(hz_FK, strength_FK, VOICING_THRESHOLD + quiet_F)
    path_F = _cheapest_path(hz_FK, cost_FK)
    hz_F = hz_FK[np.arange(len(hz_FK)), path_F]
    return Pitch(hz_F.astype(np.float32), periodicity_F.astype(np.float32))


def frames(audio_N: FloatArray, window: int) -> FloatArray:
    """Windows of sound around the middle of each hop, zeros beyond both ends: (F, window), F = N // HOP."""
    num_frames = len(audio_N) // HOP
    before = (window - HOP) // 2
    padded_N = np.pad(audio_N[: num_frames * HOP], (before, window - HOP - before))
    if num_frames == 0:
        return np.zeros((0, window), np.float32)
    return np.lib.stride_tricks.sliding_window_view(padded_N, window)[::HOP]


def _autocorrelation(frames_FN: FloatArray) -> FloatArray:
    """(F, L) at lags 0 to one beyond the lowest pitch's period: 1 at lag 0, the window's fade divided out."""
    num_lags = int(SAMPLE_HZ / LOWEST_HZ) + 2
    window_N = np.hanning(WINDOW).astype(np.float32)
    of_window_L = np.fft.irfft(np.abs(np.fft.rfft(window_N, FFT)) ** 2, FFT)[:num_lags]
    spectrum = np.fft.rfft(frames_FN * window_N, FFT, axis=1)
    of_frames_FL = np.fft.irfft(spectrum.real**2 + spectrum.imag**2, FFT, axis=1)[:, :num_lags]
    energy_F1 = np.maximum(of_frames_FL[:, :1], 1e-12)
    corrected_FL: FloatArray = of_frames_FL / energy_F1 * (of_window_L[0] / of_window_L)
    return corrected_FL.astype(np.float32)


def _candidates(correlation_FL: FloatArray) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.float64]]:
    """Frequencies and heights of each frame's best peaks, (F, NUM_PEAKS); 0 and -inf where it has fewer."""
    shortest = int(SAMPLE_HZ / HIGHEST_HZ)
    inner_FL = correlation_FL[:, shortest:-1]
    rises = inner_FL > correlation_FL[:, shortest - 1 : -2]
    frame, lag = np.nonzero(rises & (inner_FL >= correlation_FL[:, shortest + 1 :]) & (inner_FL > 0))
    lag += shortest
    left, middle, right = (correlation_FL[frame, lag + step].astype(np.float64) for step in (-1, 0, 1))
    # A parabola through the peak and its neighbours gives its place and height between the samples.
    shift = 0.5 * (left - right) / (left - 2 * middle + right)
    height = middle - 0.25 * (left - right) * shift
    # What rises above 1 comes from the division by the window's tail.
    height = np.where(height > 1, 1 / height, height)
    hz = SAMPLE_HZ / (lag + shift)
    order = np.lexsort((-(height + OCTAVE_COST * np.log2(hz)), frame))
    frame, hz, height = frame[order], hz[order], height[order]
    place = np.arange(len(frame)) - np.searchsorted(frame, frame)
    kept = place < NUM_PEAKS
    hz_FK = np.zeros((len(correlation_FL), NUM_PEAKS))
    strength_FK = np.full((len(correlation_FL), NUM_PEAKS), -np.inf)
    hz_FK[frame[kept], place[kept]] = hz[kept]
    strength_FK[frame[kept], place[kept]] = height[kept]
    return hz_FK, strength_FK


def _costs(
    hz_FK: npt.NDArray[np.float64], strength_FK: npt.NDArray[np.float64], unvoiced_F: npt.NDArray[np.float64]
) -> npt.NDArray[np.float64]:
    """Cost of choosing each candidate: its negative strength, with a small bonus for higher pitches."""
    bonus = OCTAVE_COST * np.log2(np.maximum(hz_FK[:, 1:], LOWEST_HZ) / LOWEST_HZ)
    return np.concatenate([-unvoiced_F[:, None], -(strength_FK + bonus)], axis=1)


def _cheapest_path(hz_FK: npt.NDArray[np.float64], cost_FK: npt.NDArray[np.float64]) -> npt.NDArray[np.intp]:
    """Viterbi: the candidates whose costs and transitions are cheapest in sum."""
    octaves_FK = np.log2(np.maximum(hz_FK, 1.0))
    is_voiced_FK = hz_FK > 0
    jump_FKK = OCTAVE_JUMP_COST * np.abs(octaves_FK[1:, None, :] - octaves_FK[:-1, :, None])
    changes_FKK = is_voiced_FK[1:, None, :] != is_voiced_FK[:-1, :, None]
    transition_FKK = np.where(changes_FKK, VOICING_COST, jump_FKK)
    total_K = cost_FK[0]
    came_from = np.zeros(hz_FK.shape, np.intp)
    every = np.arange(hz_FK.shape[1])
    for frame in range(1, len(hz_FK)):
        through_KK = total_K[:, None] + transition_FKK[frame - 1]
        came_from[frame] = through_KK.argmin(axis=0)
        total_K = through_KK[came_from[frame], every] + cost_FK[frame]
    path_F = np.empty(len(hz_FK), np.intp)
    path_F[-1] = total_K.argmin()
    for frame in range(len(hz_FK) - 1, 0, -1):
        path_F[frame - 1] = came_from[frame, path_F[frame]]
    return path_F
