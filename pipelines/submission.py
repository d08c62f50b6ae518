"""A video as the segments that are sent for it: cut, numbered, each with its share of the transcript.

The one place where `analyze`, `submit` and `demo` turn a file into segments, so that all three send the same.
Knows files and messages. Does not know how segments travel.
"""

import math
import os
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from pipelines.cut import Cut, cut
from pipelines.deadline import Deadline
from pipelines.decode import decode
from pipelines.errors import ConfigError, SegmentError
from pipelines.media import MediaConfig
from pipelines.segment import IncomingSegment, Segment, Transcript, Word
from pipelines.transcript import divide
from pipelines.voicing import voiced_spans

LISTEN_TIMEOUT_S = 60.0
"""Longest decoding of one cut's sound; a cut that takes longer counts as silent."""


@dataclass(frozen=True)
class Submission:
    """One segment of a video, and its media.

    Attributes:
        segment: As it is sent, still without a URI.
        cut: The media.
    """

    segment: Segment
    cut: Cut

    @property
    def incoming(self) -> IncomingSegment:
        """What a worker sees when the media travel inline."""
        return IncomingSegment(self.segment, self.cut.data)


def submissions(
    path: Path,
    stream_id: str,
    segment_s: float,
    transcript: Transcript | str | None,
    media: MediaConfig,
    first_sequence: int = 0,
    first_start_s: float = 0.0,
) -> Iterator[Submission]:
    """Cut a video into segments.

    Args:
        path: The video, or a file of sound.
        stream_id: Stream that the segments belong to; `segment_id` is "<stream_id>/<sequence>".
        segment_s: Wanted length; a segment ends at the first key frame after it.
        transcript: Words with times from the file's start go where they are said; plain text is divided
            over the segments by how long a voice is heard in each.
        media: Limits that the segments must keep.
        first_sequence: Number of the first segment, when the stream goes on from another file.
        first_start_s: Where in the stream the file begins.

    Raises:
        SegmentError: The file can't be read or cut, or its id or transcript is not what a segment may hold.
    """
    texts = iter(_divided(transcript, path, segment_s, media)) if isinstance(transcript, str) else None
    words = transcript.words if isinstance(transcript, Transcript) else ()
    reached_s = 0.0
    for piece, is_last in _with_last(cut(path, segment_s, media)):
        until_s = math.inf if is_last else piece.start_s + piece.duration_s
        said = tuple(word for word in words if reached_s <= _middle_s(word) < until_s)
        reached_s = until_s
        sequence = first_sequence + piece.sequence
        transcript_here: Transcript | str | None = None
        if texts:
            transcript_here = next(texts)
        elif transcript:
            transcript_here = Transcript(words=_within(piece, said))
        segment = _checked(
            stream_id=stream_id,
            segment_id=f"{stream_id}/{sequence}",
            sequence=sequence,
            start_s=first_start_s + piece.start_s,
            duration_s=piece.duration_s,
            transcript=transcript_here,
        )
        yield Submission(segment, piece)


def _checked(**fields: Any) -> Segment:
    try:
        return Segment(**fields)
    except ValidationError as error:
        problem = error.errors(include_url=False, include_input=False)[0]
        raise SegmentError("parse", f"{problem['loc'][0]}: {problem['msg']}") from None


def read_transcript(text_or_file: str) -> Transcript | str:
    """A transcript from the command line: the text itself, a text file, or a JSON file {"words": [...]}.

    Raises:
        ConfigError: The file can't be read, or its JSON is no transcript.
    """
    if not os.path.isfile(text_or_file):
        if text_or_file.endswith((".json", ".txt")):
            raise ConfigError(
                f"{text_or_file}: no such file; give a transcript's text, or the path of its file"
            )
        return text_or_file
    try:
        text = Path(text_or_file).read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"{text_or_file}: can't be read as UTF-8 text: {error}") from None
    if not text_or_file.endswith(".json"):
        return text.strip()
    try:
        return Transcript.model_validate_json(text)
    except ValidationError as error:
        problem = error.errors(include_url=False, include_input=False)[0]
        where = ".".join(str(part) for part in problem["loc"]) or "the file"
        form = '{"words": [{"word", "start_s", "end_s"}, ...]}'
        raise ConfigError(f"{text_or_file}: {where}: {problem['msg']}; the form is {form}") from None


def _divided(text: str, path: Path, segment_s: float, media: MediaConfig) -> list[str]:
    """Each segment's share of a text, by the seconds of voice in it, or by its length when none is heard."""
    pieces = [(_voiced_s(piece, media), piece.duration_s) for piece in cut(path, segment_s, media)]
    voiced = [voiced_s for voiced_s, _ in pieces]
    return divide(text, voiced if sum(voiced) > 0 else [duration_s for _, duration_s in pieces])


def _voiced_s(piece: Cut, media: MediaConfig) -> float:
    try:
        decoded = decode(piece.data, media, Deadline.after(LISTEN_TIMEOUT_S))
    except SegmentError:
        return 0.0  # whoever prepares this segment says what is wrong with it
    if decoded.audio is None:
        return 0.0
    return sum(end_s - start_s for start_s, end_s in voiced_spans(decoded.audio, decoded.audio_hz))


def _with_last(pieces: Iterable[Cut]) -> Iterator[tuple[Cut, bool]]:
    """Each piece, and whether it is the last one."""
    previous = None
    for piece in pieces:
        if previous is not None:
            yield previous, False
        previous = piece
    if previous is not None:
        yield previous, True


def _middle_s(word: Word) -> float:
    return (word.start_s + word.end_s) / 2


def _within(piece: Cut, words: Iterable[Word]) -> tuple[Word, ...]:
    """The words with times from the piece's start, kept within it."""
    return tuple(
        Word(
            word=word.word,
            start_s=min(max(word.start_s - piece.start_s, 0.0), piece.duration_s),
            end_s=min(max(word.end_s - piece.start_s, 0.0), piece.duration_s),
        )
        for word in words
    )
