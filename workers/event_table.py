"""Affect events as rows of a table for people: a score as a bar, a status in words.

Knows events and Rich. Does not know where events come from.
"""

from collections.abc import Sequence

from rich import box
from rich.console import RenderableType
from rich.table import Table
from rich.text import Text

from pipelines.events import AffectEvent, Incongruity, Reading, Sentiment

BAR_CELLS = 9
"""Odd, so that there is a middle for zero; few, so that a row fits into 80 columns."""
MAX_SCORE = 3.0
NARROW_COLUMNS = 100
"""A terminal with fewer leaves out the timeline's interval (the bar shows it) and confidences."""

LABEL_STYLES = {"positive": "green", "negative": "red", "neutral": "yellow"}
STATUS_STYLES = {"congruent": "green", "incongruent": "bold magenta", "insufficient_evidence": "dim"}


def timeline_table(title: str, events: Sequence[AffectEvent], columns: int) -> Table:
    """One video's events, one row a segment.

    Args:
        title: Above the table.
        events: In the order of time.
        columns: Width of the terminal.
    """
    is_wide = columns >= NARROW_COLUMNS
    modalities = list(events[0].modalities) if events else []
    interval = ("80 %",) if is_wide else ()
    table = _table(title, ("time", "label", "score", *interval, "primary", *modalities, "incongruity"))
    for event in events:
        table.add_row(*_timeline_row(event, is_wide))
    return table


def _timeline_row(event: AffectEvent, is_wide: bool) -> list[RenderableType]:
    readings = event.incongruity.readings
    return [
        f"{event.start_s:.4g}-{event.start_s + event.duration_s:.4g} s",
        label_text(event),
        score_bar(event.affect.sentiment),
        *([interval_text(event.affect.sentiment)] if is_wide else []),
        primary_of(event),
        *(reading_text(readings.get(name), is_wide) for name in event.modalities),
        incongruity_text(event.incongruity),
    ]


def stream_table(title: str, seconds: str) -> Table:
    """An empty table for `stream_row`.

    Args:
        title: Above the table.
        seconds: What the rows' seconds are.
    """
    return _table(title, ("stream", "segment", "label", "score", "primary", seconds, "incongruity"))


def stream_row(event: AffectEvent, seconds: float) -> list[RenderableType]:
    """One event of many streams."""
    return [
        event.stream_id,
        event.segment_id.removeprefix(f"{event.stream_id}/"),
        label_text(event),
        score_bar(event.affect.sentiment),
        primary_of(event),
        f"{seconds:.2f} s",
        incongruity_text(event.incongruity),
    ]


def _table(title: str, names: Sequence[str]) -> Table:
    table = Table(
        title=title,
        title_justify="left",
        title_style="bold",
        box=box.SIMPLE_HEAD,
        padding=(0, 1, 0, 0),
        pad_edge=False,
    )
    for name in names:
        # Only long names and explanations may take a second line.
        table.add_column(name, no_wrap=name not in ("stream", "segment", "incongruity"))
    return table


def label_text(event: AffectEvent) -> Text:
    """The label in its colour; an emotion with its probability."""
    label = event.affect.label
    if label is None:
        return Text("nothing", "dim")
    emotions = event.affect.emotions
    return Text(f"{label} {emotions[label]:.0%}" if emotions else label, LABEL_STYLES.get(label, "cyan"))


def score_bar(sentiment: Sentiment | None) -> Text:
    """The score as a bar from the middle of [-3, 3], its interval as a line, and the number."""
    if sentiment is None:
        return Text("")
    bar = Text()
    style = "green" if sentiment.score > 0 else "red"
    half = MAX_SCORE / (BAR_CELLS - 1)
    for cell in range(BAR_CELLS):
        at = (cell - BAR_CELLS // 2) * 2 * half
        if at == 0:
            bar.append("│", "bold")
        elif min(0.0, sentiment.score) <= at <= max(0.0, sentiment.score) or abs(at - sentiment.score) < half:
            bar.append("█", style)
        elif sentiment.lower <= at <= sentiment.upper:
            bar.append("─", style)
        else:
            bar.append("·", "dim")
    return bar.append(f" {sentiment.score:+.1f}", style)


def interval_text(sentiment: Sentiment | None) -> str:
    """The 80 % interval."""
    return "" if sentiment is None else f"{sentiment.lower:+.1f}..{sentiment.upper:+.1f}"


def incongruity_text(incongruity: Incongruity) -> Text:
    """The status; when incongruent, which two modalities, and how far apart."""
    words = incongruity.status.replace("_", " ")
    if incongruity.pair is not None and incongruity.score is not None:
        words += f" {incongruity.score:.2f}, {' vs '.join(incongruity.pair)}"
    return Text(words, STATUS_STYLES[incongruity.status])


def primary_of(event: AffectEvent) -> str:
    """The modality at the top of the hierarchy."""
    return next((name for name, report in event.modalities.items() if report.role == "primary"), "none")


def reading_text(reading: Reading | None, with_confidence: bool) -> Text:
    """One modality's own reading, faint when it is as likely wrong as right."""
    if reading is None:
        return Text("-", "dim")
    confidence = f" {reading.confidence:.0%}" if with_confidence else ""
    said = f"{reading.score:+.1f}" if reading.score is not None else reading.label
    return Text(f"{said}{confidence}", "" if reading.confidence >= 0.5 else "dim")
