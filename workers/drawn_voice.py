"""Sound with a voice's traits that is no speech: harmonics under moving formants, syllable by syllable.

Knows samples and seconds. Does not know words: a caller says where the syllables are.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

Samples = npt.NDArray[np.floating]
"""(N,): one number for each sample."""

VOWELS_HZ: tuple[tuple[float, float, float], ...] = (
    (730, 1090, 2440),
    (530, 1840, 2480),
    (270, 2290, 3010),
    (570, 840, 2410),
    (440, 1020, 2240),
)
"""First three formants of /a e i o u/ as men speak them (Peterson and Barney, 1952, table II)."""

BANDWIDTHS_HZ = (80.0, 110.0, 160.0)
NUM_HARMONICS = 40


@dataclass(frozen=True)
class Syllable:
    """One push of voice.

    Attributes:
        start_s: When it begins.
        duration_s: How long it sounds.
        vowel: Index into `VOWELS_HZ`.
    """

    start_s: float
    duration_s: float
    vowel: int


def draw_voice(
    syllables: Sequence[Syllable], duration_s: float, rate_hz: int, pitch_hz: float, liveliness: float
) -> npt.NDArray[np.float32]:
    """Sound the syllables.

    Args:
        syllables: In the order of time.
        duration_s: Of the whole sound.
        rate_hz: Samples per second.
        pitch_hz: Middle of the voice's range.
        liveliness: How far the pitch swings from it, in octaves.

    Returns:
        (N,) in [-1, 1], with a faint noise floor so that silence is not digital silence.
    """
    time_s = np.arange(round(duration_s * rate_hz)) / rate_hz
    noise = np.random.default_rng(len(syllables)).standard_normal(len(time_s))
    loudness = envelope(syllables, time_s)
    pitch = _pitch_hz(syllables, time_s, pitch_hz, liveliness)
    voice = _harmonics(pitch, _formants_hz(syllables, time_s), rate_hz) * loudness
    consonants = 0.03 * _bursts(syllables, time_s) * noise
    sound = 0.5 * voice / max(1e-9, float(np.abs(voice).max(initial=0.0))) + consonants + 0.0008 * noise
    return np.clip(sound, -1, 1).astype(np.float32)


def envelope(syllables: Sequence[Syllable], time_s: Samples) -> Samples:
    """Loudness in [0, 1] at each time: a raised cosine over each syllable."""
    total = np.zeros(len(time_s))
    for syllable in syllables:
        phase = (time_s - syllable.start_s) / syllable.duration_s
        inside = (phase > 0) & (phase < 1)
        total[inside] = np.maximum(total[inside], np.sin(np.pi * phase[inside]) ** 0.7)
    return total


def _pitch_hz(syllables: Sequence[Syllable], time_s: Samples, pitch_hz: float, liveliness: float) -> Samples:
    """A phrase starts high and falls; each syllable adds a small rise, as stress does."""
    swing = np.zeros(len(time_s))
    phrase_start_s = 0.0
    previous_end_s = -1.0
    for index, syllable in enumerate(syllables):
        if syllable.start_s - previous_end_s > 0.3:
            phrase_start_s = syllable.start_s
        previous_end_s = syllable.start_s + syllable.duration_s
        inside = (time_s >= syllable.start_s) & (time_s < previous_end_s)
        fall = 0.5 - 0.35 * (time_s[inside] - phrase_start_s)
        stress = (
            0.5 * (index % 3 == 0) * np.sin(np.pi * (time_s[inside] - syllable.start_s) / syllable.duration_s)
        )
        swing[inside] = np.clip(fall + stress, -1, 1)
    vibrato = 0.01 * np.sin(2 * np.pi * 5.0 * time_s)
    contour: Samples = pitch_hz * 2 ** (liveliness * swing + vibrato)
    return contour


def _formants_hz(syllables: Sequence[Syllable], time_s: Samples) -> list[Samples]:
    """Formants glide from the middle of one vowel to the middle of the next."""
    middles_s = [syllable.start_s + syllable.duration_s / 2 for syllable in syllables] or [0.0]
    vowels = [VOWELS_HZ[syllable.vowel] for syllable in syllables] or [VOWELS_HZ[0]]
    return [np.interp(time_s, middles_s, [vowel[formant] for vowel in vowels]) for formant in range(3)]


def _harmonics(pitch_hz: Samples, formants_hz: Sequence[Samples], rate_hz: int) -> Samples:
    """Additive synthesis: each harmonic falls with 1/k, as the glottis does, and is raised near a formant."""
    phase = 2 * np.pi * np.cumsum(pitch_hz) / rate_hz
    sound = np.zeros(len(pitch_hz))
    for number in range(1, NUM_HARMONICS + 1):
        frequency = number * pitch_hz
        gain = 0.02 * np.ones(len(pitch_hz))
        for formant, bandwidth in zip(formants_hz, BANDWIDTHS_HZ, strict=True):
            gain += 1 / (1 + ((frequency - formant) / bandwidth) ** 2)
        # Above half the sample rate a harmonic would fold back.
        sound += np.where(frequency < 0.45 * rate_hz, gain / number, 0.0) * np.sin(number * phase)
    return sound


def _bursts(syllables: Sequence[Syllable], time_s: Samples) -> Samples:
    """Breath at the start of each syllable, where a consonant would be."""
    total = np.zeros(len(time_s))
    for syllable in syllables:
        total += np.exp(-(((time_s - syllable.start_s) / 0.02) ** 2))
    return total
