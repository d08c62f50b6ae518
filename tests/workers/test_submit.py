import hashlib
import json
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import unquote, urlparse

import pytest

from pipelines.segment import IncomingSegment, Transcript, parse_segment
from workers.cli import run
from workers.clips import SCRIPTS, Clip, draw_clips
from workers.config import KafkaConfig
from workers.embedded import API_VERSION, EmbeddedBroker
from workers.watch import open_viewer, poll

TOPICS = {"video.segments": 4, "affect.events": 4, "video.segments.dlq": 4}


@pytest.fixture(scope="module")
def clip(tmp_path_factory: pytest.TempPathFactory) -> Clip:
    (drawn,) = draw_clips(tmp_path_factory.mktemp("clips"), SCRIPTS[:1])
    return drawn


@pytest.fixture
def kafka() -> Iterator[KafkaConfig]:
    with EmbeddedBroker(TOPICS) as broker:
        yield KafkaConfig(bootstrap_servers=broker.bootstrap_servers, api_version=API_VERSION)


def submit(kafka: KafkaConfig, *arguments: str) -> int:
    servers = ["--bootstrap-servers", kafka.bootstrap_servers, "--set", f"kafka.api_version='{API_VERSION}'"]
    return run(["submit", *arguments, *servers])


def received(kafka: KafkaConfig, num_segments: int) -> list[tuple[int, IncomingSegment]]:
    """Partition and content of what lies on the input topic."""
    consumer = open_viewer(kafka, [kafka.input_topic], from_beginning=True)
    records = []
    for _ in range(50):
        records += poll(consumer)
        if len(records) >= num_segments:
            break
    consumer.close()
    assert len(records) == num_segments
    return [(record.partition, parse_segment(record.value, record.headers)) for record in records]


def test_cuts_are_written_and_pointed_at(
    kafka: KafkaConfig, clip: Clip, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = tmp_path / "segments"
    assert submit(kafka, str(clip.path), "--stream-id", "cam/7", "--segments-dir", str(folder)) == 0
    captured = capsys.readouterr()
    assert captured.out.startswith("2 segments (10.0 s) published on video.segments")
    assert f"media.allowed_roots=[{folder}]" in captured.err
    messages = received(kafka, 2)
    assert [message.segment.segment_id for _, message in messages] == ["cam/7/0", "cam/7/1"]
    assert len({partition for partition, _ in messages}) == 1
    for _, message in messages:
        assert message.inline is None
        path = Path(unquote(urlparse(message.segment.uri or "").path))
        assert path.is_relative_to(folder)
        assert len(path.read_bytes()) == message.segment.size_bytes
        assert hashlib.sha256(path.read_bytes()).hexdigest() == message.segment.sha256


def test_inline_sends_the_same_media_and_fields(
    kafka: KafkaConfig, clip: Clip, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = tmp_path / "words.json"
    assert clip.transcript is not None
    words.write_text(clip.transcript.model_dump_json())
    shared = (str(clip.path), "--transcript", str(words), "--json")
    assert submit(kafka, *shared, "--inline") == 0
    assert submit(kafka, *shared, "--segments-dir", str(tmp_path / "segments")) == 0
    receipts = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert [receipt["offset"] for receipt in receipts] == [0, 1, 2, 3]
    messages = [message for _, message in received(kafka, 4)]
    for inline, by_reference in zip(messages[:2], messages[2:], strict=True):
        fields = by_reference.segment
        assert hashlib.sha256(inline.inline or b"").hexdigest() == fields.sha256
        assert isinstance(inline.segment.transcript, Transcript)
        assert inline.segment == fields.model_copy(update={"uri": None, "sha256": None, "size_bytes": None})


def test_several_files_continue_one_stream_or_make_one_each(
    kafka: KafkaConfig, clip: Clip, tmp_path: Path
) -> None:
    other = tmp_path / "other.mp4"
    other.write_bytes(clip.path.read_bytes())
    files = (str(clip.path), str(other), "--inline")
    assert submit(kafka, *files, "--stream-id", "one") == 0
    assert submit(kafka, *files) == 0
    segments = sorted(
        (message.segment.stream_id, message.segment.sequence, round(message.segment.start_s))
        for _, message in received(kafka, 8)
    )
    continued = [("one", number, 5 * number) for number in range(4)]
    separate = [(stream, number, 5 * number) for stream in (clip.path.stem, "other") for number in range(2)]
    assert segments == sorted(continued + separate)


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        (["--topic", "nowhere"], "nowhere"),
        (["--transcript", "missing.txt"], "missing.txt"),
        (["--segments-dir", "/proc/none"], "--segments-dir"),
    ],
)
def test_what_can_not_be_sent_is_one_line_and_exit_2(
    kafka: KafkaConfig, clip: Clip, arguments: list[str], expected: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert submit(kafka, str(clip.path), *arguments) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert expected in line


def test_one_transcript_is_not_spread_over_two_videos(
    kafka: KafkaConfig, clip: Clip, capsys: pytest.CaptureFixture[str]
) -> None:
    assert submit(kafka, str(clip.path), str(clip.path), "--transcript", "hello") == 2
    assert "one at a time" in capsys.readouterr().err


def test_a_broker_that_is_not_there_is_one_line_and_exit_2(
    clip: Clip, capsys: pytest.CaptureFixture[str], unused_port: int
) -> None:
    nobody = KafkaConfig(bootstrap_servers=f"127.0.0.1:{unused_port}")
    assert submit(nobody, str(clip.path), "--inline", "--set", "kafka.request_timeout_s=2") == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert str(unused_port) in line


@pytest.fixture
def unused_port() -> int:
    import socket

    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port
