"""Has segments prepared in processes of their own, each in one that it shares with nobody (`workers.cell`).

A segment that kills its process is told as a death, one that hangs is cut off with its process; the others notice
neither. Knows processes. Does not know asyncio, Ray or what preparing is.
"""

import contextlib
import logging
import os
import pickle
import queue
import re
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Callable
from dataclasses import dataclass
from multiprocessing.connection import Connection
from typing import get_args

from pipelines.errors import ConfigError, Stage
from workers.cell import MAX_MESSAGE_BYTES, Prepared
from workers.config import Settings
from workers.extracting import Prepares
from workers.messages import Failure, Work

log = logging.getLogger(__name__)

GRACE_S = 1.0
"""How much later than its budget a segment is cut off: most work looks at its deadline and stops itself."""
LAST_WORDS_S = 1.0
"""How long a process that hangs may take to say where."""
END_S = 5.0
"""How long the source may take to end."""
FRAME = re.compile(r'File "(?P<file>[^"]+)", line (?P<line>\d+) in (?P<name>\S+)')
"""A line of faulthandler's."""


class SourceGoneError(Exception):
    """The process that cells are forked off has ended: there will be no more."""


@dataclass(frozen=True)
class Cell:
    """A process for one segment at a time.

    Attributes:
        handle: Its pidfd: names this process and never a later one with the same number.
        work: Segments go out, what became of them comes back.
        words: Where it says where it is, when it crashes, or is asked by SIGUSR1.
    """

    handle: int
    work: Connection
    words: socket.socket

    def end(self) -> None:
        """Kill it, if it lives."""
        _signal(self.handle, signal.SIGKILL)
        self.work.close()
        self.words.close()
        os.close(self.handle)


class Cells:
    """The processes of one replica; as many as there are threads that call `prepare` at the same time.

    Args:
        settings: The settings.
        make: Makes what prepares segments; a function of a module, for another process must find it.

    Raises:
        ConfigError: It can't be made.
    """

    def __init__(self, settings: Settings, make: Callable[[Settings], Prepares]) -> None:
        self._control, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        self._forking = threading.Lock()
        self._free: queue.LifoQueue[Cell] = queue.LifoQueue()
        with theirs:
            self._source = subprocess.Popen(  # noqa: S603 - this very Python
                [sys.executable, "-c", "from workers.cell import main; main()", str(theirs.fileno())],
                stdin=subprocess.PIPE,
                pass_fds=(theirs.fileno(),),
                # Modules are found as here. Signals from the terminal are this process's to act on.
                env={**os.environ, "PYTHONPATH": os.pathsep.join(path for path in sys.path if path)},
                start_new_session=True,
            )
        assert self._source.stdin is not None
        with contextlib.suppress(BrokenPipeError), self._source.stdin as stdin:
            stdin.write(pickle.dumps((settings, make)))
        kind, text = self._hear()
        if kind == "config":
            raise ConfigError(text)
        if kind != "ready":
            raise RuntimeError(f"the extractors can't be loaded: {text}")

    def prepare(self, work: Work) -> Prepared:
        """Prepare a segment; waits until that is done.

        Raises:
            SourceGoneError: There are no more processes to be had.
        """
        cell = self._take()
        try:
            cell.work.send(work)
        except OSError:  # it was killed while it had nothing to do
            cell.end()
            return Prepared(_DISPLACED, 0.0)
        try:
            if not cell.work.poll(work.budget_s + GRACE_S):
                return Prepared(_cut_off(cell, work), 0.0)
            prepared: Prepared = cell.work.recv()
        except (EOFError, OSError):
            return Prepared(_died(cell, work), 0.0)
        self._free.put(cell)
        return prepared

    def close(self) -> None:
        """End all processes."""
        self._control.close()
        with contextlib.suppress(queue.Empty):
            while True:
                self._free.get_nowait().end()
        try:
            self._source.wait(END_S)
        except subprocess.TimeoutExpired:
            self._source.kill()
            self._source.wait()

    def _take(self) -> Cell:
        try:
            return self._free.get_nowait()
        except queue.Empty:
            return self._fork()

    def _fork(self) -> Cell:
        work, their_work = socket.socketpair()
        words, their_words = socket.socketpair()
        with their_work, their_words, self._forking:
            try:
                socket.send_fds(self._control, [b"."], [their_work.fileno(), their_words.fileno()])
                _, number = self._hear()
                handle = os.pidfd_open(int(number))
            except (OSError, ValueError) as error:
                raise SourceGoneError("the extractors' process has ended") from error
        return Cell(handle, Connection(work.detach()), words)

    def _hear(self) -> tuple[str, str]:
        told = self._control.recv(MAX_MESSAGE_BYTES)
        kind, text = pickle.loads(told) if told else ("gone", "their process ended")  # noqa: S301 - our own process
        return kind, text


def _cut_off(cell: Cell, work: Work) -> Failure:
    """End a process that hangs, and say where it did."""
    _signal(cell.handle, signal.SIGUSR1)
    stage, where = _where(_last_words(cell.words))
    cell.end()
    log.error("%s hangs in %s: cut off after %.1f s", work.source, stage, work.budget_s)
    message = f"cut off at flow.segment_deadline_s, it was stuck {where}"
    return Failure(stage, "DeadlineExceeded", message, "segment", work.budget_s)


def _died(cell: Cell, work: Work) -> Failure:
    """Bury a process that died, and say where it did: known of a crash, not of SIGKILL."""
    stage, where = _where(_last_words(cell.words))
    cell.end()
    log.error("%s: the process that had it died %s", work.source, where)
    message = f"the process that prepared it died {where}; it had no other segment"
    return Failure(stage, "ProcessDied", message, "death")


def _last_words(words: socket.socket) -> str:
    """What faulthandler writes, one line after the other, the innermost first."""
    words.settimeout(LAST_WORDS_S)
    heard = b""
    with contextlib.suppress(OSError):
        while not heard.rstrip().endswith((b"main", b"<module>")) and (more := words.recv(65_536)):
            heard += more
    return heard.decode(errors="replace")


def _where(words: str) -> tuple[Stage, str]:
    """The stage and the innermost line."""
    frames = [match.groupdict() for match in FRAME.finditer(words)]
    if not frames:
        return "extract", "where nobody knows"
    # The outermost: a stage may use another one's functions.
    stages = [frame["name"] for frame in reversed(frames) if frame["name"] in get_args(Stage)]
    stage: Stage = stages[0] if stages else "extract"  # type: ignore[assignment]
    last = frames[0]
    return stage, f"in {last['name']} ({os.path.basename(last['file'])}:{last['line']})"


def _signal(handle: int, number: signal.Signals) -> None:
    with contextlib.suppress(ProcessLookupError):
        signal.pidfd_send_signal(handle, number)


_DISPLACED = Failure("extract", "Displaced", "its process was killed before it began", "displaced")
