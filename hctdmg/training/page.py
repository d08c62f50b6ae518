"""A report as one HTML file that needs nothing else: tables, pictures as data, no script, no link.

Knows pages. Does not know what is reported.
"""

import base64
import functools
import io
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import jinja2
import matplotlib
from matplotlib.figure import Figure

Cell = str | int | float | None

TEMPLATE = Path(__file__).with_name("page.html")


@dataclass(frozen=True)
class Table:
    """A table.

    Attributes:
        columns: Their headings.
        rows: As many cells each; a float is shown with four significant digits, None as a hyphen.
        caption: Above it.
    """

    columns: Sequence[str]
    rows: Sequence[Sequence[Cell]]
    caption: str = ""


@dataclass(frozen=True)
class Picture:
    """A drawing.

    Attributes:
        svg: From `svg_of`.
        caption: Below it.
    """

    svg: bytes
    caption: str

    @property
    def data_uri(self) -> str:
        """The drawing itself as an address; as an image its names can't clash with another drawing's."""
        return "data:image/svg+xml;base64," + base64.b64encode(self.svg).decode()


@dataclass(frozen=True)
class Section:
    """A part of a page: its text, then its tables, then its pictures."""

    heading: str
    paragraphs: Sequence[str] = ()
    tables: Sequence[Table] = ()
    pictures: Sequence[Picture] = ()


@dataclass(frozen=True)
class Page:
    """A report."""

    title: str
    sections: Sequence[Section]


def settings_table(settings: Mapping[str, Any], caption: str = "") -> Table:
    """Names and values, whatever they are; nested ones by their path."""
    return Table(("setting", "value"), [*_flat(settings)], caption)


def svg_of(figure: Figure) -> bytes:
    """A matplotlib figure as SVG; equal figures give equal bytes."""
    buffer = io.BytesIO()
    with matplotlib.rc_context({"svg.hashsalt": "hctdmg"}):
        figure.savefig(buffer, format="svg", bbox_inches="tight", metadata={"Date": None})
    return buffer.getvalue()


def write_page(path: Path, page: Page) -> None:
    """Write a page; its folder is made if needed."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(_template().render(page=page), encoding="utf-8")


@functools.cache
def _template() -> jinja2.Template:
    environment = jinja2.Environment(autoescape=True, undefined=jinja2.StrictUndefined)
    environment.filters["cell"] = _show
    return environment.from_string(TEMPLATE.read_text(encoding="utf-8"))


def _show(cell: Cell) -> str:
    if cell is None:
        return "-"
    return f"{cell:.4g}" if isinstance(cell, float) else str(cell)


def _flat(settings: Mapping[str, Any], prefix: str = "") -> list[tuple[str, str]]:
    rows: list[tuple[str, str]] = []
    for name, value in settings.items():
        if isinstance(value, Mapping) and value:
            rows += _flat(value, f"{prefix}{name}.")
        else:
            rows.append((f"{prefix}{name}", str(value)))
    return rows
