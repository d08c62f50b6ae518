"""Where the worker's time goes: a flame graph of all its processes under load, and its largest costs as a list.

    python -m tests.bench.flame        # docs/results/flame.svg, and the list

py-spy samples every Python process that the application has started, first for the list, then for the picture, while
extractors work off a backlog of real faces in 720p30. Threads that wait do not count. Time in native code counts for
the line that called it. Needs the test media (HCTDMG_TEST_MEDIA).
"""

import argparse
import os
import subprocess
import sys
import tempfile
from pathlib import Path

from tests.bench.blocks import RESULTS
from tests.bench.delivery import received
from tests.bench.delivery_tables import as_profile
from tests.bench.pipeline import REPO, made_clips
from tests.bench.whole_worker import whole_worker
from tests.bench.workload import Workload
from tests.kafka_broker import running_kafka

RATE_HZ = 100
WARM_UP = 8
SEGMENTS_PER_S = 10
"""More than any two extractors can do, so that there is work until the sampling is over."""


def main() -> int:
    """Run, sample, write."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--seconds", type=int, default=20, help="of each of the two samplings")
    parser.add_argument("--replicas", type=int, default=2, help="of the extractor")
    parser.add_argument("--out", type=Path, default=RESULTS / "flame.svg")
    arguments = parser.parse_args()
    media = Path(os.environ.get("HCTDMG_TEST_MEDIA", REPO.parent / "shared")) / "media" / "faces"
    if not media.is_dir():
        print(f"no test media at {media}: set HCTDMG_TEST_MEDIA", file=sys.stderr)
        return 2
    with running_kafka() as broker, tempfile.TemporaryDirectory() as folder:
        workload = Workload(tuple(made_clips(media, Path(folder)).values()))
        with whole_worker(broker, workload, arguments.replicas, {"flow.drain_timeout_s": 2.0}) as worker:
            workload.send(worker.topics, range(WARM_UP + 2 * arguments.seconds * SEGMENTS_PER_S))
            list(received(worker.reader, WARM_UP))
            stacks = Path(folder) / "stacks.txt"
            sample("raw", arguments.seconds, stacks)
            sample("flamegraph", arguments.seconds, arguments.out)
        print(as_profile(stacks.read_text()))
    return 0


def sample(form: str, seconds: int, path: Path) -> None:
    """Of this process and all that it has started."""
    command = [
        str(Path(sys.executable).parent / "py-spy"),
        "record",
        "--subprocesses",
        "--pid",
        str(os.getpid()),
        "--rate",
        str(RATE_HZ),
    ]
    command += ["--duration", str(seconds), "--format", form, "--output", str(path)]
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL)


if __name__ == "__main__":
    sys.exit(main())
