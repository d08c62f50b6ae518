"""The worker's real session on the model broker, one protocol step at a time.

A `Process` runs a real `Session` on a thread of its own. The thread stands still before (and after) each call
that it makes to the broker, until it is told to go on or to crash: so a test chooses every interleaving, and a
process that is never told to go on is a zombie. Its clients are in `tests.model_clients`.
"""

import concurrent.futures
import threading
from collections.abc import Collection, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any, cast

import pytest

import pipelines.deadline
import workers.kafka
import workers.orphans
import workers.session
from tests.broker_model import Broker
from tests.model_clients import ModelAdmin, ModelConsumer, ModelPoller, ModelProducer, Unwatched
from workers.config import Settings
from workers.messages import Answer, Record
from workers.session import Session

STUCK_S = 20.0


class Crash(BaseException):
    """The process is gone: what it was about to do is never done."""


@dataclass
class Clock:
    """Stands in for the module `time`; moves only when somebody waits."""

    now_s: float = 0.0

    def monotonic(self) -> float:
        """The time."""
        return self.now_s

    def time(self) -> float:
        """The same, as seconds since 1970."""
        return self.now_s

    def sleep(self, seconds: float) -> None:
        """Wait."""
        self.now_s += seconds


class Held(concurrent.futures.Future[Answer]):
    """A record whose answer is still to come."""

    def __init__(self, process: "Process", record: Record) -> None:
        super().__init__()
        self.process = process
        self.record = record


class Process:
    """One process of the worker, from its start to its end.

    Attributes:
        identity: Its name; a successor has the same one.
        in_work: Records that are not answered yet.
        session: Its session, once it has joined.
        is_alive: Whether it has not ended.
        is_stopping: Whether it is to drain.
        trouble: What befalls its next commit: "answer lost" or "not done".
        error: Why it ended, if it did not leave in order.
    """

    def __init__(self, world: "World", settings: Settings, identity: str) -> None:
        self.world = world
        self.identity = identity
        self.in_work: list[Held] = []
        self.session: Session | None = None
        self.is_alive = True
        self.is_stopping = False
        self.trouble = ""
        self.error: BaseException | None = None
        self._settings = settings
        self._is_killed = False
        self._go, self._stands = threading.Semaphore(0), threading.Semaphore(0)
        threading.Thread(target=self._run, name=identity, daemon=True).start()
        self._wait()

    def step(self) -> None:
        """Let it go on to its next call."""
        self._go.release()
        self._wait()

    def crash(self) -> None:
        """SIGKILL, where it stands."""
        self._is_killed = True
        while self.is_alive:
            self.step()

    def hear(self) -> None:
        """The client hears by a heartbeat whether it is still a member, whatever the process does."""
        if self.session is not None:
            cast("ModelConsumer", self.session._consumer).hear()

    def pause(self) -> None:
        """Stand still; called by the threads of the process."""
        self._stands.release()
        self._go.acquire()
        if self._is_killed:
            raise Crash

    def _wait(self) -> None:
        assert self._stands.acquire(timeout=STUCK_S), f"{self.identity} makes no call and does not end"

    def _run(self) -> None:
        try:
            self.pause()
            self.session = Session(self._settings, self.identity, self._submit)
            self.session.run(lambda: self.is_stopping)
            self.session.leave()
        except (Crash, Exception) as error:  # noqa: BLE001 - looked at by the test
            self.error = error
        self.is_alive = False
        self._stands.release()

    def _submit(self, record: Record) -> Held:
        self.in_work.append(Held(self, record))
        return self.in_work[-1]


@dataclass
class World:
    """The broker, the clock and everyone who was ever started."""

    broker: Broker
    clock: Clock = field(default_factory=Clock)
    processes: list[Process] = field(default_factory=list)

    def start(self, settings: Settings, identity: str) -> Process:
        """Start a process; it stands before its first call."""
        number = len(self.processes)
        kafka = settings.kafka.model_copy(update={"bootstrap_servers": f"{number}"})
        self.processes.append(Process(self, settings.model_copy(update={"kafka": kafka}), identity))
        return self.processes[-1]

    @contextmanager
    def in_place_of_kafka(self) -> Iterator[None]:
        """Have sessions find this broker and this clock."""

        def of(options: Mapping[str, Any]) -> Process:
            return self.processes[int(options["bootstrap_servers"][0])]

        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(workers.kafka, "KafkaConsumer", lambda **o: ModelConsumer(of(o), o))
            patch.setattr(workers.kafka, "KafkaProducer", lambda **o: ModelProducer(of(o), o))
            patch.setattr(workers.kafka, "end_waits", lambda *_: None)
            patch.setattr(workers.session, "Poller", ModelPoller)
            patch.setattr(workers.session, "Report", Unwatched)
            for module in (workers.kafka, workers.orphans):
                patch.setattr(module, "KafkaAdminClient", lambda **o: ModelAdmin(of(o)))
            patch.setattr(workers.session, "time", self.clock)
            patch.setattr(pipelines.deadline, "time", self.clock)
            patch.setattr(concurrent.futures, "wait", self._wait_for_any)
            yield

    def _wait_for_any(self, futures: Collection[Held], timeout: float, return_when: str) -> None:  # noqa: ARG002
        next(iter(futures)).process.pause()
        if not any(one.done() for one in futures):
            self.clock.sleep(timeout)
