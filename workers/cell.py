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
from dataclasses import dataclass
from multiprocessing.connection import Connection

from pipelines.deadline import Deadline
from pipelines.errors import ConfigError
from pipelines.prepared import PreparedSegment
from workers.extracting import Prepares
from workers.messages import Failure, Work, failure_of
from workers.telemetry import set_up_logging

MAX_MESSAGE_BYTES = 65_536
"""Of what goes between the source and its replica: a process id, or why the extractors can't be loaded."""
PR_SET_PDEATHSIG = 1
"""prctl(2): the signal that a process gets when its parent ends."""


@dataclass(frozen=True)
class Prepared:
    """What a cell says of a segment.

    Attributes:
        result: The features, or what is wrong with the segment.
        cpu_s: Processor time that it took.
    """

    result: PreparedSegment | Failure
    cpu_s: float


def main() -> None:
    """The source: load, say whether that went well, then fork a cell for each pair of descriptors that comes."""
    control = socket.socket(fileno=int(sys.argv[1]))
    settings, make = pickle.load(sys.stdin.buffer)  # noqa: S301 - from the process that started us
    set_up_logging(settings.telemetry)
    try:
        preparer = make(settings)
    except Exception as error:  # noqa: BLE001 - told to whom it may concern
        kind = "config" if isinstance(error, ConfigError) else "bug"
        text = str(error) if kind == "config" else failure_of(error, "extract").message
        control.send(pickle.dumps((kind, text[-MAX_MESSAGE_BYTES // 2 :])))
        return
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)  # nobody waits for the cells: the kernel buries them
    gc.freeze()  # what is loaded stays shared: the collector does not write on it
    control.send(pickle.dumps(("ready", "")))
    while True:
        _, descriptors, _, _ = socket.recv_fds(control, 1, 2)
        if not descriptors:  # the replica is gone, or wants no more
            return
        number = os.fork()
        if number == 0:
            control.close()
            _live(preparer, *descriptors)
            os._exit(0)
        for descriptor in descriptors:
            os.close(descriptor)
        control.send(pickle.dumps(("cell", str(number))))


def _live(preparer: Prepares, work_fd: int, words_fd: int) -> None:
    """A cell: prepare what comes until nobody is there to send more."""
    # A cell that hangs reads nothing: it would outlive everyone.
    ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    faulthandler.enable(words_fd, all_threads=False)
    faulthandler.register(signal.SIGUSR1, words_fd, all_threads=False)
    connection = Connection(work_fd)
    while True:
        try:
            work = connection.recv()
        except EOFError:
            return
        connection.send(_prepare(preparer, work))


def _prepare(preparer: Prepares, work: Work) -> Prepared:
    begun_s, begun_cpu_s = time.monotonic(), time.process_time()
    result: PreparedSegment | Failure
    try:
        result = preparer.prepare(work.incoming, Deadline.after(work.budget_s))
    except Exception as error:  # noqa: BLE001 - whatever is wrong with a segment is data
        result = failure_of(error, "extract", time.monotonic() - begun_s)
    return Prepared(result, time.process_time() - begun_cpu_s)
