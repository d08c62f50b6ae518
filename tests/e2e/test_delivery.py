"""The whole application on a real Apache Kafka: Ray Serve, real extractors, a model with random weights.

One Ray for all tests of this file; each test looks at streams of its own.
"""

import http.server
import os
import shutil
import signal
import threading
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import pytest
from kafka.consumer.fetcher import ConsumerRecord
from ray import serve

from hctdmg.checkpoint import load_checkpoint
from pipelines.events import AffectEvent
from pipelines.segment import IncomingSegment, Segment
from tests.checkpoints import save_random_checkpoint
from tests.kafka_broker import KafkaBroker
from tests.segments import TONE, by_reference, configured, inline
from tests.topics import Message, Topics, make_topics, wait_until
from workers import config_file
from workers.analyze import Analyst
from workers.config import Settings
from workers.run import Application, running

pytestmark = [pytest.mark.kafka, pytest.mark.e2e]

NUM_PARTITIONS = 4
DEADLINE_S = 4.0


@dataclass(frozen=True)
class Worker:
    """The running application and its topics; what was there before is told apart by offsets."""

    application: Application
    topics: Topics
    settings: Settings
    media: Path

    def answers(self, messages: Sequence[Message]) -> tuple[list[AffectEvent], list[ConsumerRecord]]:
        """Publish segments; give their events and dead letters once each has one."""
        before = self.topics.committed()
        self.topics.send(messages)
        ends = Counter(message.partition for message in messages)
        wanted = {number: (before[number] or 0) + ends[number] for number in before}
        wait_until(lambda: self._is_at(wanted), f"offsets {wanted}", 90)
        events = [
            event
            for record in self.topics.events(0)
            if (event := AffectEvent.model_validate_json(record.value)).source is not None
            and event.source.offset >= (before[event.source.partition] or 0)
        ]
        letters = [
            record
            for record in self.topics.dead_letters(0)
            if int(dlq(record)["offset"]) >= (before[int(dlq(record)["partition"])] or 0)
        ]
        return events, letters

    def _is_at(self, wanted: dict[int, int]) -> bool:
        return {number: offset or 0 for number, offset in self.topics.committed().items()} == wanted


def dlq(record: ConsumerRecord) -> dict[str, str]:
    return {
        name.removeprefix("dlq-").removeprefix("source-"): value.decode()
        for name, value in record.headers
        if name.startswith("dlq-")
    }


class Silent(http.server.BaseHTTPRequestHandler):
    """Begins to answer and never ends."""

    def do_GET(self) -> None:
        self.send_response(200)
        self.send_header("Content-Length", "1000")
        self.end_headers()
        self.wfile.write(b"RIFF")
        self.wfile.flush()
        threading.Event().wait(60)


@pytest.fixture(scope="module")
def silent_host() -> Iterator[str]:
    """Host and port of a server that never ends an answer."""
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Silent) as server:
        server.daemon_threads = True
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"127.0.0.1:{server.server_address[1]}"
        server.shutdown()


@pytest.fixture(scope="module")
def worker(
    kafka_broker: KafkaBroker, silent_host: str, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Worker]:
    folder = tmp_path_factory.mktemp("delivery")
    media = folder / "media"
    media.mkdir()
    topics = make_topics(kafka_broker, NUM_PARTITIONS)
    settings = {
        "model.checkpoint": str(save_random_checkpoint(folder / "checkpoint")),
        "media.allowed_schemes": ["file", "http"],
        "media.allowed_roots": [str(media)],
        "media.allowed_hosts": [silent_host],
        "flow.segment_deadline_s": DEADLINE_S,
        "flow.retry_backoff_s": 0.05,
        "flow.drain_timeout_s": 8.0,
    }
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(config_file, "IMPORT_PATH", "tests.poison:build_app")
        config = configured(topics, folder, settings)
        with running(config) as application:
            yield Worker(application, topics, config.settings, media)


def test_each_segment_has_one_event_in_order_with_its_trace(worker: Worker) -> None:
    messages = [inline(number % 4, f"first/{number}", number // 4) for number in range(40)]
    events, letters = worker.answers(messages)
    assert letters == []
    assert Counter(event.segment_id for event in events) == Counter(f"first/{number}" for number in range(40))
    for partition in range(4):
        of_one = [event for event in events if event.source and event.source.partition == partition]
        assert [event.sequence for event in of_one] == list(range(10))
    record = worker.topics.events(40)[0]
    headers = dict(record.headers)
    assert record.key == b"stream-0"
    assert headers["traceparent"] == f"00-{0:032x}-01".encode()
    assert headers["ce_id"].decode() == events[0].event_id
    assert events[0].modalities["audio"].present
    assert not events[0].modalities["vision"].present


def test_a_real_video_gets_the_same_answer_as_in_one_process(worker: Worker, media_dir: Path) -> None:
    shutil.copy(media_dir / "faces" / "lbax4n.mpg", worker.media / "face.mpg")
    uri = f"file://{worker.media}/face.mpg"
    segment = Segment(stream_id="cam-7", segment_id="cam-7/1", uri=uri, transcript="lay blue at x four now")
    json_type = (("content-type", b"application/json"),)
    message = Message(1, b"cam-7", segment.model_dump_json().encode(), json_type)
    (event,), letters = worker.answers([message])
    assert letters == []
    checkpoint = load_checkpoint(worker.settings.model.checkpoint)
    here = Analyst(checkpoint, worker.settings).answer(IncomingSegment(segment))
    assert event.event_id == here.event_id
    assert event.modalities["vision"].present
    assert event.modalities == here.modalities
    assert flat(event) == pytest.approx(flat(here), abs=1e-5)


def flat(event: AffectEvent) -> dict[str, object]:
    """What the model says, with the path of each value."""
    found: dict[str, object] = {}

    def walk(value: object, path: str) -> None:
        if isinstance(value, dict):
            for name, item in value.items():
                walk(item, f"{path}.{name}")
        else:
            found[path] = value

    walk(event.model_dump(mode="json", include={"affect", "incongruity"}), "")
    return found


def test_bad_input_becomes_dead_letters_and_the_next_segment_is_processed(worker: Worker) -> None:
    (worker.media / "garbage.mp4").write_bytes(b"\x00garbage" * 100)
    json_type = (("content-type", b"application/json"),)
    bad = {
        "no json": (Message(0, b"key", b"no json", json_type), "parse"),
        "no uri": (Message(0, b"key", b'{"stream_id": "a", "segment_id": "b"}', json_type), "parse"),
        "unknown type": (Message(0, b"key", b"x", (("content-type", b"text/plain"),)), "parse"),
        "no value": (Message(0, b"key", None), "parse"),
        "nothing at all": (Message(0, None, None), "parse"),
        "outside the roots": (by_reference(0, "bad/1", "file:///etc/passwd"), "fetch"),
        "not there": (by_reference(0, "bad/2", f"file://{worker.media}/none.mp4"), "fetch"),
        "scheme": (by_reference(0, "bad/3", "ftp://example.org/a.mp4"), "fetch"),
        "garbage": (by_reference(0, "bad/4", f"file://{worker.media}/garbage.mp4"), "decode"),
        "empty": (inline(0, "bad/5", media=b""), "fetch"),
        "truncated": (inline(0, "bad/6", media=TONE[:20]), "decode"),
    }
    events, letters = worker.answers([*(message for message, _ in bad.values()), inline(0, "good/1")])
    assert [event.segment_id for event in events] == ["good/1"]
    assert [dlq(letter)["stage"] for letter in letters] == [stage for _, stage in bad.values()]
    assert [(letter.key, letter.value or None) for letter in letters] == [
        (message.key, message.value or None) for message, _ in bad.values()
    ]
    for letter in letters:
        assert dlq(letter)["error"] == "SegmentError"
        assert dlq(letter)["message"]
        assert dlq(letter)["attempts"] == "1"


def test_a_segment_that_hangs_is_cut_off_and_its_neighbours_are_not(worker: Worker) -> None:
    begun_s = time.monotonic()
    messages = [inline(number % 4, f"beside/{number}") for number in range(8)]
    events, letters = worker.answers([*messages[:4], inline(1, "hang/1"), *messages[4:]])
    assert sorted(event.segment_id for event in events) == sorted(f"beside/{number}" for number in range(8))
    (letter,) = letters
    assert dlq(letter)["error"] == "DeadlineExceeded"
    assert "segment_deadline_s" in dlq(letter)["message"]
    assert time.monotonic() - begun_s < DEADLINE_S + 30


def test_media_that_never_end_meet_the_deadline(worker: Worker, silent_host: str) -> None:
    uri = f"http://{silent_host}/endless.wav"
    events, letters = worker.answers([by_reference(2, "endless/1", uri), inline(2, "next/1")])
    assert [event.segment_id for event in events] == ["next/1"]
    (letter,) = letters
    assert dlq(letter)["stage"] == "fetch"
    assert "segment_deadline_s" in dlq(letter)["message"]


def test_a_bug_is_tried_again_alone_then_dead_lettered_with_its_traceback(worker: Worker) -> None:
    events, letters = worker.answers([inline(2, "bug/1"), inline(2, "after/1")])
    assert [event.segment_id for event in events] == ["after/1"]
    (letter,) = letters
    assert dlq(letter)["error"] == "KeyError"
    assert "a bug in an extractor" in dlq(letter)["message"]
    assert "Traceback" in dlq(letter)["message"]
    assert dlq(letter)["attempts"] == "2"


def test_a_segment_that_kills_its_extractor_is_found_out_and_the_innocent_are_answered(
    worker: Worker,
) -> None:
    messages = [inline(number % 4, f"innocent/{number}") for number in range(12)]
    events, letters = worker.answers([*messages[:6], inline(3, "die/1"), *messages[6:]])
    assert Counter(event.segment_id for event in events) == Counter(f"innocent/{n}" for n in range(12))
    (letter,) = letters
    assert "died" in dlq(letter)["message"]
    assert dlq(letter)["attempts"] == "3"


def test_a_killed_consumer_loses_and_doubles_nothing(worker: Worker) -> None:
    (status,) = worker.application.statuses()
    assert status.progress is not None
    num_before = status.progress.num_events
    messages = [inline(number % 4, f"kill/{number}", number // 4) for number in range(500)]
    killer = threading.Thread(target=kill_after, args=(worker, status.pid, num_before + 100))
    killer.start()
    events, letters = worker.answers(messages)
    killer.join()
    assert letters == []
    assert len(events) == 500
    assert len({event.event_id for event in events}) == 500
    for partition in range(4):
        of_one = [event for event in events if event.source and event.source.partition == partition]
        assert [event.sequence for event in of_one] == list(range(125))
    (successor,) = worker.application.statuses()
    assert successor.pid != status.pid
    assert successor.identity == status.identity


def test_deleting_the_application_drains_it_too(worker: Worker) -> None:
    """As `serve shutdown`, an update of the config and a scale-down do: Serve itself stops the replicas."""
    before = sum(offset or 0 for offset in worker.topics.committed().values())
    worker.topics.send([inline(number % 4, f"delete/{number}", number // 4) for number in range(200)])
    wait_until(lambda: sum(o or 0 for o in worker.topics.committed().values()) > before + 20, "mid-stream")
    serve.delete(worker.application.name)
    committed = {number: offset or 0 for number, offset in worker.topics.committed().items()}
    sources = [
        (event.source.partition, event.source.offset)
        for record in worker.topics.events(0)
        if (event := AffectEvent.model_validate_json(record.value)).source
    ]
    letters = [(int(dlq(one)["partition"]), int(dlq(one)["offset"])) for one in worker.topics.dead_letters(0)]
    assert sorted(sources + letters) == [(n, offset) for n in range(4) for offset in range(committed[n])]
    assert worker.topics.members() == []


def kill_after(worker: Worker, pid: int, num_events: int) -> None:
    """Kill the consumer in mid-stream."""

    def num_published() -> int:
        return sum(one.progress.num_events for one in worker.application.statuses() if one.progress)

    wait_until(lambda: num_published() >= num_events, "mid-stream")
    os.kill(pid, signal.SIGKILL)
