"""A slow partition holds up itself alone: real Kafka, a real server, extractor and model in this process."""

import http.server
import threading
from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from pipelines.media import MediaConfig
from tests.answering import InThisProcess, answering
from tests.checkpoints import save_random_checkpoint
from tests.kafka_broker import KafkaBroker
from tests.segments import TONE, by_reference, inline
from tests.topics import make_topics, wait_until
from tests.workers.test_session import consuming
from workers.config import FlowConfig, ModelSettings, Settings

pytestmark = pytest.mark.kafka

NUM_PARTITIONS = 4
NUM_EACH = 10


@dataclass
class Held:
    """A server that answers nobody until it is released.

    Attributes:
        host: "host:port".
        release: Set to let it answer.
        num_asked: How often it was asked.
    """

    host: str
    release: threading.Event = field(default_factory=threading.Event)
    num_asked: int = 0


@pytest.fixture
def held() -> Iterator[Held]:
    """The server."""

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            found.num_asked += 1
            found.release.wait(60)
            self.send_response(200)
            self.send_header("Content-Length", str(len(TONE)))
            self.end_headers()
            self.wfile.write(TONE)

        def log_message(self, *_: object) -> None:
            pass

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        server.daemon_threads = True
        found = Held(f"127.0.0.1:{server.server_address[1]}")
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield found
        found.release.set()
        server.shutdown()


def test_all_others_are_answered_while_a_partition_is_held(
    kafka_broker: KafkaBroker, held: Held, tmp_path: Path
) -> None:
    topics = make_topics(kafka_broker, NUM_PARTITIONS)
    settings = Settings(
        kafka=topics.config,
        media=MediaConfig(allowed_schemes=("http",), allowed_hosts=(held.host,), fetch_timeout_s=60),
        model=ModelSettings(checkpoint=str(save_random_checkpoint(tmp_path))),
        flow=FlowConfig(max_in_flight_segments=4 * NUM_PARTITIONS),
    )
    others = range(1, NUM_PARTITIONS)
    with (
        closing(InThisProcess(settings)) as backend,
        answering(settings.flow, backend) as made,
        consuming(settings, made.submit) as running,
    ):
        topics.send([by_reference(0, f"held/{n}", f"http://{held.host}/{n}.wav") for n in range(NUM_EACH)])
        wait_until(lambda: held.num_asked > 0, "held")
        topics.send([inline(number, f"{number}/{n}") for n in range(NUM_EACH) for number in others])
        wait_until(lambda: running.session.progress.num_events == NUM_EACH * len(others), "all others")
        assert not held.release.is_set()
        committed = topics.committed()
        assert (committed[0] or 0, *(committed[number] for number in others)) == (
            0,
            *[NUM_EACH] * len(others),
        )
        held.release.set()
        wait_until(
            lambda: running.session.progress.num_events == NUM_EACH * NUM_PARTITIONS, "the held one too"
        )
        assert running.session.progress.num_dead_letters == 0
    assert running.error is None
