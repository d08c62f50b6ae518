"""In place of the extractors: does what a segment's id says, and keeps a diary of who was in when.

In a module of its own, for the extractors' processes must find it. Its files lie in the first of `media.allowed_roots`.
"""

import ctypes
import os
import signal
import threading
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np

from pipelines.deadline import Deadline
from pipelines.errors import ConfigError, RetryableError, SegmentError
from pipelines.prepared import PreparedSegment
from pipelines.segment import IncomingSegment
from workers.config import Settings

DIARY, RELEASE = "diary", "release"


class Acting:
    """Prepares nothing."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def prepare(
        self, incoming: IncomingSegment, deadline: Deadline, fetched: Callable[[Deadline], Deadline]
    ) -> PreparedSegment:
        """Act by the first part of the id: one of the cases below; else take 5 ms."""
        name = incoming.segment.segment_id
        self._write(f"+{name}")
        match name.split("/")[0]:
            case "segment":
                raise SegmentError("decode", "no video")
            case "transient":
                raise RetryableError("fetch", "HTTP 503")
            case "bug":
                raise KeyError("a bug")
            case "strange":  # what can't be sent back
                return PreparedSegment(incoming.segment, {}, {}, 1.0, {"lock": threading.Lock()})  # type: ignore[dict-item]
            case "child":  # dies, and leaves a child that holds its connections open
                if os.fork() == 0:
                    time.sleep(20)
                os._exit(1)
            case "slow":
                time.sleep(0.5)
                os._exit(1)
            case "big":
                return PreparedSegment(
                    incoming.segment, {"text": np.zeros((1000, 5000), np.float32)}, {}, 1.0, {}
                )
            case "busy":
                begun_s = time.process_time()
                while time.process_time() - begun_s < 0.3:
                    pass
            case "die":
                os.kill(os.getpid(), signal.SIGKILL)
            case "crash":
                self.fetch()
            case "hang":
                self.decode()
            case "turn":
                deadline = fetched(deadline)
                self._write(f"!{name}")
                time.sleep(0.05)
            case "fatal":  # when it is let go
                fetched(deadline)
                self._write(f"!{name}")
                self._wait()
                os._exit(1)
            case "stuck":
                fetched(deadline)
                self._write(f"!{name}")
                self.decode()
            case "wait":
                self._wait()
            case _:
                time.sleep(0.005)
        self._write(f"-{name}")
        deadline.check("decode")
        return PreparedSegment(incoming.segment, {}, {}, 1.0, {})

    def fetch(self) -> None:
        """Reads where nothing is, as a broken library does."""
        ctypes.string_at(0)

    def decode(self) -> None:
        """Never ends, in the stage that it is named after."""
        threading.Event().wait()

    def _wait(self) -> None:
        while not (self._folder / RELEASE).exists():
            time.sleep(0.005)

    def _write(self, line: str) -> None:
        with (self._folder / DIARY).open("a") as file:  # one write: lines of several processes don't mix
            file.write(f"{line} {os.getpid()}\n")


def make_acting(settings: Settings) -> Acting:
    """In place of `make_preparer`."""
    return Acting(Path(settings.media.allowed_roots[0]))


def make_none(_: Settings) -> Acting:
    """Extractors that can't be loaded.

    Raises:
        ConfigError: Always.
    """
    raise ConfigError("there is no such extractor")


def diary(folder: Path) -> list[tuple[str, str]]:
    """Who came ("+name"), had its turn ("!name") and went ("-name"), and the process."""
    path = folder / DIARY
    lines = path.read_text().splitlines() if path.exists() else []
    return [(name, process) for name, process in (line.rsplit(" ", 1) for line in lines)]
