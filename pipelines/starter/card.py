"""The starter's figures as rows: for the terminal, and between two marks of the model card.

Knows the figures' names and what was wanted. Does not know how any was found.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rich.table import Table

BEGIN, END = "<!-- figures: written by make starter -->", "<!-- end of figures -->"


@dataclass(frozen=True)
class Row:
    """One figure.

    Attributes:
        name: What it is.
        value: Share, correlation or area.
        wanted: What was asked of it; empty when it is only told.
        num_samples: Of the test.
    """

    name: str
    value: float
    wanted: str
    num_samples: int


def rows(figures: Mapping[str, Any]) -> Iterator[Row]:
    """The figures that are shown; the rest are in `docs/results/starter.json`."""
    ratings, plain, pairs = figures["ratings"], figures["plain_sentences"], figures["incongruity"]
    yield Row("r with people's ratings, all sources", ratings["r"], "≥ .60", ratings["n"])
    yield Row("r, tweets", ratings["tweets"]["r"], "≥ .80", ratings["tweets"]["n"])
    for source in ("products", "films", "editorials"):
        yield Row(f"r, {source}", ratings[source]["r"], "", ratings[source]["n"])
    yield Row("sign right on plain sentences", plain["sign_right"], "≥ .80", plain["n"])
    yield Row("those with a negation", plain["sign_right_negated"], "", plain["n"] // 2)
    yield Row("80 % interval covers people's ratings", ratings["coverage_80"], ".75 to .85", ratings["n"])
    for kind, wanted in (("all", ".75 to .85"), ("agreement", ""), ("conflict", "")):
        found = figures["intervals"][kind]
        name = "generated scenes" if kind == "all" else f"generated {kind}"
        yield Row(f"80 % interval covers {name}", found["coverage_80"], wanted, found["n"])
    confidence = ratings["confidence"]
    sure = round(ratings["n"] * confidence["share_confident"])
    yield Row("words read with confidence", confidence["share_confident"], "", ratings["n"])
    yield Row("of these, class right", confidence["share_right_when_confident"], "", sure)
    yield from _pair_rows("clear generated pairs", pairs, "≥ .85")
    yield from _pair_rows("with people's sentences", pairs["with_rated_sentences"], "")


def _pair_rows(kind: str, pairs: Mapping[str, Any], wanted: str) -> Iterator[Row]:
    num_scored = round(pairs["n"] * pairs["share_with_score"])
    yield Row(f"AUROC of incongruity, {kind} that have a score (wiring)", pairs["auroc"], wanted, num_scored)
    yield Row("the same, no score counted as 0", pairs["auroc_null_as_zero"], "", pairs["n"])
    yield Row(f"have a score, {kind}", pairs["share_with_score"], "", pairs["n"])
    yield Row(f"conflicts flagged, {kind}", pairs["flagged_conflicts"], "", pairs["num_conflicts"])
    agreements = pairs["n"] - pairs["num_conflicts"]
    yield Row(f"agreements flagged, {kind}", pairs["flagged_agreements"], "", agreements)


def as_table(figures: Mapping[str, Any], title: str) -> Table:
    """For the terminal."""
    table = Table("figure (test split)", "value", "wanted", "n", title=title)
    for row in rows(figures):
        table.add_row(row.name, f"{row.value:.3f}", row.wanted, str(row.num_samples))
    if "clips" in figures:
        found = "yes" if figures["clips"]["smiling_reads_higher"] else "no"
        table.add_row("smiling stretches of the checking clips read higher", found, "yes", "")
    return table


def as_markdown(figures: Mapping[str, Any]) -> str:
    """For the model card, with its marks."""
    lines = [BEGIN, "", "| Figure (test split) | Value | Wanted | n |", "|---|---|---|---|"]
    lines += [f"| {row.name} | {row.value:.3f} | {row.wanted} | {row.num_samples} |" for row in rows(figures)]
    lines += [f"| {_stretch(*found)} |" for found in _stretches(figures)]
    return "\n".join([*lines, "", END])


def update_card(card: Path, figures: Mapping[str, Any]) -> None:
    """Replace what is between the marks.

    Raises:
        ValueError: The card has no such marks.
    """
    text = card.read_text("utf-8")
    before, begin, rest = text.partition(BEGIN)
    _, end, after = rest.partition(END)
    if not begin or not end:
        raise ValueError(f"{card} has no marks {BEGIN!r} and {END!r} to write the figures between")
    card.write_text(before + as_markdown(figures) + after, "utf-8")


def _stretches(figures: Mapping[str, Any]) -> Iterator[tuple[str, str, Mapping[str, Any]]]:
    for clip, kinds in figures.get("clips", {}).items():
        if isinstance(kinds, dict):
            for kind, stretches in kinds.items():
                for stretch in stretches:
                    yield clip, kind, stretch


def _stretch(clip: str, kind: str, stretch: Mapping[str, Any]) -> str:
    name = f"{clip}, {stretch['from_s']} to {stretch['to_s']} s, {kind}: the face reads"
    wanted = "above the neutral ones" if kind == "smiling" else "below the smiling ones"
    return f"{name} | {stretch['score']:.2f} | {wanted} | 1"
