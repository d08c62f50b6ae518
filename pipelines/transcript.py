"""Where the words of a transcript without times belong: on a segment's clock, or in which segment of a video.

Knows words and seconds. Does not know how voice is found, nor what a word means.
"""

import itertools
from collections.abc import Sequence

from pipelines.segment import Word

Span = tuple[float, float]
"""Start and end in seconds."""


def place_words(text: str, spans: Sequence[Span], duration_s: float) -> tuple[Word, ...]:
    """Spread the words of a plain text evenly over the time in which a voice is heard.

    Evenly, because weighing words by their syllables places them no better: both miss by 0.12 to 0.33 s.

    Args:
        text: Words separated by white space.
        spans: Where a voice is heard, in order, without overlap; empty spreads the words over the whole
            duration.
        duration_s: Length of the segment.

    Returns:
        The words in order. Each word's end is the next word's start, but for silence between two spans.
    """
    words = text.split()
    spans = [span for span in spans if span[1] > span[0]] or [(0.0, duration_s)]
    voiced_s = sum(end_s - start_s for start_s, end_s in spans)
    step_s = voiced_s / max(1, len(words))
    starts_s = [_on_clock(index * step_s, spans, is_end=False) for index in range(len(words))]
    ends_s = [_on_clock((index + 1) * step_s, spans, is_end=True) for index in range(len(words))]
    return tuple(
        # Where voice lasts less than rounding errors, an end may come out before its start.
        Word(word=word, start_s=start_s, end_s=max(start_s, end_s))
        for word, start_s, end_s in zip(words, starts_s, ends_s, strict=True)
    )


def divide(text: str, voiced_s: Sequence[float]) -> list[str]:
    """Share the words of a text out over consecutive segments, by how long a voice is heard in each.

    Args:
        text: Words separated by white space.
        voiced_s: For each segment, seconds of voice (or any other measure of how much is said), at least 0.
            When all are 0 the segments count alike.

    Returns:
        Each segment's words, joined by single spaces; empty where none fall. Together they are all the
        words, in order.

    Raises:
        ValueError: There are words but no segment.
    """
    words = text.split()
    if not voiced_s and words:
        raise ValueError(f"{len(words)} words can't be divided over no segment")
    weights = list(voiced_s) if sum(voiced_s) > 0 else [1.0] * len(voiced_s)
    reached = list(itertools.accumulate(weights))
    borders = [round(len(words) * upto / reached[-1]) for upto in reached]
    return [" ".join(words[first:last]) for first, last in itertools.pairwise([0, *borders])]


def _on_clock(said_s: float, spans: Sequence[Span], is_end: bool) -> float:
    """The moment at which `said_s` seconds of voice have passed; an end stays in the earlier of two spans."""
    for start_s, end_s in spans:
        length_s = end_s - start_s
        # The tolerance keeps rounding from pushing a word over the border of its span.
        if said_s < length_s - 1e-9 or (is_end and said_s < length_s + 1e-9):
            return min(start_s + said_s, end_s)
        said_s -= length_s
    return spans[-1][1]
