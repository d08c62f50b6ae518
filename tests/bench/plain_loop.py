"""A segment's work in a plain loop, without Kafka and Ray, one process on each core; and decoding alone.

    python -m tests.bench.plain_loop '{"clips": ["/clips/d10.mp4"], "core": 1, "work": "all", "numbers": [0, 9]}'

That is one process: it loads what it needs, works off one segment, says that it is ready, waits for a line, works off
its numbers. `plain_loop` starts one for each core. Knows the pipeline. Does not know who it is compared with.
"""

import json
import os
import subprocess
import sys
import time
from collections.abc import Callable
from contextlib import ExitStack
from datetime import UTC, datetime
from pathlib import Path
from typing import Literal

from tests.bench.delivery import told
from tests.bench.processes import last_cores
from tests.bench.workload import HEADERS, Workload

Work = Literal["decode", "all"]
CHECKPOINT = "hct-dmg-starter"


def plain_loop(workload: Workload, work: Work, num_processes: int, num_each: int) -> float:
    """Segments a second of all processes together: the sum of what each does in its own time."""
    with ExitStack() as stack:
        processes = []
        for place, core in enumerate(last_cores(num_processes)):
            task = {
                "clips": [str(clip) for clip in workload.clips],
                "core": core,
                "work": work,
                "numbers": [place * num_each, (place + 1) * num_each],
            }
            command = [sys.executable, "-m", "tests.bench.plain_loop", json.dumps(task)]
            process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
            stack.callback(process.communicate)
            processes.append(process)
        for process in processes:
            told(process, "ready")
        for process in processes:
            assert process.stdin is not None
            process.stdin.write("go\n")
            process.stdin.flush()
        return sum(num_each / float(told(process, "done")["seconds"]) for process in processes)


def main() -> None:
    """One process."""
    task = json.loads(sys.argv[1])
    os.sched_setaffinity(0, {task["core"]})
    workload = Workload(tuple(map(Path, task["clips"])))
    do = {"decode": decoding, "all": answering}[task["work"]](workload.folder)
    do(workload.value(0))
    print(json.dumps({"event": "ready"}), flush=True)
    sys.stdin.readline()
    begun_s = time.perf_counter()
    for number in range(*task["numbers"]):
        do(workload.value(number))
    print(json.dumps({"event": "done", "seconds": time.perf_counter() - begun_s}), flush=True)


def decoding(folder: Path) -> Callable[[bytes], object]:
    """From a message to sound and pictures, as the pipeline decodes them."""
    from pipelines.deadline import Deadline
    from pipelines.decode import decode
    from pipelines.fetch import fetch
    from pipelines.media import MediaConfig
    from pipelines.segment import parse_segment

    config = MediaConfig(allowed_roots=(str(folder),))

    def do(value: bytes) -> object:
        deadline = Deadline.after(600)
        return decode(fetch(parse_segment(value, HEADERS).segment, None, config, deadline), config, deadline)

    return do


def answering(folder: Path) -> Callable[[bytes], bytes]:
    """From a message to its event's message: everything but delivery."""
    import cv2
    import torch

    from hctdmg.checkpoint import load_checkpoint
    from pipelines.media import MediaConfig
    from pipelines.segment import parse_segment
    from workers.analyze import Analyst
    from workers.config import Settings
    from workers.messages import event_answer

    torch.set_num_threads(1)
    cv2.setNumThreads(1)
    settings = Settings(media=MediaConfig(allowed_roots=(str(folder),)))
    analyst = Analyst(load_checkpoint(CHECKPOINT), settings)

    def do(value: bytes) -> bytes:
        event = analyst.answer(parse_segment(value, HEADERS))
        answer = event_answer(event, datetime.now(UTC), None).value
        assert answer is not None
        return answer

    return do


if __name__ == "__main__":
    main()
