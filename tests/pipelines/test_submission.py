from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipelines.errors import ConfigError, SegmentError
from pipelines.media import MediaConfig
from pipelines.segment import Transcript, Word
from pipelines.submission import Submission, read_transcript, submissions
from workers.clips import DURATION_S, KEY_FRAME_S, SCRIPTS, Clip, draw_clips


@pytest.fixture(scope="module")
def clip(tmp_path_factory: pytest.TempPathFactory) -> Clip:
    """10 s with key frames at 0 and 5 s, words in both halves."""
    (drawn,) = draw_clips(tmp_path_factory.mktemp("clips"), SCRIPTS[:1])
    return drawn


def cut_up(clip: Clip, transcript: Transcript | str | None = None) -> list[Submission]:
    return list(submissions(clip.path, "cam-7", 5.0, transcript, MediaConfig()))


def test_segments_are_numbered_and_follow_each_other(clip: Clip) -> None:
    first, second = (submission.segment for submission in cut_up(clip))
    assert (first.segment_id, first.sequence, first.start_s) == ("cam-7/0", 0, 0.0)
    assert (second.segment_id, second.sequence) == ("cam-7/1", 1)
    assert second.start_s == pytest.approx(KEY_FRAME_S, abs=0.01)
    assert first.duration_s == pytest.approx(5.0, abs=0.1)
    assert second.duration_s == pytest.approx(5.0, abs=0.1)
    assert first.transcript is None


def test_a_stream_can_go_on_from_another_file(clip: Clip) -> None:
    found = list(
        submissions(clip.path, "cam-7", 5.0, None, MediaConfig(), first_sequence=7, first_start_s=100.0)
    )
    assert [submission.segment.segment_id for submission in found] == ["cam-7/7", "cam-7/8"]
    assert found[0].segment.start_s == 100.0
    assert found[1].segment.start_s == pytest.approx(105.0, abs=0.01)


def test_cutting_again_gives_the_same_bytes_whatever_is_said(clip: Clip) -> None:
    again = cut_up(clip, "some other words")
    assert [s.incoming.inline for s in cut_up(clip)] == [s.incoming.inline for s in again]


def test_words_with_times_go_where_they_are_said(clip: Clip) -> None:
    transcript = clip.transcript
    assert transcript is not None
    first, second = (submission.segment.transcript for submission in cut_up(clip, transcript))
    assert isinstance(first, Transcript)
    assert isinstance(second, Transcript)
    assert " ".join(word.word for word in first.words) == SCRIPTS[0].lines[0][1]
    assert " ".join(word.word for word in second.words) == SCRIPTS[0].lines[1][1]
    said_at_s = SCRIPTS[0].lines[1][0]
    assert second.words[0].start_s == pytest.approx(said_at_s - KEY_FRAME_S, abs=0.01)


times = st.floats(0, 2 * DURATION_S)


@settings(max_examples=20, deadline=None)
@given(spans=st.lists(st.tuples(times, times), max_size=6))
def test_no_word_is_lost_and_none_leaves_its_segment(clip: Clip, spans: list[tuple[float, float]]) -> None:
    words = [
        Word(word=str(index), start_s=min(span), end_s=max(span))
        for index, span in enumerate(sorted(spans, key=sum))
    ]
    found = []
    for submission in cut_up(clip, Transcript(words=tuple(words))):
        transcript = submission.segment.transcript
        assert isinstance(transcript, Transcript)
        for word in transcript.words:
            assert 0 <= word.start_s <= word.end_s <= submission.cut.duration_s
            found.append(word.word)
    assert found == [word.word for word in words]


def test_plain_text_is_divided_over_the_segments_that_have_voice(clip: Clip) -> None:
    text = " ".join(line for _, line in SCRIPTS[0].lines)
    shares = [submission.segment.transcript for submission in cut_up(clip, text)]
    assert all(isinstance(share, str) and share for share in shares)
    assert " ".join(share for share in shares if isinstance(share, str)) == text


def test_an_empty_text_means_that_nothing_is_said(clip: Clip) -> None:
    assert [submission.segment.transcript for submission in cut_up(clip, "")] == ["", ""]


def test_a_file_that_is_no_video_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "notes.mp4"
    path.write_text("no video")
    with pytest.raises(SegmentError):
        next(submissions(path, "cam-7", 5.0, None, MediaConfig()))


def test_a_transcript_is_text_or_a_file(tmp_path: Path) -> None:
    assert read_transcript("I love this.") == "I love this."
    text = tmp_path / "words.txt"
    text.write_text("I love this.\n")
    assert read_transcript(str(text)) == "I love this."
    timed = tmp_path / "words.json"
    timed.write_text('{"words": [{"word": "love", "start_s": 1, "end_s": 1.5}]}')
    assert read_transcript(str(timed)) == Transcript(words=(Word(word="love", start_s=1, end_s=1.5),))
    # A long sentence is no file name, though a file system may trip over it.
    assert read_transcript("word " * 2000) == "word " * 2000


@pytest.mark.parametrize("content", ["", "[]", '{"words": [{"word": "love"}]}', '{"words": 3}', "{"])
def test_a_json_transcript_that_is_none_is_named_in_one_line(tmp_path: Path, content: str) -> None:
    path = tmp_path / "words.json"
    path.write_text(content)
    with pytest.raises(ConfigError, match=r"words\.json") as caught:
        read_transcript(str(path))
    assert "\n" not in str(caught.value)


def test_a_transcript_file_that_is_missing_is_not_taken_for_words() -> None:
    with pytest.raises(ConfigError, match="no such file"):
        read_transcript("talk.txt")


@pytest.mark.parametrize(
    ("stream_id", "transcript", "message"),
    [("cam\x00", None, "stream_id"), ("cam", "word " * 80_000, "transcript"), ("", None, "stream_id")],
)
def test_what_no_segment_may_hold_is_one_clear_error(
    clip: Clip, stream_id: str, transcript: str | None, message: str
) -> None:
    with pytest.raises(SegmentError, match=message):
        list(submissions(clip.path, stream_id, 5.0, transcript, MediaConfig()))
