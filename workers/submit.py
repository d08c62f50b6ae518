"""The command `hctdmg submit`: videos cut into segments and published on the input topic.

Knows files and the producer. Does not know what becomes of a segment.
"""

import hashlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import quote

from kafka import KafkaProducer
from kafka.errors import KafkaError
from kafka.producer.future import RecordMetadata

from pipelines.errors import ConfigError, RetryableError
from pipelines.media import MediaConfig
from pipelines.segment import SEGMENT_HEADER, Header, Segment, Transcript
from pipelines.submission import Submission, read_transcript, submissions
from workers.config import KafkaConfig
from workers.kafka import check_topics, open_producer
from workers.output import note, print_json, print_line, working
from workers.rights import Right

MAX_INLINE_BYTES = 1_000_000
"""Kafka's default `message.max.bytes` is 1,048,588; the rest is for key, headers and the batch."""


@dataclass(frozen=True)
class Video:
    """A file to submit.

    Attributes:
        path: The file.
        stream_id: Stream that its segments belong to.
        transcript: What is said in it, if known.
    """

    path: Path
    stream_id: str
    transcript: Transcript | str | None = None


@dataclass(frozen=True)
class Message:
    """One segment as the topic carries it."""

    key: bytes
    value: bytes
    headers: list[Header]


@dataclass(frozen=True)
class Sent:
    """A segment on its way, and the client's future for the broker's receipt."""

    segment: Segment
    receipt: Any


def submit(
    videos: Sequence[Video],
    kafka: KafkaConfig,
    media: MediaConfig,
    segment_s: float,
    segments_dir: Path | None,
    as_json: bool,
) -> int:
    """Run the command.

    Args:
        videos: In order; files of one stream follow each other in it.
        kafka: The broker and the topic.
        media: Limits that the segments must keep.
        segment_s: Wanted length of a segment.
        segments_dir: Where the cuts are written, for a worker to read; None sends them inline.
        as_json: One JSON line for each segment instead of one line in the end.

    Raises:
        ConfigError: No broker, a folder can't be written, or a segment is too large to go inline.
        SegmentError: A file can't be read or cut.
        RetryableError: The broker did not accept a segment.
    """
    check_topics(kafka, [kafka.input_topic], [Right("WRITE", "topic", kafka.input_topic)])
    producer = open_producer(kafka, transactional_id=None)
    sent: list[Sent] = []
    try:
        with working(f"publishing on {kafka.input_topic}") as say:
            for submission in all_submissions(videos, segment_s, media):
                say(f"{submission.segment.segment_id}: {len(submission.cut.data) / 1e6:.1f} MB")
                sent.append(publish(producer, kafka.input_topic, submission, segments_dir))
            say("waiting for the broker's receipts")
            for one in sent:
                where = receipt(one, kafka.request_timeout_s)
                if as_json:
                    print_json(_receipt_line(one.segment, where))
    finally:
        producer.close(timeout=kafka.request_timeout_s)
    if not as_json:
        seconds = sum(one.segment.duration_s or 0.0 for one in sent)
        print_line(f"{len(sent)} segments ({seconds:.1f} s) published on {kafka.input_topic}")
    if segments_dir is not None:
        _say_what_a_worker_needs(segments_dir, media)
    return 0


def publish(producer: KafkaProducer, topic: str, submission: Submission, segments_dir: Path | None) -> Sent:
    """Send one segment; `segments_dir` as in `message_of`."""
    message = message_of(submission, segments_dir)
    future = producer.send(topic, key=message.key, value=message.value, headers=message.headers)
    return Sent(submission.segment, future)


def name_videos(paths: Sequence[Path], stream_id: str | None, transcript: str | None) -> list[Video]:
    """The files of the command line with their streams.

    Args:
        paths: The files.
        stream_id: Of all of them; None names each stream after its file.
        transcript: Text or file, for a single video only.

    Raises:
        ConfigError: One transcript for several videos, or one that can't be read.
    """
    if transcript is not None and len(paths) != 1:
        raise ConfigError(
            f"--transcript belongs to one video, but {len(paths)} are given: give one at a time"
        )
    words = read_transcript(transcript) if transcript is not None else None
    return [Video(path, stream_id or path.stem, words) for path in paths]


def all_submissions(videos: Sequence[Video], segment_s: float, media: MediaConfig) -> Iterator[Submission]:
    """The segments of several files; a stream goes on in its next file where the one before it ended."""
    reached: dict[str, tuple[int, float]] = {}
    for video in videos:
        sequence, start_s = reached.get(video.stream_id, (0, 0.0))
        pieces = submissions(
            video.path, video.stream_id, segment_s, video.transcript, media, sequence, start_s
        )
        for submission in pieces:
            if submission.cut.warning:
                note(f"warning: {video.path}: {submission.cut.warning}")
            yield submission
            segment = submission.segment
            reached[video.stream_id] = segment.sequence + 1, segment.start_s + (segment.duration_s or 0.0)


def message_of(submission: Submission, segments_dir: Path | None) -> Message:
    """A segment's message.

    Args:
        submission: The segment and its media.
        segments_dir: Where to write the media for the message to point at; None puts them into it.

    Raises:
        ConfigError: The folder can't be written, or the media are too large for a message.
    """
    segment, data = submission.segment, submission.cut.data
    key = segment.stream_id.encode()
    if segments_dir is None:
        if len(data) > MAX_INLINE_BYTES:
            size = f"{len(data)} bytes, a message holds {MAX_INLINE_BYTES}"
            raise ConfigError(f"{segment.segment_id} has {size}: leave out --inline")
        metadata = segment.model_dump_json(exclude_none=True).encode()
        headers = [("content-type", submission.cut.content_type.encode()), (SEGMENT_HEADER, metadata)]
        return Message(key, data, headers)
    digest = hashlib.sha256(data).hexdigest()
    # The digest in the name: other cuts under the same numbers can't change a file that is still to be read.
    name = f"{segment.sequence}-{digest[:12]}{submission.cut.suffix}"
    path = _write(data, segments_dir / quote(segment.stream_id, safe=""), name)
    by_reference = segment.model_copy(
        update={"uri": path.as_uri(), "sha256": digest, "size_bytes": len(data)}
    )
    value = by_reference.model_dump_json(exclude_none=True).encode()
    return Message(key, value, [("content-type", b"application/json")])


def _write(data: bytes, folder: Path, name: str) -> Path:
    """Write the media under a name that appears only when they are whole."""
    path = folder.absolute() / name
    try:
        folder.mkdir(parents=True, exist_ok=True)
        partial = path.with_name(f".{path.name}.partial")
        partial.write_bytes(data)
        partial.replace(path)
    except OSError as error:
        raise ConfigError(
            f"{path}: can't be written: {error.strerror}; name another --segments-dir"
        ) from None
    return path


def receipt(sent: Sent, timeout_s: float) -> RecordMetadata:
    """Wait until the broker has a segment.

    Raises:
        RetryableError: It did not accept it in time.
    """
    try:
        return sent.receipt.get(timeout=timeout_s)
    except KafkaError as error:
        raise RetryableError("publish", f"{sent.segment.segment_id} was not accepted: {error}") from error


def _receipt_line(segment: Segment, where: RecordMetadata) -> dict[str, str | int]:
    return {
        "stream_id": segment.stream_id,
        "segment_id": segment.segment_id,
        "topic": where.topic,
        "partition": where.partition,
        "offset": where.offset,
    }


def _say_what_a_worker_needs(segments_dir: Path, media: MediaConfig) -> None:
    folder = segments_dir.resolve()
    if not any(folder.is_relative_to(Path(root).resolve()) for root in media.allowed_roots):
        note(f"the worker must be allowed to read them: --set 'media.allowed_roots=[{folder}]'")
