"""The command `hctdmg analyze`: one video through the pipeline and the model, in one process.

The same cutter, preparation, model and event as in the worker, so that both give the same answers. Knows
neither Kafka nor Ray.
"""

import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from rich.console import Console

from hctdmg.checkpoint import Checkpoint, load_checkpoint
from hctdmg.predictor import Predictor
from pipelines.answer import build_event
from pipelines.deadline import Deadline
from pipelines.errors import ConfigError, SegmentError
from pipelines.events import AffectEvent, ModelInfo
from pipelines.media import MediaConfig
from pipelines.prepare import Preparer
from pipelines.segment import IncomingSegment, Transcript
from pipelines.submission import submissions
from workers.config import Settings
from workers.event_table import timeline_table
from workers.output import note, print_json, working

PICTURE_SUFFIXES = (".png", ".svg", ".pdf", ".jpg", ".webp")

Answer = AffectEvent | SegmentError


@dataclass(frozen=True)
class Request:
    """What the user asked for.

    Attributes:
        video: The file.
        stream_id: Of its segments.
        segment_s: Wanted length of a segment.
        transcript: What is said in it, if known.
        checkpoint: Name or folder.
        as_json: Events as JSON lines instead of a table.
        plot: Where to write a picture.
    """

    video: Path
    stream_id: str
    segment_s: float
    transcript: Transcript | str | None
    checkpoint: str
    as_json: bool
    plot: Path | None


class Analyst:
    """Answers segments in this process.

    Args:
        checkpoint: The model and what it demands of features.
        settings: Limits on media and the deadline of a segment.

    Raises:
        ConfigError: The extractors are not those of the checkpoint.
    """

    def __init__(self, checkpoint: Checkpoint, settings: Settings) -> None:
        manifest = checkpoint.manifest
        self._preparer = Preparer(manifest.features, settings.media)
        self._predictor = Predictor(checkpoint)
        self._deadline_s = settings.flow.segment_deadline_s
        self._model = ModelInfo(
            name=manifest.name, version=manifest.version, checkpoint_sha256=checkpoint.sha256, backend="local"
        )

    def answer(self, incoming: IncomingSegment) -> AffectEvent:
        """One segment's event.

        Raises:
            SegmentError: The segment can't be answered.
        """
        prepared = self._preparer.prepare(incoming, Deadline.after(self._deadline_s))
        begun_s = time.perf_counter()
        prediction = self._predictor.predict([prepared.features])[0]
        return build_event(prepared, prediction, self._model, None, time.perf_counter() - begun_s)


def analyze(request: Request) -> int:
    """Run the command.

    Returns:
        The exit status: 2 when part of the video could not be read.

    Raises:
        SegmentError: Nothing of the video could be read.
        ConfigError: The checkpoint does not fit the extractors, or the picture can't be written.
    """
    if request.plot is not None:
        _check_picture(request.plot)
    with working("loading the model"):
        checkpoint = load_checkpoint(request.checkpoint)
        analyst = Analyst(checkpoint, Settings())
    events: list[AffectEvent] = []
    errors: list[SegmentError] = []
    for answer in _answers(request, analyst):
        if isinstance(answer, SegmentError):
            errors.append(answer)
        else:
            events.append(answer)
            if request.as_json:
                print_json(answer.model_dump(mode="json"))
    if errors and not events:
        raise errors[0]
    if not request.as_json:
        console = Console()
        console.print(timeline_table(_title(request, checkpoint), events, console.width))
    if request.plot is not None and events:
        _plot(request, checkpoint, events, request.plot)
    return 2 if errors else 0


def _answers(request: Request, analyst: Analyst) -> Iterator[Answer]:
    """Each segment's event, or why there is none; the errors are told at once."""
    pieces = submissions(
        request.video, request.stream_id, request.segment_s, request.transcript, MediaConfig()
    )
    with working(f"cutting {request.video.name}") as say:
        for piece in pieces:
            start_s = piece.segment.start_s
            say(f"{request.video.name}: from {start_s:.4g} s")
            if piece.cut.warning:
                note(f"warning: {request.video.name}: {piece.cut.warning}")
            try:
                yield analyst.answer(piece.incoming)
            except SegmentError as error:
                note(f"warning: {piece.segment.segment_id} (from {start_s:.4g} s) is left out: {error}")
                yield error


def _title(request: Request, checkpoint: Checkpoint) -> str:
    manifest = checkpoint.manifest
    return f"{request.video.name}, read by {manifest.name} {manifest.version}"


def _check_picture(path: Path) -> None:
    """Find out before the work, not after it, that its picture has nowhere to go."""
    if not path.absolute().parent.is_dir():
        raise ConfigError(f"--plot {path}: there is no folder {path.parent}; make it first")
    if path.suffix not in PICTURE_SUFFIXES:
        raise ConfigError(f"--plot {path}: not a kind of picture; end it in {', '.join(PICTURE_SUFFIXES)}")


def _plot(request: Request, checkpoint: Checkpoint, events: list[AffectEvent], path: Path) -> None:
    from workers.plot import plot_events  # late: matplotlib takes a second

    manifest = checkpoint.manifest
    is_regression = not manifest.model.labels
    plot_events(
        events,
        path,
        title=_title(request, checkpoint),
        note=manifest.description,
        neutral_zone=manifest.calibration.fused.neutral_zone if is_regression else None,
    )
    note(f"wrote {path}")
