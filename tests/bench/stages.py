"""Seconds per segment by stage, for one 720p30 H.264 segment of 5 s that shows a real face.

    python -m tests.bench.stages            # prints the table, writes docs/results/stages.json and docs/results.md

Runs the pipeline and the model in one process, without Kafka and Ray, one thread each. A plain decode of every frame is
timed in the same rounds, as the yardstick. Needs the test media (HCTDMG_TEST_MEDIA).
"""

import argparse
import io
import json
import os
import platform
import statistics
import sys
import time
from pathlib import Path

import av
import av.error

REPO = Path(__file__).parent.parent.parent
CLIP = "faces/d18.mp4"
TRANSCRIPT = "I love this place, the people here are wonderful and I would come back any day of the week"
WIDTH_PX, HEIGHT_PX, RATE_HZ, LENGTH_S = 1280, 720, 30, 5.0
PAGE = REPO / "docs" / "results.md"
BEGIN, END = "<!-- stages: written by python -m tests.bench.stages -->", "<!-- end of stages -->"
STAGES = ("fetch", "decode", "extract", "align", "infer")


def main() -> int:
    """Measure, print, write."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--rounds", type=int, default=15)
    arguments = parser.parse_args()
    source = Path(os.environ.get("HCTDMG_TEST_MEDIA", REPO.parent / "shared")) / "media" / CLIP
    if not source.is_file():
        print(f"no test media at {source}: set HCTDMG_TEST_MEDIA", file=sys.stderr)
        return 2
    record = measure(make_segment(source), arguments.rounds)
    table = as_table(record)
    (REPO / "docs" / "results" / "stages.json").write_text(json.dumps(record, indent=1) + "\n")
    before, _, rest = PAGE.read_text().partition(BEGIN)
    PAGE.write_text(f"{before}{BEGIN}\n{table}{END}{rest.partition(END)[2]}")
    print(table)
    return 0


def make_segment(source: Path) -> bytes:
    """The clip's first seconds, repeated if too short, scaled into 720p30 H.264 with its sound as AAC."""
    target = io.BytesIO()
    with av.open(str(source)) as clip, av.open(target, "w", format="mp4") as made:
        video = made.add_stream("libx264", rate=RATE_HZ, options={"preset": "medium", "g": str(RATE_HZ * 2)})
        video.width, video.height, video.pix_fmt = WIDTH_PX, HEIGHT_PX, "yuv420p"
        audio = made.add_stream("aac", rate=48_000)
        pictures = [frame.to_ndarray(format="rgb24") for frame in clip.decode(video=0)]
        clip.seek(0)
        for number in range(int(LENGTH_S * RATE_HZ)):
            at = int(number / RATE_HZ * float(clip.streams.video[0].average_rate or RATE_HZ))
            frame = av.VideoFrame.from_ndarray(pictures[at % len(pictures)], format="rgb24")
            made.mux(video.encode(frame.reformat(width=WIDTH_PX, height=HEIGHT_PX, format="yuv420p")))
        made.mux(video.encode(None))
        for samples in clip.decode(audio=0):
            if samples.time is not None and samples.time < LENGTH_S:
                samples.pts = None
                made.mux(audio.encode(samples))
        made.mux(audio.encode(None))
    return target.getvalue()


def measure(segment: bytes, rounds: int) -> dict[str, object]:
    """Seconds of each stage in each round, the stages and the plain decode in turn."""
    import cv2
    import torch

    from hctdmg.checkpoint import load_checkpoint
    from hctdmg.predictor import Predictor
    from pipelines.deadline import Deadline
    from pipelines.media import MediaConfig
    from pipelines.prepare import Preparer
    from pipelines.segment import IncomingSegment, Segment

    torch.set_num_threads(1)
    cv2.setNumThreads(1)
    checkpoint = load_checkpoint("hct-dmg-starter")
    preparer, predictor = Preparer(checkpoint.manifest.features, MediaConfig()), Predictor(checkpoint)
    fields = Segment(stream_id="bench", segment_id="bench/0", transcript=TRANSCRIPT)
    seconds: dict[str, list[float]] = {stage: [] for stage in (*STAGES, "plain decode")}
    for number in range(rounds + 1):
        begun_s = time.perf_counter()
        num_frames = decode_everything(segment)
        plain_s = time.perf_counter() - begun_s
        prepared = preparer.prepare(IncomingSegment(fields, segment), Deadline.after(600))
        begun_s = time.perf_counter()
        predictor.predict([prepared.features])
        timings_s = {**prepared.timings_s, "infer": time.perf_counter() - begun_s, "plain decode": plain_s}
        if number:  # the first round warms up
            for stage, spent_s in timings_s.items():
                seconds[stage].append(spent_s)
    return {
        "command": "python -m tests.bench.stages",
        "machine": f"{os.cpu_count()} cores, {platform.machine()}, Python {platform.python_version()}",
        "clip": f"{WIDTH_PX}x{HEIGHT_PX}, {RATE_HZ} Hz, {LENGTH_S} s, H.264 and AAC, {len(segment)} bytes, a face",
        "rounds": rounds,
        "num_frames": num_frames,
        "num_steps": {name: len(values) for name, values in prepared.features.items()},
        "seconds": {stage: [round(value, 5) for value in values] for stage, values in seconds.items()},
    }


def decode_everything(segment: bytes) -> int:
    """Decode every frame and sample, convert none: what any video program pays."""
    num_frames = 0
    with av.open(io.BytesIO(segment)) as container:
        for stream in container.streams:
            stream.codec_context.thread_count = 1
        for packet in container.demux():
            try:
                num_frames += sum(isinstance(frame, av.VideoFrame) for frame in packet.decode())
            except av.error.EOFError:
                continue
    return num_frames


def as_table(record: dict[str, object]) -> str:
    """The record as Markdown."""
    seconds = record["seconds"]
    assert isinstance(seconds, dict)
    whole_s = [sum(values) for values in zip(*(seconds[stage] for stage in STAGES), strict=True)]
    rows = [(stage, seconds[stage]) for stage in STAGES] + [
        ("**all stages**", whole_s),
        ("plain decode of every frame", seconds["plain decode"]),
    ]
    whole = statistics.median(whole_s)
    lines = [
        f"One segment: {record['clip']}.",
        f"{record['rounds']} rounds in one process, one thread, {record['machine']}; `{record['command']}`.",
        "",
        "| Stage | Median, s | Least, s | Most, s | Share of all |",
        "|---|---:|---:|---:|---:|",
    ]
    for name, values in rows:
        median = statistics.median(values)
        lines.append(
            f"| {name} | {median:.4f} | {min(values):.4f} | {max(values):.4f} | {100 * median / whole:.1f} % |"
        )
    lines.append("")
    lines.append(f"That is {LENGTH_S / whole:.1f} times real time on one core.")
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    sys.exit(main())
