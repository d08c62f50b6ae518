"""The processes in which segments are prepared: a source that loads the extractors once, and the cells forked off it.

    source ──fork──▶ cell ──fork──▶ ...        one segment in a cell at a time

Whatever a segment does to its process, it does to that one alone, and another cell is there in milliseconds, for it
shares what the source has loaded. The source itself prepares nothing and has no thread but its first, so that forking
it is safe. All of them end with the replica that started them. Runs on its own, started by `workers.cells`. Knows
neither Ray nor Kafka.
"""

import ctypes
import faulthandler
import gc
import os
import pickle
import signal
import socket
import sys
import time
from multiprocessing.connection import Connection
from multiprocessing.reduction import ForkingPickler

from pipelines.deadline import Deadline
from pipelines.errors import ConfigError
from workers.extracting import Prepares
from workers.messages import Work, failure_of
from workers.telemetry import set_up_logging

MAX_MESSAGE_BYTES = 65_536
"""Of what the source says: a process id, or why the extractors can't be loaded."""
FETCHED = b"fetched"
"""A cell says so when it has a segment's media, and goes on when it hears the same."""
PR_SET_PDEATHSIG = 1
"""prctl(2): the signal that a process gets when its parent ends."""


def main() -> None:
    """The source: load, say whether that went well, then fork a cell for each pair of descriptors that comes."""
    control = socket.socket(fileno=int(sys.argv[1]))
    settings, make = pickle.load(sys.stdin.buffer)  # noqa: S301 - from the process that started us
    set_up_logging(settings.telemetry)
    try:
        preparer = make(settings)
    except ConfigError as error:
        _say(control, "config", str(error))
        return
    except Exception as error:  # noqa: BLE001 - told to whom it may concern
        _say(control, "failed", failure_of(error, "extract").message)
        return
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)  # nobody waits for the cells: the kernel buries them
    gc.freeze()  # what is loaded stays shared: the collector does not write on it
    _say(control, "ready", "")
    while True:
        _, descriptors, _, _ = socket.recv_fds(control, 1, 2)
        if not descriptors:  # the replica is gone, or wants no more
            return
        _say(control, *_fork(preparer, control, descriptors))
        for descriptor in descriptors:
            os.close(descriptor)


def _say(control: socket.socket, kind: str, text: str) -> None:
    text = text.encode()[-MAX_MESSAGE_BYTES // 2 :].decode(errors="ignore")
    control.send(pickle.dumps((kind, text)))


def _fork(preparer: Prepares, control: socket.socket, descriptors: list[int]) -> tuple[str, str]:
    """In the source: the new cell's process id, or why there is none."""
    source = os.getpid()
    try:
        number = os.fork()
    except OSError as error:
        return "failed", str(error)
    if number:
        return "cell", str(number)
    try:
        control.close()
        _live(preparer, source, *descriptors)
    finally:
        os._exit(0)  # not by the way that the source ends


def _live(preparer: Prepares, source: int, work_fd: int, words_fd: int) -> None:
    """A cell: prepare what comes until nobody is there to send more."""
    # A cell that hangs reads nothing: it would outlive everyone.
    ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != source:
        return  # it ended before it could be followed
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    faulthandler.enable(words_fd, all_threads=False)
    faulthandler.register(signal.SIGUSR1, words_fd, all_threads=False)
    connection = Connection(work_fd)
    while True:
        try:
            work = connection.recv()
        except EOFError:
            return
        connection.send_bytes(_prepare(preparer, work, connection))


def _prepare(preparer: Prepares, work: Work, connection: Connection) -> memoryview:
    """The features, or what is wrong with the segment; pickled here, so that what can't be is told too."""
    deadline = Deadline.after(work.budget_s)

    def wait_for_turn(before: Deadline) -> Deadline:
        """The wait is no work on the segment."""
        nonlocal deadline
        begun_s = time.monotonic()
        connection.send(FETCHED)
        connection.recv()
        deadline = before.later(time.monotonic() - begun_s)
        return deadline

    try:
        return ForkingPickler.dumps(preparer.prepare(work.incoming, deadline, wait_for_turn))
    except Exception as error:  # noqa: BLE001 - whatever is wrong with a segment is data
        return ForkingPickler.dumps(failure_of(error, "extract", work.budget_s - deadline.remaining_s()))
