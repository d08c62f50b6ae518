"""A picture of one video's events: the score, its interval, each modality's reading, where they contradict.

Knows events and matplotlib. Does not know where events come from.
"""

import textwrap
from collections.abc import Sequence
from itertools import groupby
from pathlib import Path

import matplotlib as mpl

mpl.use("Agg")  # no display needed, nor looked for

import matplotlib.pyplot as plt
from matplotlib.axes import Axes
from matplotlib.lines import Line2D
from matplotlib.patches import Patch

from pipelines.errors import ConfigError
from pipelines.events import AffectEvent

INK, FAINT = "#22262b", "#8a929c"
SCORE_COLOUR = "#2f5d8a"
CONFLICT_COLOUR = "#c2408c"
MODALITY_COLOURS = ("#d9822b", "#4c9f70", "#7a5fb5", "#8c6d46")
MODALITY_MARKERS = ("o", "s", "D", "^")
"""Shape as well as colour, so that the picture survives grey printing and colour blindness."""

NARROWEST_LABELLED = 0.06
"""Share of the time axis below which a shaded span has no room for its label."""

NOTE_CHARACTERS = 150
"""In one line of small print, as wide as the picture."""

Span = tuple[float, float]


def plot_events(
    events: Sequence[AffectEvent], path: Path, title: str, note: str, neutral_zone: float | None
) -> None:
    """Write the picture; its format is the file name's ending.

    Args:
        events: In the order of time; at least one.
        path: Where to write, for example "timeline.png".
        title: Above the picture.
        note: Below the title, in small print.
        neutral_zone: Scores this close to zero are neutral; None leaves the zone out.

    Raises:
        ConfigError: The file can't be written, or its ending is no picture format.
    """
    figure, axes = plt.subplots(figsize=(11, 5.2), dpi=130, layout="constrained")
    try:
        _conflicts(axes, events)
        _scores(axes, events)
        modalities = list(events[0].modalities)
        for index, name in enumerate(modalities):
            _readings(axes, events, name, index, len(modalities))
        _frame(axes, events, neutral_zone)
        _words(axes, title, note, modalities)
        figure.savefig(path)
    except (OSError, ValueError) as error:
        raise ConfigError(f"{path}: the picture can't be written: {error}") from None
    finally:
        plt.close(figure)


def _span(event: AffectEvent) -> Span:
    return event.start_s, event.start_s + event.duration_s


def _conflicts(axes: Axes, events: Sequence[AffectEvent]) -> None:
    length_s = _span(events[-1])[1] - events[0].start_s
    for pair, flagged in groupby(events, key=lambda event: event.incongruity.pair):
        if pair is None:
            continue
        neighbours = list(flagged)
        start_s, end_s = neighbours[0].start_s, _span(neighbours[-1])[1]
        axes.axvspan(start_s, end_s, color=CONFLICT_COLOUR, alpha=0.13, linewidth=0, zorder=0)
        if end_s - start_s > NARROWEST_LABELLED * length_s:
            middle_s = (start_s + end_s) / 2
            axes.text(
                middle_s, 3.28, " vs ".join(pair), color=CONFLICT_COLOUR, ha="center", va="center", fontsize=8
            )


def _scores(axes: Axes, events: Sequence[AffectEvent]) -> None:
    """A step for each segment, because a segment has one score; a thin line joins neighbours."""
    previous: tuple[float, float] | None = None
    for event in events:
        sentiment = event.affect.sentiment
        start_s, end_s = _span(event)
        if sentiment is None:
            previous = None
            continue
        axes.fill_between(
            [start_s, end_s], sentiment.lower, sentiment.upper, color=SCORE_COLOUR, alpha=0.16, linewidth=0
        )
        if previous is not None:
            axes.plot(
                [previous[0], start_s], [previous[1], sentiment.score], color=SCORE_COLOUR, lw=0.9, alpha=0.5
            )
        axes.plot(
            [start_s, end_s],
            [sentiment.score] * 2,
            color=SCORE_COLOUR,
            lw=2.6,
            solid_capstyle="butt",
            zorder=4,
        )
        previous = end_s, sentiment.score


def _readings(axes: Axes, events: Sequence[AffectEvent], name: str, index: int, num_modalities: int) -> None:
    """A point in each segment that has a reading; the points of the modalities stand side by side."""
    colour = MODALITY_COLOURS[index % len(MODALITY_COLOURS)]
    share = (index + 1) / (num_modalities + 1)
    for event in events:
        reading = event.incongruity.readings.get(name)
        if reading is None or reading.score is None:
            continue
        axes.scatter(
            event.start_s + share * event.duration_s,
            reading.score,
            s=14 + 130 * reading.confidence**2,
            marker=MODALITY_MARKERS[index % len(MODALITY_MARKERS)],
            color=colour,
            alpha=0.25 + 0.7 * reading.confidence,
            edgecolors="white",
            linewidths=0.8,
            zorder=5,
        )


def _frame(axes: Axes, events: Sequence[AffectEvent], neutral_zone: float | None) -> None:
    if neutral_zone is not None:
        axes.axhspan(-neutral_zone, neutral_zone, color=FAINT, alpha=0.10, linewidth=0, zorder=-1)
    axes.axhline(0, color=FAINT, lw=0.8, zorder=1)
    axes.set_xlim(_span(events[0])[0], max(_span(event)[1] for event in events))
    axes.set_ylim(-3.1, 3.5)
    axes.set_yticks(range(-3, 4), ["-3 negative", "-2", "-1", "0 neutral", "1", "2", "3 positive"])
    axes.set_xlabel("time (s)", color=INK)
    axes.set_ylabel("sentiment", color=INK)
    axes.tick_params(colors=INK, length=3)
    axes.grid(axis="y", color=FAINT, alpha=0.18, lw=0.7)
    for side in ("top", "right"):
        axes.spines[side].set_visible(False)
    for side in ("left", "bottom"):
        axes.spines[side].set_color(FAINT)


def _words(axes: Axes, title: str, note: str, modalities: Sequence[str]) -> None:
    lines = textwrap.wrap(note, NOTE_CHARACTERS)
    axes.set_title(title, loc="left", fontsize=13, color=INK, pad=10 + 11 * len(lines), fontweight="bold")
    axes.text(
        0, 1.02, "\n".join(lines), transform=axes.transAxes, fontsize=8.5, color=FAINT, va="bottom"
    ).set_in_layout(False)
    handles: list[Line2D | Patch] = [
        Line2D([], [], color=SCORE_COLOUR, lw=2.6, label="score"),
        Patch(color=SCORE_COLOUR, alpha=0.16, label="80 % interval"),
    ]
    for index, name in enumerate(modalities):
        colour = MODALITY_COLOURS[index % len(MODALITY_COLOURS)]
        marker = MODALITY_MARKERS[index % len(MODALITY_MARKERS)]
        handles.append(
            Line2D([], [], color=colour, marker=marker, ls="", ms=8, mec="white", label=f"{name} alone")
        )
    handles.append(Patch(color=CONFLICT_COLOUR, alpha=0.13, label="incongruent"))
    axes.legend(
        handles=handles,
        loc="upper center",
        bbox_to_anchor=(0.5, -0.13),
        ncols=len(handles),
        frameon=False,
        fontsize=9,
        title="larger mark = more confident",
        title_fontsize=8,
    )
