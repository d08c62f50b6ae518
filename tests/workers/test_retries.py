"""What a real server's failures lead to: the worker's own rules of trying, extractor and model in this process."""

import asyncio
import http.server
import itertools
import socket
import struct
import threading
import time
from collections import defaultdict
from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass, field

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipelines.media import MediaConfig
from tests.answering import InThisProcess
from tests.checkpoints import save_random_checkpoint
from tests.segments import TONE, by_reference
from workers.attempts import MAX_BACKOFF_S, Attempts, Tries
from workers.config import FlowConfig, ModelSettings, Settings
from workers.messages import Answer, Failure, Record

BACKOFF_S = 0.05


@dataclass
class Site:
    """A server whose paths say how they fail, and how often: /503/2/a is all right from the third time on.

    Attributes:
        host: "host:port".
        asked_s: When each path was asked for.
    """

    host: str = ""
    asked_s: defaultdict[str, list[float]] = field(default_factory=lambda: defaultdict(list))


@pytest.fixture(scope="module")
def site() -> Iterator[Site]:
    """The server."""
    site, over = Site(), threading.Event()

    class Failing(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            site.asked_s[self.path].append(time.monotonic())
            _, how, num_times, _ = self.path.split("/")
            if len(site.asked_s[self.path]) > int(num_times):
                self.answer(200, TONE)
            elif how == "reset":
                # In the middle of the body: before that, the http client itself asks a second time.
                self.send_response(200)
                self.send_header("Content-Length", "1000")
                self.end_headers()
                self.wfile.write(b"RIFF")
                self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
                self.connection.close()
            elif how == "stall":
                over.wait(30)
            else:
                self.answer(int(how), b"")

        def answer(self, status: int, body: bytes) -> None:
            self.send_response(status)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: object) -> None:
            pass

        def finish(self) -> None:
            if self.connection.fileno() >= 0:
                super().finish()

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Failing) as server:
        server.daemon_threads = True
        threading.Thread(target=server.serve_forever, daemon=True).start()
        site.host = f"127.0.0.1:{server.server_address[1]}"
        yield site
        over.set()
        server.shutdown()


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> str:
    """A model."""
    return str(save_random_checkpoint(tmp_path_factory.mktemp("checkpoint")))


_number = itertools.count()


def answered(
    site: Site, checkpoint: str, how: str, num_times: int, **flow: float
) -> tuple[Answer, list[float]]:
    """The answer to a segment whose media fail like this, and when they were asked for."""
    path = f"/{how}/{num_times}/{next(_number)}"
    settings = Settings(
        media=MediaConfig(allowed_schemes=("http",), allowed_hosts=(site.host,), fetch_timeout_s=0.3),
        model=ModelSettings(checkpoint=checkpoint),
        flow=FlowConfig.model_validate({"max_attempts": 4, "retry_backoff_s": BACKOFF_S, **flow}),
    )
    message = by_reference(0, "cam/1", f"http://{site.host}{path}")
    record = Record("segments", 0, 7, message.key, message.value, message.headers)

    with closing(InThisProcess(settings)) as backend:
        answer = asyncio.run(Attempts(settings.flow, backend).answer(record))
    return answer, site.asked_s[path]


def dlq(answer: Answer) -> dict[str, str]:
    return {name: value.decode() for name, value in answer.headers if name.startswith("dlq-")}


@pytest.mark.parametrize("how", ["503", "429", "reset", "stall"])
def test_what_passes_is_answered_after_growing_waits(site: Site, checkpoint: str, how: str) -> None:
    answer, asked_s = answered(site, checkpoint, how, 3)
    assert answer.failure is None
    assert len(asked_s) == 4
    waits_s = [later - earlier for earlier, later in itertools.pairwise(asked_s)]
    # At least the half of each step that jitter leaves.
    assert all(wait_s >= BACKOFF_S * 2**step / 2 for step, wait_s in enumerate(waits_s))


@pytest.mark.parametrize("how", ["503", "reset", "stall"])
def test_what_does_not_pass_is_a_dead_letter_with_its_attempts(site: Site, checkpoint: str, how: str) -> None:
    answer, asked_s = answered(site, checkpoint, how, 99)
    assert (dlq(answer)["dlq-stage"], dlq(answer)["dlq-error"]) == ("fetch", "RetryableError")
    assert dlq(answer)["dlq-attempts"] == "4"
    assert "given up after 4 tries" in dlq(answer)["dlq-message"]
    assert len(asked_s) == 4


def test_the_deadline_ends_the_tries_before_they_run_out(site: Site, checkpoint: str) -> None:
    answer, asked_s = answered(site, checkpoint, "503", 99, max_attempts=1000, segment_deadline_s=0.5)
    assert dlq(answer)["dlq-attempts"] == str(len(asked_s))
    assert "limits: 1000 tries, 0.5 s" in dlq(answer)["dlq-message"]


@pytest.mark.parametrize("status", ["404", "403"])
def test_a_refusal_is_a_dead_letter_at_once(site: Site, checkpoint: str, status: str) -> None:
    answer, asked_s = answered(site, checkpoint, status, 99)
    assert (dlq(answer)["dlq-error"], dlq(answer)["dlq-attempts"]) == ("SegmentError", "1")
    assert len(asked_s) == 1


@given(st.floats(0.001, 10.0), st.integers(1, 40))
def test_waits_double_up_to_a_limit_with_jitter(backoff_s: float, num_tries: int) -> None:
    flow = FlowConfig(retry_backoff_s=backoff_s, max_attempts=1000, segment_deadline_s=10**6)
    failure = Failure("fetch", "RetryableError", "HTTP 503", "transient")
    crowd = [Tries(flow) for _ in range(8)]
    for step in range(num_tries):
        waits_s = [tries.wait_after(failure) for tries in crowd]
        longest_s = min(MAX_BACKOFF_S, backoff_s * 2**step)
        assert all(wait_s is not None and longest_s / 2 <= wait_s <= longest_s for wait_s in waits_s)
        assert len(set(waits_s)) > 1  # they do not come back all at once
