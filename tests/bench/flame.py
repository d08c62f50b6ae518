"""Where the worker's time goes: a flame graph of all its processes under load, and its largest costs as a list.

    python -m tests.bench.flame        # docs/results/flame.svg, and the list in flame.md

py-spy samples every Python process that the application has started, first for the list, then for the picture, while
extractors work off a backlog of real faces in 720p30. Threads that wait do not count. Time in native code counts for
the line that called it. Needs the test media (HCTDMG_TEST_MEDIA).
"""

import argparse
import os
import re
import subprocess
import sys
import tempfile
from collections.abc import Mapping
from pathlib import Path

from tests.bench.blocks import RESULTS
from tests.bench.delivery import received
from tests.bench.delivery_tables import as_profile
from tests.bench.pipeline import REPO, made_clips
from tests.bench.processes import ours
from tests.bench.whole_worker import whole_worker
from tests.bench.workload import Workload
from tests.kafka_broker import running_kafka

IN_PICTURE = re.compile(
    r"(?P<before><(?:title|text)[^>]*>)process (?P<pid>\d+):[^<]*?(?P<after> \([\d,]+ samples, [\d.]+%\))?(?=<)"
)
IN_STACKS = re.compile(r'(?P<before>)process (?P<pid>\d+):"[^"]*"(?P<after>)')
"""How py-spy names a process: by its number and its command line, which may have several lines."""
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
            stacks = sample("raw", arguments.seconds, Path(folder))
            arguments.out.write_text(sample("flamegraph", arguments.seconds, Path(folder)))
    title = f"`{' '.join(['python -m tests.bench.flame', *sys.argv[1:]])}`: shares of all samples of busy threads.\n"
    listed = title + as_profile(stacks) + "\n"
    arguments.out.with_suffix(".md").write_text(listed)
    print(listed)
    return 0


def sample(form: str, seconds: int, folder: Path) -> str:
    """Of this process and all that it has started, each named by what it is."""
    path, kinds = folder / form, ours()
    command = [str(Path(sys.executable).parent / "py-spy"), "record", "--subprocesses"]
    command += ["--pid", str(os.getpid()), "--rate", str(RATE_HZ), "--duration", str(seconds)]
    subprocess.run([*command, "--format", form, "--output", path], check=True, stdout=subprocess.DEVNULL)
    return named(path.read_text(), kinds | ours())


def named(text: str, kinds: Mapping[int, str]) -> str:
    """Processes by what they are, instead of by their command lines, which name this machine's folders."""

    def kind(found: re.Match[str]) -> str:
        return f"{found['before']}{kinds.get(int(found['pid']), 'other')}{found['after'] or ''}"

    for one in (IN_PICTURE, IN_STACKS):
        text = one.sub(kind, text)
    # The environment first: it may lie in the repository.
    text = re.sub(r" --output \S+(?=<)", "", text)  # a temporary folder, in the picture's heading
    return text.replace(f"{sys.prefix}/", "").replace(f"{REPO}/", "")


if __name__ == "__main__":
    sys.exit(main())
