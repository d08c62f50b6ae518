"""What a segment costs beside a plain decode of it: ratios, on one core, of real faces in 720p30 H.264.

    python -m tests.bench.pipeline --against ../other-checkout     # this pipeline and another one's, in turn
    python -m tests.bench.pipeline --application 300               # and what delivery adds, on a real Kafka and Ray

Each checkout works in a process of its own; in each round each takes every clip once, in another order each time. A
ratio is taken within a round, so that what slows the machine slows both of its sides. Writes
docs/results/pipeline.json and a section of docs/results.md. Needs the test media (HCTDMG_TEST_MEDIA).
"""

import argparse
import json
import os
import platform
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

from tests.bench.stages import make_segment

REPO = Path(__file__).parent.parent.parent
WORKER = Path(__file__).parent / "pipeline_worker.py"
PAGE, RESULT = REPO / "docs" / "results.md", REPO / "docs" / "results" / "pipeline.json"
BEGIN, END = "<!-- pipeline: written by python -m tests.bench.pipeline -->", "<!-- end of pipeline -->"
CLIPS = {
    "d10": "speech, a face that fills a third of the height",
    "d18": "a silent track, a still camera",
    "bbaf2n": "speech for 3 s, repeated pictures",
}
EXTRACT = ("text", "audio", "vision", "align")
Rounds = list[dict[str, float]]


def main() -> int:
    """Measure, print, write."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--rounds", type=int, default=15)
    parser.add_argument("--against", type=Path, help="another checkout")
    parser.add_argument("--application", type=int, default=0, metavar="N", help="cheap segments for delivery")
    arguments = parser.parse_args()
    media = Path(os.environ.get("HCTDMG_TEST_MEDIA", REPO.parent / "shared")) / "media" / "faces"
    if not media.is_dir():
        print(f"no test media at {media}: set HCTDMG_TEST_MEDIA", file=sys.stderr)
        return 2
    checkouts = {"here": REPO} | ({"before": arguments.against.resolve()} if arguments.against else {})
    with tempfile.TemporaryDirectory() as folder:
        clips = made_clips(media, Path(folder))
        record = {
            "command": f"python -m tests.bench.pipeline --rounds {arguments.rounds}"
            + (" --against CHECKOUT" if arguments.against else "")
            + (f" --application {arguments.application}" if arguments.application else ""),
            "machine": f"{os.cpu_count()} cores, {platform.machine()}, Python {platform.python_version()}",
            "date": time.strftime("%Y-%m-%d", time.gmtime()),
            "before": commit_of(checkouts["before"]) if arguments.against else None,
            "clips": {name: clip.stat().st_size for name, clip in clips.items()},
            **measure(checkouts, clips, arguments.rounds),
        }
    if arguments.application:
        record["delivery_ms"] = delivery_ms(arguments.application)
    RESULT.write_text(json.dumps(record, indent=1) + "\n")
    write_page(record)
    print(as_tables(record))
    return 0


def made_clips(media: Path, folder: Path) -> dict[str, Path]:
    """Each face as a 720p30 segment of 5 s."""
    clips = {}
    for name in CLIPS:
        (source,) = media.glob(f"{name}.*")
        clips[name] = folder / f"{name}.mp4"
        clips[name].write_bytes(make_segment(source))
    return clips


def commit_of(checkout: Path) -> str:
    """The checkout's commit."""
    command = ["git", "-C", str(checkout), "rev-parse", "--short", "HEAD"]
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()


def measure(checkouts: dict[str, Path], clips: dict[str, Path], num_rounds: int) -> dict[str, Any]:
    """CPU seconds by stage of each round, clip and checkout; the first round warms up."""
    seconds: dict[str, dict[str, Rounds]] = {name: {clip: [] for clip in clips} for name in checkouts}
    features: dict[str, dict[str, set[str]]] = {name: {clip: set() for clip in clips} for name in checkouts}
    steps: dict[str, dict[str, int]] = {}
    with ExitStack() as stack:
        workers = {name: stack.enter_context(worker(path)) for name, path in checkouts.items()}
        for number in range(num_rounds + 1):
            for clip, path in clips.items():
                for name in list(workers)[:: 1 if number % 2 else -1]:
                    found = ask(workers[name], path)
                    features[name][clip].add(found["features"])
                    steps[clip] = found["num_steps"]
                    if number:
                        spent = {stage: round(spent_s, 6) for stage, spent_s in found["seconds"].items()}
                        seconds[name][clip].append(spent)
    same = {clip: all(features[name][clip] == features["here"][clip] for name in checkouts) for clip in clips}
    return {"num_steps": steps, "features_identical": same, "seconds": seconds}


@contextmanager
def worker(checkout: Path) -> "Iterator[subprocess.Popen[str]]":
    """A process that runs a checkout's pipeline."""
    environment = {**os.environ, "PYTHONPATH": str(checkout), "OMP_NUM_THREADS": "1", "MKL_NUM_THREADS": "1"}
    process = subprocess.Popen(
        [sys.executable, str(WORKER)],
        cwd=checkout,
        env=environment,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    try:
        yield process
    finally:
        process.communicate()


def ask(process: "subprocess.Popen[str]", clip: Path) -> dict[str, Any]:
    """One segment through all stages."""
    assert process.stdin is not None
    assert process.stdout is not None
    process.stdin.write(f"{clip}\n")
    process.stdin.flush()
    line = process.stdout.readline()
    if not line:
        raise RuntimeError("the worker has died: see its traceback above")
    answer: dict[str, Any] = json.loads(line)
    return answer


def delivery_ms(num_segments: int) -> dict[str, float]:
    """CPU a segment by kind of process, of the whole application with segments that cost next to nothing.

    What the same segments cost without any delivery is subtracted as "own work".
    """
    from tests.bench.delivery import run_application
    from tests.kafka_broker import running_kafka

    with running_kafka() as broker:
        spent: dict[str, float] = run_application(broker, "exactly_once", num_segments)["cpu_ms"]
    return {name: round(value, 2) for name, value in spent.items()} | {"own work": -round(tone_ms(), 2)}


def tone_ms(num_segments: int = 50) -> float:
    """CPU of preparing and judging one of those segments."""
    from hctdmg.checkpoint import load_checkpoint
    from hctdmg.predictor import Predictor
    from pipelines.deadline import Deadline
    from pipelines.media import MediaConfig
    from pipelines.prepare import Preparer
    from pipelines.segment import IncomingSegment, Segment
    from tests.checkpoints import save_random_checkpoint
    from tests.segments import TONE

    with tempfile.TemporaryDirectory() as folder:
        checkpoint = load_checkpoint(str(save_random_checkpoint(Path(folder) / "checkpoint")))
        preparer = Preparer(checkpoint.manifest.features, MediaConfig())
        predictor = Predictor(checkpoint)
        incoming = IncomingSegment(Segment(stream_id="s", segment_id="s/0"), TONE)
        spent_ms = []
        for _ in range(num_segments):
            begun_s = time.process_time()
            predictor.predict([preparer.prepare(incoming, Deadline.after(60)).features])
            spent_ms.append(1000 * (time.process_time() - begun_s))
    return statistics.median(spent_ms)


def work_s(one: dict[str, float]) -> float:
    """Decode, extract and infer."""
    return one["decode"] + extract_s(one) + one["infer"]


def extract_s(one: dict[str, float]) -> float:
    """All three modalities, and alignment."""
    return sum(one[stage] for stage in EXTRACT)


def ratios(rounds: Rounds) -> dict[str, list[float]]:
    """Of each round."""
    return {
        "decode": [one["decode"] / one["plain decode"] for one in rounds],
        "extract": [extract_s(one) / one["plain decode"] for one in rounds],
    }


def spread(values: Sequence[float]) -> str:
    """Median and quartiles."""
    low, middle, high = statistics.quantiles(values, n=4)
    return f"{middle:.2f} ({low:.2f} to {high:.2f})"


def as_tables(record: dict[str, Any]) -> str:
    """The record as Markdown."""
    here, before = record["seconds"]["here"], record["seconds"].get("before")
    number = len(next(iter(here.values())))
    lines = [
        f"{number} rounds, one core, one thread, CPU time, {record['machine']}; `{record['command']}`.",
        "Medians and quartiles of ratios to a plain full decode in the same round."
        + (f" *Before* is {record['before']}, measured in turn." if before else ""),
        "",
        "| 720p30, 5 s | Decode (at most 0.8) | before | Extract and align (at most 0.7) | before | Features |",
        "|---|---:|---:|---:|---:|---|",
    ]
    for clip, what in CLIPS.items():
        now = ratios(here[clip])
        then = ratios(before[clip]) if before else None
        cells = [
            f"{spread(now[kind])} | {spread(then[kind]) if then else ''}" for kind in ("decode", "extract")
        ]
        same = "" if not before else "identical" if record["features_identical"][clip] else "**other**"
        lines.append(f"| {clip}: {what} | {' | '.join(cells)} | {same} |")
    lines += ["", "| Milliseconds of CPU, median | " + " | ".join(here) + " |", "|---|" + "---:|" * len(here)]
    for stage in ("plain decode", "parse", "fetch", "decode", *EXTRACT, "infer"):
        medians = [1000 * statistics.median(one[stage] for one in rounds) for rounds in here.values()]
        lines.append(f"| {stage} | " + " | ".join(f"{value:.2f}" for value in medians) + " |")
    return "\n".join([*lines, "", *delivery_lines(record)]) + "\n"


def delivery_lines(record: dict[str, Any]) -> list[str]:
    """What is not decoding, extraction or the model."""
    if "delivery_ms" not in record:
        return []
    here = record["seconds"]["here"]
    rest_ms = {
        clip: sum(record["delivery_ms"].values())
        + 1000 * statistics.median(one["parse"] + one["fetch"] for one in rounds)
        for clip, rounds in here.items()
    }
    shares = [
        rest_ms[clip] / (1000 * statistics.median(map(work_s, rounds))) for clip, rounds in here.items()
    ]
    parts = ", ".join(f"{name} {value:.1f}" for name, value in record["delivery_ms"].items())
    least_ms, most_ms = min(rest_ms.values()), max(rest_ms.values())
    shown = f"{100 * min(shares):.1f} to {100 * max(shares):.1f} % of decode, extract and infer (at most 5 %)"
    processes = f"Of it delivery, by process of the whole application on a real Kafka, ms of CPU: {parts}."
    return [f"Everything else: {least_ms:.1f} to {most_ms:.1f} ms a segment, {shown}. {processes}"]


def write_page(record: dict[str, Any]) -> None:
    """The section of docs/results.md."""
    before, _, rest = PAGE.read_text().partition(BEGIN)
    PAGE.write_text(f"{before}{BEGIN}\n{as_tables(record)}{END}{rest.partition(END)[2]}")


if __name__ == "__main__":
    sys.exit(main())
