"""Fits the smile prior: `python -m pipelines.fit_smile_prior CLIP... > pipelines/smile_prior.json`.

The clips must show neutral, speaking faces, one person each. The committed prior was fitted on five of the
project's test clips; d10, d18 and lbax4n are kept for checking it.
"""

import json
import sys
from collections.abc import Sequence
from dataclasses import asdict, replace
from pathlib import Path

import numpy as np

from pipelines.deadline import Deadline
from pipelines.decode import decode
from pipelines.features import FloatArray
from pipelines.media import MediaConfig
from pipelines.smile import SmilePrior
from pipelines.vision import FRAME_LONGEST_PX, FRAMES_HZ, VisionExtractor

LONGEST_S = 60.0


def fit(evidences: Sequence[FloatArray], names: Sequence[str]) -> SmilePrior:
    """Moments of the evidence between and within people, each person counting alike.

    Args:
        evidences: For each clip, (T,) evidence with T at least 1; at least two clips.
        names: Of the clips.
    """
    means = [float(evidence_T.mean()) for evidence_T in evidences]
    within_sd = float(np.sqrt(np.mean([evidence_T.var() for evidence_T in evidences])))
    prior = SmilePrior(float(np.mean(means)), float(np.std(means, ddof=1)), within_sd, 0.0, tuple(names))
    rises = np.concatenate([evidence_T - prior.baseline(evidence_T) for evidence_T in evidences])
    return replace(prior, neutral_rise=float(np.percentile(rises, 95)))


def main(paths: Sequence[str]) -> None:
    """Fit on the given clips and write the prior to standard output."""
    extractor = VisionExtractor()
    evidences = []
    for path in paths:
        deadline = Deadline.after(LONGEST_S)
        media = Path(path).read_bytes()
        decoded = decode(media, MediaConfig(), deadline, frames_hz=FRAMES_HZ, frame_width_px=FRAME_LONGEST_PX)
        evidences.append(extractor.evidence(decoded))
    prior = asdict(fit(evidences, [Path(path).name for path in paths]))
    numbers = {key: round(value, 4) if isinstance(value, float) else value for key, value in prior.items()}
    sys.stdout.write(json.dumps(numbers, indent=2) + "\n")


if __name__ == "__main__":
    main(sys.argv[1:])
