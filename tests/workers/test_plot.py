from pathlib import Path

import cv2
import numpy as np
import pytest

from pipelines.errors import ConfigError
from pipelines.events import AffectEvent, Sentiment
from workers.plot import CONFLICT_COLOUR, SCORE_COLOUR, plot_events

EXAMPLE = Path(__file__).parent.parent / "pipelines" / "baseline" / "affect-event-1.0.example.json"


def event(number: int, score: float | None, is_incongruent: bool) -> AffectEvent:
    example = AffectEvent.model_validate_json(EXAMPLE.read_text())
    sentiment = None if score is None else Sentiment(score=score, lower=score - 0.5, upper=score + 0.5)
    incongruity = example.incongruity
    if not is_incongruent:
        incongruity = incongruity.model_copy(update={"status": "congruent", "flag": False, "pair": None})
    return example.model_copy(
        update={
            "start_s": 5.0 * number,
            "affect": example.affect.model_copy(update={"sentiment": sentiment}),
            "incongruity": incongruity,
        }
    )


def draw(tmp_path: Path, *events: AffectEvent, note: str = "a note") -> np.ndarray:
    path = tmp_path / "timeline.png"
    plot_events(events, path, "talk.mp4", note, neutral_zone=0.4)
    picture = cv2.imread(str(path))
    assert picture is not None
    return np.asarray(picture)


def coloured(picture: np.ndarray, colour: str) -> np.ndarray:
    """Where a picture has a colour, give or take what smoothing does to it."""
    wanted = np.array([int(colour[at : at + 2], 16) for at in (5, 3, 1)])
    distance: np.ndarray = np.abs(picture.astype(int) - wanted).max(axis=2)
    return np.asarray(distance < 12)


def test_a_higher_score_is_drawn_higher(tmp_path: Path) -> None:
    picture = draw(tmp_path, event(0, 2.0, False), event(1, -2.0, False))
    middle = picture.shape[1] // 2
    # Above the legend, which has the colour too.
    plot = coloured(picture[: picture.shape[0] * 3 // 4], SCORE_COLOUR)
    left, right = np.nonzero(plot[:, :middle])[0], np.nonzero(plot[:, middle:])[0]
    assert left.max() < right.min() + picture.shape[0] // 2
    assert np.median(left) < np.median(right)


def test_only_incongruent_spans_are_labelled(tmp_path: Path) -> None:
    def labelled(*events: AffectEvent) -> int:
        picture = draw(tmp_path, *events)
        return int(coloured(picture[: picture.shape[0] // 4], CONFLICT_COLOUR).sum())

    assert labelled(event(0, 1.0, False), event(1, 1.0, False)) == 0
    assert labelled(event(0, 1.0, False), event(1, 1.0, True)) > 0


def test_a_segment_without_an_answer_leaves_a_gap(tmp_path: Path) -> None:
    picture = draw(tmp_path, event(0, 1.0, False), event(1, None, False), event(2, 1.0, False))
    columns = np.nonzero(coloured(picture[: picture.shape[0] * 3 // 4], SCORE_COLOUR).any(axis=0))[0]
    assert np.diff(columns).max() > picture.shape[1] // 6


def test_a_long_note_takes_lines_and_not_the_plot_s_width(tmp_path: Path) -> None:
    picture = draw(tmp_path, event(0, 1.0, False), note="never validated on labelled video " * 9)
    columns = np.nonzero(coloured(picture[: picture.shape[0] * 3 // 4], SCORE_COLOUR).any(axis=0))[0]
    assert len(columns) > picture.shape[1] * 0.7


def test_a_single_segment_and_a_hundred_can_be_drawn(tmp_path: Path) -> None:
    draw(tmp_path, event(0, 1.0, True))
    draw(tmp_path, *(event(number, (number % 7) / 2 - 1.5, number % 5 == 0) for number in range(100)))


@pytest.mark.parametrize("name", ["missing/timeline.png", "timeline.xyz"])
def test_a_picture_that_can_not_be_written_is_named(tmp_path: Path, name: str) -> None:
    with pytest.raises(ConfigError, match="timeline"):
        plot_events([event(0, 1.0, False)], tmp_path / name, "talk.mp4", "", None)
