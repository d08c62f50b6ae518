"""Text features: what a word becomes, and where it stands on the clock."""

import subprocess
import sys
from collections.abc import Sequence

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipelines.decode import Decoded
from pipelines.errors import SegmentError
from pipelines.segment import Segment, Transcript, Word
from pipelines.text import MAX_WORDS, TextExtractor

SILENT = Decoded(3.0, None, 16000, ())
VALENCE, NEGATOR, BOOSTER, CONTRAST = range(256, 260)


@pytest.fixture(scope="module")
def text() -> TextExtractor:
    return TextExtractor()


def segment(transcript: Transcript | str | None, language: str | None = None) -> Segment:
    return Segment(stream_id="s", segment_id="s/0", transcript=transcript, language=language)


def transcript(words: Sequence[tuple[str, float, float]]) -> Transcript:
    return Transcript(
        words=tuple(Word(word=word, start_s=start_s, end_s=end_s) for word, start_s, end_s in words)
    )


@pytest.mark.parametrize("written", ["wonderful", "WONDERFUL", "Wonderful!", '"wonderful,"', "(wonderful)"])
def test_case_and_punctuation_do_not_matter(text: TextExtractor, written: str) -> None:
    np.testing.assert_array_equal(text.word_features([written]), text.word_features(["wonderful"]))


def test_vectors_carry_meaning(text: TextExtractor) -> None:
    vectors = text.word_features(["wonderful", "great", "table"])[:, :256]
    unit = vectors / np.linalg.norm(vectors, axis=1, keepdims=True)
    assert unit[0] @ unit[1] > unit[0] @ unit[2] + 0.2


@pytest.mark.parametrize(
    ("word", "column", "expected"),
    [
        ("not", NEGATOR, 1),
        ("didn\u2019t", NEGATOR, 1),
        ("no", NEGATOR, 1),
        ("happy", NEGATOR, 0),
        ("very", BOOSTER, 1),
        ("slightly", BOOSTER, -1),
        ("but", CONTRAST, 1),
        ("and", CONTRAST, 0),
    ],
)
def test_lexicon_columns(text: TextExtractor, word: str, column: int, expected: float) -> None:
    assert text.word_features([word])[0, column] == pytest.approx(expected)


@pytest.mark.parametrize("word", ["love", "great", ":)", "\U0001f600", "great\U0001f600", "LOVE!!!"])
def test_positive_words_and_signs(text: TextExtractor, word: str) -> None:
    assert text.word_features([word])[0, VALENCE] > 1


@pytest.mark.parametrize("word", ["hate", "terrible", ":(", "horrible..."])
def test_negative_words_and_signs(text: TextExtractor, word: str) -> None:
    assert text.word_features([word])[0, VALENCE] < -1


def test_kind_of_is_a_dampener_and_no_kindness(text: TextExtractor) -> None:
    kind, of = text.word_features(["kind", "of", "slow"])[:2]
    assert kind[VALENCE] == 0
    assert of[BOOSTER] == pytest.approx(-1)
    assert text.word_features(["kind", "people"])[0, VALENCE] > 1


@given(st.lists(st.text(max_size=20), max_size=8))
def test_any_text_gives_a_finite_row_for_each_word(text: TextExtractor, words: list[str]) -> None:
    values = text.word_features(words)
    assert values.shape == (len(words), 260)
    assert values.dtype == np.float32
    assert np.isfinite(values).all()
    assert 0 <= text.known_share(words) <= 1


@given(st.permutations(["never", "say", "love", "is", "a", "terrible", "thing"]))
def test_a_words_row_does_not_depend_on_its_place(text: TextExtractor, words: list[str]) -> None:
    expected = np.concatenate([text.word_features([word]) for word in words])
    np.testing.assert_array_equal(text.word_features(words), expected)


@pytest.mark.parametrize("nothing", [None, "", " \n\t ", Transcript(words=()), transcript([(" ", 0, 1)])])
def test_no_words_is_absence(text: TextExtractor, nothing: Transcript | str | None) -> None:
    track = text.extract(segment(nothing), SILENT)
    assert track.values_TD.shape == (0, 260)
    assert track.quality == 0


def test_words_stand_where_their_times_say_in_order(text: TextExtractor) -> None:
    spoken = transcript([("second", 1.0, 1.5), ("first", 0.2, 0.8)])
    track = text.extract(segment(spoken), SILENT)
    np.testing.assert_allclose(track.times_T2, [[0.2, 0.8], [1.0, 1.5]])
    np.testing.assert_array_equal(track.values_TD, text.word_features(["first", "second"]))


def test_times_beyond_the_segment_are_kept_within_it(text: TextExtractor) -> None:
    track = text.extract(segment(transcript([("late", 2.5, 4.0), ("never", 80_000.0, 86_400.0)])), SILENT)
    np.testing.assert_allclose(track.times_T2, [[2.5, 3.0], [3.0, 3.0]])


def test_plain_text_is_spread_over_the_voice(text: TextExtractor) -> None:
    times_s = np.arange(3 * 16000) / 16000
    voice = 0.3 * np.sin(2 * np.pi * 150 * times_s) * ((times_s > 1) & (times_s < 2))
    track = text.extract(segment("one two three four"), Decoded(3.0, voice.astype(np.float32), 16000, ()))
    assert track.times_T2.min() > 0.85
    assert track.times_T2.max() < 2.15
    np.testing.assert_allclose(np.diff(track.times_T2[:, 0]), 0.27, atol=0.03)


def test_plain_text_without_a_voice_is_spread_over_everything(text: TextExtractor) -> None:
    track = text.extract(segment("one two three"), SILENT)
    np.testing.assert_allclose(track.times_T2, [[0, 1], [1, 2], [2, 3]], atol=1e-6)


def test_quality_is_the_share_of_words_that_are_words(text: TextExtractor) -> None:
    assert text.extract(segment("I'm happy that it's done"), SILENT).quality == 1
    assert text.extract(segment("happy xqzvkj"), SILENT).quality == 0.5


@pytest.mark.parametrize(
    ("language", "num_steps"), [("en-GB", 2), ("en", 2), ("und", 2), (None, 2), ("de", 0)]
)
def test_only_english_is_read(text: TextExtractor, language: str | None, num_steps: int) -> None:
    assert text.extract(segment("die Katze", language), SILENT).num_steps == num_steps


def test_too_many_words_are_refused_with_the_limit(text: TextExtractor) -> None:
    assert text.extract(segment("so " * MAX_WORDS), SILENT).num_steps == MAX_WORDS
    with pytest.raises(SegmentError, match=r"30000 words.*at most 512") as caught:
        text.extract(segment("so " * 30_000), SILENT)
    assert caught.value.stage == "extract"
    with pytest.raises(SegmentError, match="513 words"):
        text.extract(segment(transcript([("so", 0, 1)] * 513)), SILENT)


def test_one_endless_word_is_read_in_no_time(text: TextExtractor) -> None:
    track = text.extract(segment("a" * 100_000), SILENT)
    assert track.num_steps == 1
    assert np.isfinite(track.values_TD).all()


def test_loading_neither_imports_wordllama_nor_an_http_client() -> None:
    program = (
        "import sys; from pipelines.text import TextExtractor; TextExtractor(); "
        "sys.exit(' '.join({'wordllama', 'requests', 'torch', 'huggingface_hub'} & set(sys.modules)) or 0)"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
