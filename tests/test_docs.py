"""What the delivery page names exists, and its tables are what the committed results say."""

import re
from pathlib import Path

import pytest

from tests.bench import delivery_page, science_page

REPO = Path(__file__).parent.parent
PAGE = delivery_page.PAGE.read_text()


@pytest.mark.parametrize("path", sorted(set(re.findall(r"\b(?:workers|pipelines|tests)/[\w/]+\.py", PAGE))))
def test_a_file_that_the_delivery_page_names_exists(path: str) -> None:
    assert (REPO / path).is_file()


@pytest.mark.parametrize("name", sorted(set(re.findall(r"`(test_\w+)`", PAGE))))
def test_a_test_that_the_delivery_page_names_exists(name: str) -> None:
    assert any(f"def {name}(" in path.read_text() for path in (REPO / "tests").rglob("test_*.py"))


def test_its_tables_are_what_the_results_say(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sys.argv", ["delivery_page", "--check"])
    assert delivery_page.main() == 0


def test_the_science_page_is_what_the_records_say(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sys.argv", ["science_page", "--check"])
    assert science_page.main() == 0


def test_every_picture_that_the_science_page_shows_is_there() -> None:
    pictures = re.findall(r"!\[[^]]*\]\(([^)]+)\)", science_page.PAGE.read_text())
    assert not [name for name in pictures if not (science_page.PAGE.parent / name).is_file()]
