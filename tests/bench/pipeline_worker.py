"""Runs the stages on the clips that it is told on stdin, one a line, and writes CPU seconds by stage as JSON.

Started by `tests.bench.pipeline`, once for each checkout whose pipeline is measured, on one core. CPU seconds, because
others may work on the machine; nothing here waits for anything.
"""

import hashlib
import json
import os
import sys
import time
from pathlib import Path

import cv2
import torch

from hctdmg.checkpoint import load_checkpoint
from hctdmg.predictor import Predictor
from pipelines.align import align
from pipelines.deadline import Deadline
from pipelines.decode import decode
from pipelines.fetch import fetch
from pipelines.media import MediaConfig
from pipelines.prepare import DEFAULT_EXTRACTORS, make_extractors
from pipelines.segment import parse_segment
from tests.bench.stages import TRANSCRIPT, decode_everything

CHECKPOINT = "hct-dmg-starter"
HEADERS = (("content-type", b"application/json"),)


def main() -> None:
    """Answer each line."""
    os.sched_setaffinity(0, {max(os.sched_getaffinity(0))})
    torch.set_num_threads(1)
    cv2.setNumThreads(1)
    checkpoint = load_checkpoint(CHECKPOINT)
    alignment = checkpoint.manifest.features.alignment
    predictor, extractors = Predictor(checkpoint), make_extractors(DEFAULT_EXTRACTORS)
    for line in sys.stdin:
        path = Path(line.strip())
        config, deadline = MediaConfig(allowed_roots=(str(path.parent),)), Deadline.after(600)
        message = {"stream_id": "s", "segment_id": "s/0", "uri": path.as_uri(), "transcript": TRANSCRIPT}
        value, laps = json.dumps(message).encode(), Laps()
        decode_everything(path.read_bytes())
        laps.end("plain decode")
        segment = parse_segment(value, HEADERS).segment
        laps.end("parse")
        media = fetch(segment, None, config, deadline)
        laps.end("fetch")
        decoded = decode(media, config, deadline)
        laps.end("decode")
        tracks = {}
        for name, extractor in extractors.items():
            tracks[name] = extractor.extract(segment, decoded)
            laps.end(name)
        features = align(tracks, alignment)
        laps.end("align")
        predictor.predict([features])
        laps.end("infer")
        digest = hashlib.sha256(b"".join(features[name].tobytes() for name in sorted(features))).hexdigest()
        answer = {
            "seconds": laps.seconds,
            "num_steps": {name: len(values) for name, values in features.items()},
            "features": digest,
            "num_bytes": {
                "message": len(value),
                "media": len(media),
                "pictures": sum(frame.rgb_HW3.nbytes for frame in decoded.frames),
                "sound": 0 if decoded.audio is None else decoded.audio.nbytes,
                "features": sum(values.nbytes for values in features.values()),
            },
        }
        print(json.dumps(answer), flush=True)


class Laps:
    """CPU seconds of this process from one lap's end to the next."""

    def __init__(self) -> None:
        self.seconds: dict[str, float] = {}
        self._begun_s = time.process_time()

    def end(self, lap: str) -> None:
        """What was done since the last lap was this."""
        self.seconds[lap] = time.process_time() - self._begun_s
        self._begun_s = time.process_time()


if __name__ == "__main__":
    main()
