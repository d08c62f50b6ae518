"""Words without times: placed on the clock, and divided over segments."""

import itertools

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from pipelines.transcript import divide, place_words

texts = st.lists(st.sampled_from(["a", "bee", "see?", "it's", "\u00fcber", "1"]), max_size=40).map(" ".join)
durations_s = st.floats(0, 60)


@st.composite
def spans(draw: st.DrawFn) -> list[tuple[float, float]]:
    edges = sorted(draw(st.lists(st.floats(0, 60), min_size=0, max_size=8)))
    return list(zip(edges[::2], edges[1::2], strict=False))


@given(texts, st.lists(st.floats(0, 100), min_size=1, max_size=12))
def test_dividing_neither_loses_nor_doubles_a_word(text: str, voiced_s: list[float]) -> None:
    shares = divide(text, voiced_s)
    assert len(shares) == len(voiced_s)
    assert " ".join(filter(None, shares)) == text


@given(texts, st.lists(st.floats(0.1, 100), min_size=1, max_size=12))
def test_a_segments_share_is_that_of_its_voice(text: str, voiced_s: list[float]) -> None:
    num_words = len(text.split())
    for share, seconds in zip(divide(text, voiced_s), voiced_s, strict=True):
        assert abs(len(share.split()) - num_words * seconds / sum(voiced_s)) <= 1 + 1e-6


def test_a_silent_segment_gets_no_words() -> None:
    assert divide("one two three four", [2.0, 0.0, 2.0]) == ["one two", "", "three four"]


def test_segments_count_alike_where_no_voice_is_heard() -> None:
    assert divide("one two three four", [0.0, 0.0]) == ["one two", "three four"]


def test_words_without_segments_are_refused() -> None:
    assert divide("", []) == []
    with pytest.raises(ValueError, match="2 words"):
        divide("one two", [])


@example("a a", [], 1e-67)
@given(texts, spans(), durations_s)
def test_words_keep_their_order_within_the_voice(
    text: str, voiced: list[tuple[float, float]], duration_s: float
) -> None:
    words = place_words(text, voiced, duration_s)
    assert [word.word for word in words] == text.split()
    for word in words:
        assert word.start_s <= word.end_s
    for word, following in itertools.pairwise(words):
        assert word.end_s <= following.start_s + 1e-6
    real = [span for span in voiced if span[1] > span[0]] or [(0.0, duration_s)]
    for word in words:
        assert any(start_s - 1e-6 <= word.start_s <= end_s + 1e-6 for start_s, end_s in real)
        assert any(start_s - 1e-6 <= word.end_s <= end_s + 1e-6 for start_s, end_s in real)


def test_words_are_spread_evenly_and_leave_pauses_free() -> None:
    words = place_words("a b c d", [(1.0, 2.0), (4.0, 5.0)], 6.0)
    assert [(word.start_s, word.end_s) for word in words] == [(1.0, 1.5), (1.5, 2.0), (4.0, 4.5), (4.5, 5.0)]


def test_words_span_everything_where_no_voice_is_heard() -> None:
    words = place_words("a b", [], 4.0)
    assert [(word.start_s, word.end_s) for word in words] == [(0.0, 2.0), (2.0, 4.0)]
