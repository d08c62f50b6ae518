"""Where in a segment's sound a voice is heard.

Knows voiced and unvoiced frames, and which segment's sound has been followed already. Does not know words.
"""

from weakref import WeakKeyDictionary

import numpy as np
import numpy.typing as npt

from pipelines.decode import Decoded
from pipelines.features import FloatArray
from pipelines.pitch import FRAMES_HZ, SAMPLE_HZ, Pitch, track_pitch

LONGEST_CONSONANT_S = 0.3
"""A shorter gap between two voiced stretches belongs to the speech: unvoiced consonants and stops."""
SHORTEST_VOICE_S = 0.06
"""A shorter voiced stretch alone is a click, not a syllable."""
MARGIN_S = 0.05
"""Speech begins before its first vowel and ends after its last."""

_followed: WeakKeyDictionary[Decoded, Pitch] = WeakKeyDictionary()


def pitch_of(decoded: Decoded) -> Pitch:
    """The pitch of a segment's sound, followed once however many extractors ask; without sound, no frame."""
    pitch = _followed.get(decoded)
    if pitch is None:
        audio_N = (
            np.zeros(0, np.float32) if decoded.audio is None else as_sound(decoded.audio, decoded.audio_hz)
        )
        pitch = _followed[decoded] = track_pitch(audio_N)
    return pitch


def voiced_spans(audio: npt.NDArray[np.float32], audio_hz: int) -> list[tuple[float, float]]:
    """Stretches of speech.

    Args:
        audio: (N,) mono.
        audio_hz: Its rate; 16000 is the only one.

    Returns:
        Start and end in seconds, in order, without overlap, within the sound.
    """
    return spans_of(track_pitch(as_sound(audio, audio_hz)), len(audio) / audio_hz)


def spans_of(pitch: Pitch, length_s: float) -> list[tuple[float, float]]:
    """Stretches of speech in sound of this length, as `voiced_spans` gives them."""
    edges = np.flatnonzero(np.diff(pitch.is_voiced, prepend=False, append=False)) / FRAMES_HZ
    joined: list[tuple[float, float]] = []
    for start_s, end_s in edges.reshape(-1, 2).tolist():
        if joined and start_s - joined[-1][1] < LONGEST_CONSONANT_S:
            joined[-1] = (joined[-1][0], end_s)
        else:
            joined.append((start_s, end_s))
    return [
        (max(0.0, start_s - MARGIN_S), min(length_s, end_s + MARGIN_S))
        for start_s, end_s in joined
        if end_s - start_s >= SHORTEST_VOICE_S
    ]


def as_sound(audio: npt.NDArray[np.float32], audio_hz: int) -> FloatArray:
    """The samples, finite and in [-1, 1], whatever a file of floating-point numbers held.

    Raises:
        ValueError: Another rate than 16 kHz: the analysis is made for that one.
    """
    if audio_hz != SAMPLE_HZ:
        raise ValueError(f"sound at {audio_hz} Hz; decode it at {SAMPLE_HZ} Hz")
    finite: FloatArray = np.clip(np.nan_to_num(audio, posinf=1, neginf=-1), -1, 1).astype(np.float32)
    return finite
