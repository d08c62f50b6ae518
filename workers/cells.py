"""Has segments prepared in processes of their own, each in one that it shares with nobody (`workers.cell`).

A segment that kills its process is told as a death, one that hangs is cut off with its process. Those whose media are
there take turns (`workers.turns`): what hangs after that has others wait for one turn, and nothing else does. Knows
processes. Does not know asyncio, Ray or what preparing is.
"""

import contextlib
import logging
import os
import pickle
import queue
import signal
import socket
import struct
import subprocess
import sys
import threading
from collections.abc import Callable
from dataclasses import dataclass, replace
from multiprocessing.connection import Connection, wait

from pipelines.deadline import Deadline
from pipelines.errors import ConfigError
from pipelines.prepared import PreparedSegment
from workers.cell import FETCHED, MAX_MESSAGE_BYTES
from workers.config import Settings
from workers.extracting import Prepares
from workers.last_words import Place, is_whole, read_place
from workers.messages import Failure, Work, failure_of
from workers.turns import Turns

log = logging.getLogger(__name__)

GRACE_S = 1.0
"""How much later than its budget a segment is cut off: most work looks at its deadline and stops itself."""
LONGEST_S = 86_400.0
"""Budgets end here: poll(2) counts milliseconds in 32 bits."""
LAST_WORDS_S = 1.0
"""How long a process that hangs may take to say where."""
STALL_S = 10.0
"""A process that neither takes nor gives a byte in the midst of a message, or does not fork, is stopped or gone."""
END_S = 5.0
"""How long the source may take to end."""
TICK_S = 1.0 / os.sysconf("SC_CLK_TCK")
"""In which the kernel counts processor time."""


class SourceGoneError(Exception):
    """The process that cells are forked off has ended: there will be no more."""


class CellLostError(Exception):
    """A cell has died."""


@dataclass(frozen=True)
class Cell:
    """A process for one segment at a time.

    Attributes:
        number: Its process id.
        handle: Its pidfd: names this process and never a later one with the same number.
        work: Segments go out, what became of them comes back.
        words: Where it says where it is, when it crashes, or is asked by SIGUSR1.
    """

    number: int
    handle: int
    work: Connection
    words: socket.socket

    def tell(self, message: Work | bytes, deadline: Deadline) -> PreparedSegment | Failure | bytes | None:
        """Say something, and wait for what it says.

        Returns:
            What became of its segment, FETCHED when it has the media, or None when time was up, and a little more.

        Raises:
            CellLostError: It died.
        """
        try:
            self.work.send(message)
            # Its end is watched too: a child of its own would hold its connection open.
            ready = wait([self.work, self.handle], deadline.remaining_s() + GRACE_S)
            if self.work not in ready and self.handle in ready:
                raise CellLostError
            said: PreparedSegment | Failure | bytes | None = self.work.recv() if ready else None
        except (EOFError, OSError) as error:
            raise CellLostError from error
        return said

    def cpu_s(self) -> float:
        """Processor time that it has taken; 0 when it has ended."""
        try:
            with open(f"/proc/{self.number}/stat", "rb") as file:
                fields = file.read().rpartition(b")")[2].split()
        except OSError:
            return 0.0
        return TICK_S * (int(fields[11]) + int(fields[12]))  # proc(5): utime, stime

    def place(self) -> Place:
        """Where it is, or was when it crashed."""
        self.signal(signal.SIGUSR1)
        self.words.settimeout(LAST_WORDS_S)
        heard = b""
        with contextlib.suppress(OSError):
            while not is_whole(heard) and (more := self.words.recv(MAX_MESSAGE_BYTES)):
                heard += more
        return read_place(heard)

    def signal(self, number: signal.Signals) -> None:
        """Send a signal, if it lives."""
        with contextlib.suppress(ProcessLookupError):
            signal.pidfd_send_signal(self.handle, number)

    def end(self) -> None:
        """Kill it, if it lives, and forget it."""
        self.signal(signal.SIGKILL)
        self.work.close()
        self.words.close()
        os.close(self.handle)


class Cells:
    """The processes of one replica; as many as there are threads that call `prepare` at the same time.

    Args:
        settings: The settings.
        make: Makes what prepares segments; a function of a module, for another process must find it.
        num_cores: Of the segments whose media are fetched so many are worked on at a time.

    Raises:
        ConfigError: It can't be made.
    """

    def __init__(self, settings: Settings, make: Callable[[Settings], Prepares], num_cores: int) -> None:
        self._control, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        self._forking = threading.Lock()
        self._turns = Turns(num_cores)
        self._free: queue.LifoQueue[Cell] = queue.LifoQueue()
        self._living: set[Cell] = set()
        self._ended_cpu_s = 0.0
        self._is_closed = False
        with theirs:
            self._source = _start(theirs)
        assert self._source.stdin is not None
        with contextlib.suppress(BrokenPipeError), self._source.stdin as stdin:
            stdin.write(pickle.dumps((settings, make)))
        kind, text = self._hear()
        if kind == "config":
            raise ConfigError(text)
        if kind != "ready":
            raise RuntimeError(f"the extractors can't be loaded: {text}")
        self._control.settimeout(STALL_S)

    def prepare(self, work: Work) -> PreparedSegment | Failure:
        """Prepare a segment; waits until that is done.

        Raises:
            SourceGoneError: There are no more processes to be had.
        """
        try:
            cell = self._take()
        except SourceGoneError:
            if self._is_closed:
                return _CLOSED
            raise
        except OSError as error:
            if self._is_closed:
                return _CLOSED
            log.error("%s waits, for there is no process to be had: %s", work.source, error)
            return Failure("extract", "NoProcess", f"no process was to be had: {error}", "displaced")
        work = replace(work, budget_s=min(work.budget_s, LONGEST_S))
        deadline = Deadline.after(work.budget_s)
        try:
            found = cell.tell(work, deadline)
            if found == FETCHED:
                with self._turns.turn(work.source.partition) as waited_s:
                    deadline = deadline.later(waited_s)
                    found = cell.tell(FETCHED, deadline)
        except CellLostError:
            return self._died(cell, work, work.budget_s - deadline.remaining_s())
        except Exception as error:  # noqa: BLE001 - such as a result that can't be read
            self._end(cell)
            return failure_of(error, "extract", work.budget_s - deadline.remaining_s())
        if found is None or isinstance(found, bytes):  # which a preparer would have to say twice
            return self._cut_off(cell, work)
        self._free.put(cell)
        return found

    def cpu_s(self) -> float:
        """Processor time that all cells have taken so far."""
        return self._ended_cpu_s + sum(cell.cpu_s() for cell in tuple(self._living))

    def close(self) -> None:
        """End all processes; what they have is not finished."""
        self._is_closed = True
        self._control.close()  # the source ends, and with it the cells
        try:
            self._source.wait(END_S)
        except subprocess.TimeoutExpired:
            self._source.kill()
            self._source.wait()
        with contextlib.suppress(queue.Empty):
            while True:
                self._end(self._free.get_nowait())

    def _take(self) -> Cell:
        """A cell that has nothing to do."""
        with contextlib.suppress(queue.Empty):
            while True:
                cell = self._free.get_nowait()
                if not wait([cell.handle], 0):
                    return cell
                self._end(cell)  # it was killed meanwhile
        return self._fork()

    def _fork(self) -> Cell:
        """A new cell.

        Raises:
            SourceGoneError: There are no more.
            OSError: This machine has no room for one now.
        """
        work, their_work = socket.socketpair()
        words, their_words = socket.socketpair()
        with their_work, their_words:
            for option in (socket.SO_SNDTIMEO, socket.SO_RCVTIMEO):
                work.setsockopt(socket.SOL_SOCKET, option, struct.pack("ll", int(STALL_S), 0))
            try:
                with self._forking:
                    socket.send_fds(self._control, [b"."], [their_work.fileno(), their_words.fileno()])
                    kind, text = self._hear()
            except (ConnectionError, TimeoutError) as error:
                raise SourceGoneError("the extractors' process has ended") from error
        if kind == "gone":
            raise SourceGoneError("the extractors' process has ended")
        if kind != "cell":
            raise OSError(text)
        cell = Cell(int(text), os.pidfd_open(int(text)), Connection(work.detach()), words)
        self._living.add(cell)
        return cell

    def _hear(self) -> tuple[str, str]:
        told = self._control.recv(MAX_MESSAGE_BYTES)
        kind, text = pickle.loads(told) if told else ("gone", "their process ended")  # noqa: S301 - our own process
        return kind, text

    def _died(self, cell: Cell, work: Work, elapsed_s: float) -> Failure:
        """A process died; where is known of a crash, not of SIGKILL."""
        place = cell.place()
        self._end(cell)
        if self._is_closed:
            return _CLOSED
        log.error("%s: the process that had it died %s", work.source, place.where)
        message = f"the process that prepared it, and nothing else, died {place.where}"
        return Failure(place.stage, "ProcessDied", message, "death", elapsed_s)

    def _cut_off(self, cell: Cell, work: Work) -> Failure:
        """A segment's time is up, and it did not stop."""
        place = cell.place()
        self._end(cell)
        log.error("%s hangs in %s: cut off after %.1f s", work.source, place.stage, work.budget_s)
        message = f"cut off at flow.segment_deadline_s, it was stuck {place.where}"
        return Failure(place.stage, "DeadlineExceeded", message, "segment", work.budget_s)

    def _end(self, cell: Cell) -> None:
        self._ended_cpu_s += cell.cpu_s()
        self._living.discard(cell)
        cell.end()


def _start(control: socket.socket) -> "subprocess.Popen[bytes]":
    """The source's process."""
    return subprocess.Popen(  # noqa: S603 - this very Python
        # -P: a folder that happens to be the current one is no place to find modules in.
        [sys.executable, "-P", "-c", "from workers.cell import main; main()", str(control.fileno())],
        stdin=subprocess.PIPE,
        pass_fds=(control.fileno(),),
        env={
            **os.environ,
            # Modules are found as here.
            "PYTHONPATH": os.pathsep.join(path for path in sys.path if path),
            # A process with threads is not to be forked; as many cells compute as there are cores.
            "OMP_NUM_THREADS": "1",
            "OPENBLAS_NUM_THREADS": "1",
        },
        start_new_session=True,  # signals from the terminal are this process's to act on
    )


_CLOSED = Failure("extract", "Displaced", "its replica is being stopped", "displaced")
