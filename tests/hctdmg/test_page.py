import base64
from html.parser import HTMLParser
from pathlib import Path

from matplotlib.figure import Figure

from hctdmg.training.page import Page, Picture, Section, Table, settings_table, svg_of, write_page


class Links(HTMLParser):
    """Everything that a browser would fetch or follow, and everything that it would run."""

    def __init__(self) -> None:
        super().__init__()
        self.found: list[str] = []
        self.text: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        if tag in ("script", "link", "iframe", "object", "embed", "base"):
            self.found.append(tag)
        for name, value in attrs:
            is_address = name in ("src", "href", "srcset", "action", "data", "poster") or name.startswith(
                "on"
            )
            if is_address and not (value or "").startswith("data:"):
                self.found.append(f"{name}={value}")

    def handle_data(self, data: str) -> None:
        self.text.append(data.strip())


def read_page(path: Path) -> Links:
    """The page's text and what it would fetch."""
    text, links = path.read_text("utf-8"), Links()
    links.feed(text)
    assert "url(" not in text
    assert "@import" not in text
    return links


def drawing() -> Figure:
    figure = Figure((3, 2))
    figure.subplots().plot([1, 2, 3], [2, 1, 3], label="a <line>")
    return figure


def test_a_page_needs_nothing_else_and_shows_all(tmp_path: Path) -> None:
    table = Table(("name", "value"), [("r", 0.123456), ("n", 12_345), ("none", None)], "A caption")
    hostile = '<script src="http://example.org/x.js"></script>'
    section = Section(
        f"Heading {hostile}",
        [f"Text {hostile}"],
        [table, settings_table({"a": {"b": hostile}})],
        [Picture(svg_of(drawing()), f"Caption {hostile}")],
    )
    write_page(tmp_path / "deep" / "page.html", Page(f"Title {hostile}", [section]))
    links = read_page(tmp_path / "deep" / "page.html")
    assert links.found == []
    assert {f"Title {hostile}", f"Heading {hostile}", f"Text {hostile}", hostile} <= set(links.text)
    assert {"0.1235", "12345", "-", "A caption", "a.b", f"Caption {hostile}"} <= set(links.text)


def test_a_drawing_is_the_same_bytes_again_and_an_image_in_the_page() -> None:
    svg = svg_of(drawing())
    assert svg == svg_of(drawing())
    uri = Picture(svg, "").data_uri
    assert base64.b64decode(uri.removeprefix("data:image/svg+xml;base64,")) == svg
