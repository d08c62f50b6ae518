"""Tracks onto one clock: each modality's own steps, or one step for each word as CMU's sets have it.

Knows steps and times. Does not know any modality but "text", whose steps are words.
"""

from collections.abc import Mapping

import numpy as np

from hctdmg.contract import Alignment
from pipelines.features import FloatArray, Track

PSEUDO_WORD_S = 0.4
"""Steps of a segment without words: the length of a word in connected English speech (2.5 a second)."""
WORDS = "text"


def align(tracks: Mapping[str, Track], alignment: Alignment) -> dict[str, FloatArray]:
    """Bring tracks onto one clock.

    Args:
        tracks: Of one segment, by modality; "text" may be missing.
        alignment: "unaligned" keeps each track's own steps. "word" gives each present modality one step for
            each word: the mean of its steps that overlap the word, or where none does, its nearest step.
            Without words, words of 0.4 s are assumed from time 0 to the end of the last step.

    Returns:
        (T, D) of each modality; T = 0 where it is absent.
    """
    if alignment == "unaligned":
        return {name: track.values_TD for name, track in tracks.items()}
    words_T2 = _word_times(tracks)
    return {name: _at_words(track, words_T2) for name, track in tracks.items()}


def _word_times(tracks: Mapping[str, Track]) -> FloatArray:
    if WORDS in tracks and tracks[WORDS].num_steps:
        return tracks[WORDS].times_T2
    end_s = max((float(track.times_T2[:, 1].max(initial=0)) for track in tracks.values()), default=0.0)
    # A rounding error is no further word.
    num_words = int(np.ceil(end_s / PSEUDO_WORD_S - 1e-4))
    starts_T = np.arange(num_words) * PSEUDO_WORD_S
    return np.stack([starts_T, np.minimum(starts_T + PSEUDO_WORD_S, end_s)], axis=1).astype(np.float32)


def _at_words(track: Track, words_T2: FloatArray) -> FloatArray:
    if track.num_steps == 0 or track.times_T2 is words_T2:
        return track.values_TD
    rows = [_at_word(track, float(start_s), float(end_s)) for start_s, end_s in words_T2]
    return np.stack(rows) if rows else track.values_TD[:0]


def _at_word(track: Track, start_s: float, end_s: float) -> FloatArray:
    starts_T, ends_T = track.times_T2[:, 0], track.times_T2[:, 1]
    overlap_T = np.minimum(ends_T, end_s) - np.maximum(starts_T, start_s)
    is_during = overlap_T > 0
    if not is_during.any():
        # Nearest by the gap between the two; a word without length lies inside a step.
        is_during = overlap_T == overlap_T.max()
    mean_D: FloatArray = track.values_TD[is_during].mean(axis=0)
    return mean_D
