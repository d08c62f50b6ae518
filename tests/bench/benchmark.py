"""The benchmark a user would run before choosing: this worker, a plain loop, Ray Data, another model, side by side.

    python -m tests.bench.benchmark                      # make bench: some 20 minutes on two quiet cores
    python -m tests.bench.benchmark --only worker plain --out /tmp/figures
    python -m tests.bench.benchmark --again latency      # that part anew, in the record that is there
    python -m tests.bench.benchmark --quick --out /tmp/figures           # whether all of it works; figures mean nothing

The contenders take turns: each round measures every one of them once, in another order each time, with one broker
running all along. Latency, the model's backends and the stages come after them. Writes benchmarks.json after each part,
so that what was measured is kept whatever fails; then the pictures, and the tables of docs/results/benchmarks.md.
Needs the test media (HCTDMG_TEST_MEDIA). What each part measures stands in its own file.
"""

import argparse
import json
import os
import platform
import signal
import subprocess
import sys
import tempfile
import time
import traceback
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from types import FrameType
from typing import Any

import psutil
import yaml

from tests.bench import benchmark_page, benchmark_plots
from tests.bench.benchmark_parts import AT_THE_END, IN_TURN, Part, Setup, Sizes
from tests.bench.blocks import RESULTS
from tests.bench.delivery import turned
from tests.bench.pipeline import commit_of, made_clips
from tests.bench.processes import last_cores
from tests.bench.workload import Workload
from tests.kafka_broker import running_kafka

REPO = Path(__file__).parent.parent.parent
FULL = Sizes(
    rounds=3,
    segments=18,
    lots=2,
    lot_size=4,
    loads=(0.2, 0.4, 0.6, 0.8, 0.95),
    load_s=18.0,
    passes=2,
    batches=(1, 8, 32),
    steps=(25, 50, 100),
    model_rounds=5,
    stage_rounds=7,
)
"""So that it takes some 20 minutes on two cores. `segments` is a multiple of the clips', or one kind would weigh more.
Twice 18 s at 95 % are some 100 segments: their 99th percentile is the second longest, and so is the queue's."""
QUICK = Sizes(1, 3, 1, 4, (0.5,), 4.0, 1, (1, 2), (10,), 1, 1)
PART_TIMEOUT_S = 800.0
"""A part that takes longer than twice what any should is given up, and the next one begins."""
Record = dict[str, Any]


def main() -> int:
    """Measure, write."""
    arguments = _parser().parse_args()
    media = Path(os.environ.get("HCTDMG_TEST_MEDIA", REPO.parent / "shared")) / "media" / "faces"
    if not media.is_dir():
        print(f"no test media at {media}: set HCTDMG_TEST_MEDIA", file=sys.stderr)
        return 2
    try:
        last_cores(max(arguments.replicas))
    except ValueError as error:
        print(f"--replicas: {error}", file=sys.stderr)
        return 2
    # Of all processes that are started here; Ray sets the same where a replica has a core or less.
    os.environ["OMP_NUM_THREADS"] = "1"
    arguments.out.mkdir(parents=True, exist_ok=True)
    file = arguments.out / "benchmarks.json"
    only = arguments.again or arguments.only
    if arguments.again and not file.is_file():
        print(f"--again: there is no {file}; measure all first", file=sys.stderr)
        return 2
    record = (
        again(json.loads(file.read_text()), only)
        if arguments.again
        else begin(QUICK if arguments.quick else FULL, arguments.replicas, arguments.set)
    )
    with running_kafka() as broker, tempfile.TemporaryDirectory() as folder:
        clips = made_clips(media, Path(folder))
        settings = {
            name: yaml.safe_load(value)
            for name, _, value in (one.partition("=") for one in record["settings"])
        }
        workload, sizes = Workload(tuple(clips.values())), Sizes(**record["sizes"])
        setup = Setup(broker, workload, sizes, tuple(record["replicas"]), settings)
        run(setup, only, record, file)
    print(benchmark_page.as_text(record))
    benchmark_plots.draw(record, arguments.out)
    if arguments.out.resolve() == RESULTS:
        benchmark_page.write(record)
    return int(bool(record["failed"]))


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m tests.bench.benchmark",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parts = [*IN_TURN, *AT_THE_END]
    parser.add_argument(
        "--only", nargs="+", choices=parts, default=parts, metavar="PART", help=", ".join(parts)
    )
    parser.add_argument(
        "--again",
        nargs="+",
        choices=parts,
        default=[],
        metavar="PART",
        help="measure these anew, as much as before, and keep the others",
    )
    parser.add_argument("--quick", action="store_true", help="as little as possible of each part")
    parser.add_argument("--replicas", nargs="+", type=int, default=[1, 2], help="of the extractor")
    parser.add_argument("--set", action="append", default=[], metavar="GROUP.KEY=VALUE", help="of the worker")
    parser.add_argument("--out", type=Path, default=RESULTS, help="folder")
    return parser


def begin(sizes: Sizes, replicas: Sequence[int], settings: Sequence[str]) -> Record:
    """A record without figures."""
    return {
        "command": " ".join(["python -m tests.bench.benchmark", *sys.argv[1:]]),
        "commit": commit_of(REPO),
        "machine": machine(),
        "date": _now(),
        "load_average": os.getloadavg()[0],
        "sizes": asdict(sizes),
        "replicas": list(replicas),
        "settings": list(settings),
        "minutes": 0.0,
        "failed": [],
        "parts": {},
    }


def again(record: Record, parts: Sequence[str]) -> Record:
    """A record without some of its parts, which are to be measured again; says so."""
    note = {"parts": list(parts), "commit": commit_of(REPO), "date": _now()}
    return {
        **record,
        "again": [*record.get("again", []), note],
        "failed": [one for one in record["failed"] if one["part"] not in parts],
        "parts": {name: found for name, found in record["parts"].items() if name not in parts},
    }


def _now() -> str:
    return time.strftime("%Y-%m-%d %H:%M", time.gmtime())


def machine() -> str:
    """Processor, cores, memory, versions."""
    listed = subprocess.run(["lscpu"], capture_output=True, text=True, check=False).stdout.splitlines()
    names = [line.partition(":")[2].strip() for line in listed if line.startswith("Model name")]
    memory = f"{psutil.virtual_memory().total / 1e9:.0f} GB"
    processor = ", ".join(names) or platform.machine()
    return f"{os.cpu_count()} cores ({processor}), {memory}, Python {platform.python_version()}"


def run(setup: Setup, only: Sequence[str], record: Record, file: Path) -> None:
    """All parts that are wanted; the record is written after each."""
    begun_s = time.monotonic()
    in_turn = [name for name in IN_TURN if name in only]
    planned = [
        (name, IN_TURN[name], number)
        for number in range(setup.sizes.rounds)
        for name in (turned(in_turn, number) if in_turn else ())
    ]
    planned += [(name, part, 0) for name, part in AT_THE_END.items() if name in only]
    for name, part, number in planned:
        print(
            f"{(time.monotonic() - begun_s) / 60:5.1f} min: {name}, round {number + 1}",
            file=sys.stderr,
            flush=True,
        )
        measure(setup, name, part, number, record)
        if "again" not in record:
            record["minutes"] = round((time.monotonic() - begun_s) / 60, 1)
        file.write_text(json.dumps(record, indent=1) + "\n")


def measure(setup: Setup, name: str, part: Part, number: int, record: Record) -> None:
    """One part in one round; one that fails is named, and costs no other its figures."""
    try:
        with at_most(PART_TIMEOUT_S):
            found = part(setup)
    except Exception as error:  # noqa: BLE001 - whatever a contender does
        traceback.print_exc()
        why = f"{type(error).__name__}: {error}".splitlines()[0][:300]
        record["failed"].append({"part": name, "round": number, "why": why})
        return
    record["parts"].setdefault(name, []).append({"round": number, **found})


@contextmanager
def at_most(seconds: float) -> Iterator[None]:
    """Give the body up after some time.

    Raises:
        TimeoutError: It took longer.
    """

    def give_up(number: int, frame: FrameType | None) -> None:  # noqa: ARG001 - as Python calls it
        raise TimeoutError(f"not done within {seconds:g} s")

    before: Callable[[int, FrameType | None], Any] | int | None = signal.signal(signal.SIGALRM, give_up)
    signal.setitimer(signal.ITIMER_REAL, seconds)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)


if __name__ == "__main__":
    sys.exit(main())
