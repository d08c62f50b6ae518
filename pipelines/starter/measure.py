"""Measures the generator's parameters on clips: `python -m pipelines.starter.measure CLIP... > measured.json`.

The committed `measured.json` comes from s13, bbaf2n, brbk7n, id2_vcd_swwp2s, lwbsza and jfk of the project's test
media. The clips d10, d18 and lbax4n check the result and are kept out here. Training needs no clip.
"""

import dataclasses
import importlib.resources
import json
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from pydantic import TypeAdapter

from pipelines.audio import AudioExtractor
from pipelines.deadline import Deadline
from pipelines.decode import decode
from pipelines.features import Extractor
from pipelines.media import MediaConfig
from pipelines.segment import Segment
from pipelines.starter.process import FloatArray, Process, fit
from pipelines.vision import FRAME_LONGEST_PX, FRAMES_HZ, VisionExtractor

NUM_FACTORS = {"audio": 8, "vision": 4}
"""They hold about three quarters of the standardised variance inside the clips."""
LONGEST_S = 120.0
FEWEST_STEPS = 5


@dataclass(frozen=True)
class Measured:
    """What `measured.json` holds.

    Attributes:
        measured_on: The clips.
        extractors: Name and version of the extractor of each modality; others make other numbers.
        processes: The process of each modality.
    """

    measured_on: tuple[str, ...]
    extractors: dict[str, str]
    processes: dict[str, Process]


def load_measured() -> Measured:
    """The committed parameters."""
    text = (importlib.resources.files("pipelines.starter") / "measured.json").read_bytes()
    return TypeAdapter(Measured).validate_json(text)


def measure(paths: Sequence[Path]) -> Measured:
    """Extract the features of clips and fit the processes."""
    extractors: dict[str, Extractor] = {"audio": AudioExtractor(), "vision": VisionExtractor()}
    sequences: dict[str, list[FloatArray]] = {name: [] for name in extractors}
    for path in paths:
        decoded = decode(
            path.read_bytes(),
            MediaConfig(),
            Deadline.after(LONGEST_S),
            frames_hz=FRAMES_HZ,
            frame_width_px=FRAME_LONGEST_PX,
        )
        for name, extractor in extractors.items():
            track = extractor.extract(Segment(stream_id="measure", segment_id=path.stem), decoded)
            if track.num_steps >= FEWEST_STEPS:
                sequences[name].append(track.values_TD.astype(float))
    return Measured(
        measured_on=tuple(path.name for path in paths),
        extractors={
            name: f"{extractor.contract.extractor} {extractor.contract.version}"
            for name, extractor in extractors.items()
        },
        processes={name: fit(sequences[name], NUM_FACTORS[name]) for name in extractors},
    )


def main(paths: Sequence[str]) -> None:
    """Measure the given clips and write the parameters to standard output."""
    measured = dataclasses.asdict(measure([Path(path) for path in paths]))
    sys.stdout.write(json.dumps(measured, indent=1).replace(",\n     ", ", ").replace("\n    ", " ") + "\n")


if __name__ == "__main__":
    main(sys.argv[1:])
