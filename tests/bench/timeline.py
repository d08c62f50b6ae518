"""Draws the README's picture: the demo's clips, one after the other, as one stream.

    python -m tests.bench.timeline          # writes docs/images/timeline.png

The clips are drawn by the project; the pipeline and the starter checkpoint are the shipped ones.
"""

import sys
import tempfile
from pathlib import Path

from hctdmg.checkpoint import load_checkpoint
from pipelines.events import AffectEvent
from pipelines.submission import submissions
from workers.analyze import Analyst
from workers.clips import draw_clips
from workers.config import Settings
from workers.plot import plot_events

PICTURE = Path(__file__).parent.parent.parent / "docs" / "images" / "timeline.png"


def main() -> int:
    """Draw clips, answer their segments, plot."""
    checkpoint, settings = load_checkpoint("hct-dmg-starter"), Settings()
    manifest, analyst = checkpoint.manifest, Analyst(checkpoint, settings)
    events: list[AffectEvent] = []
    start_s = 0.0
    with tempfile.TemporaryDirectory() as folder:
        for clip in draw_clips(Path(folder)):
            pieces = submissions(
                clip.path, "clips", 5.0, clip.transcript, settings.media, len(events), start_s
            )
            events += [analyst.answer(piece.incoming) for piece in pieces]
            start_s = events[-1].start_s + events[-1].duration_s
    title = f"The demo's clips, read by {manifest.name} {manifest.version}"
    PICTURE.parent.mkdir(parents=True, exist_ok=True)
    plot_events(events, PICTURE, title, manifest.description, manifest.calibration.fused.neutral_zone)
    return 0


if __name__ == "__main__":
    sys.exit(main())
