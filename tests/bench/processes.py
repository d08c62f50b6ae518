"""The processes of a running application by what they are: those that this process has started, and no others."""

import os
from collections.abc import Collection
from contextlib import suppress

import psutil

NAMES = {
    "SegmentConsumer": "consumer",
    "FeatureExtractor": "extractors",
    "workers.cell": "extractors",
    "HctDmgReplica": "model",
    "ServeController": "controller",
    "raylet": "raylet",
    "gcs_server": "gcs",
}
"""What is in a process's command line, or its title, and what we call it."""


def ours() -> dict[int, str]:
    """Each descendant of this process, and this process, by pid: what it is."""
    this = psutil.Process()
    found = {os.getpid(): "driver"}
    for process in this.children(recursive=True):
        try:
            found[process.pid] = kind_of(process)
        except psutil.Error:
            continue
    return found


def kind_of(process: psutil.Process) -> str:
    """What a process is, by its title; Ray names its actors' processes."""
    command = process.cmdline()
    text = " ".join(command[:4])  # of a Python program: interpreter, options, code
    for mark, name in NAMES.items():
        if mark in text:
            return name
    if "kafka.Kafka" in command:
        return "broker"
    return "other of Ray" if any("ray" in part for part in command) else "other"


def last_cores(number: int) -> list[int]:
    """So many of the cores that this process may use, the last ones.

    Raises:
        ValueError: There are fewer.
    """
    cores = sorted(os.sched_getaffinity(0))
    if number > len(cores):
        raise ValueError(f"{number} processes are to have a core each: there are {len(cores)}; take fewer")
    return cores[-number:]


def pin(pid: int, cores: Collection[int]) -> None:
    """Keep a process on some cores, with all threads that it has and will have."""
    for thread in psutil.Process(pid).threads():
        with suppress(ProcessLookupError):
            os.sched_setaffinity(thread.id, cores)


class Cpu:
    """CPU time of the application from now on."""

    def __init__(self) -> None:
        self._begun_s = _cpu_s()

    def spent_ms(self, num_segments: int, *, with_broker: bool = False) -> dict[str, float]:
        """Milliseconds per segment since, by kind of process; this process is left out."""
        spent: dict[str, float] = {}
        for pid, (kind, seconds) in _cpu_s().items():
            if kind == "driver" or (kind == "broker" and not with_broker):
                continue
            _, before_s = self._begun_s.get(pid, (kind, 0.0))
            spent[kind] = spent.get(kind, 0.0) + 1000 * (seconds - before_s) / num_segments
        return {kind: value for kind, value in sorted(spent.items()) if value >= 0.05}


def _cpu_s() -> dict[int, tuple[str, float]]:
    found = {}
    for pid, kind in ours().items():
        try:
            times = psutil.Process(pid).cpu_times()
        except psutil.Error:
            continue
        found[pid] = kind, times.user + times.system
    return found
