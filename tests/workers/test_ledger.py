import json
from pathlib import Path

import pytest

from pipelines.events import AffectEvent, Source
from pipelines.segment import Segment
from workers.ledger import Ledger, Place

EXAMPLE = json.loads(
    (Path(__file__).parent.parent / "pipelines" / "baseline" / "affect-event-1.0.example.json").read_text()
)


def event(place: Place) -> AffectEvent:
    source = Source(topic="video.segments", partition=place[0], offset=place[1])
    return AffectEvent.model_validate(EXAMPLE).model_copy(update={"source": source})


@pytest.fixture
def ledger() -> Ledger:
    """Two segments published."""
    ledger = Ledger()
    for offset in range(2):
        segment = Segment(stream_id="cam-7", segment_id=f"cam-7/{offset}", duration_s=5.0)
        ledger.publish(segment, (0, offset))
    return ledger


def test_one_answer_each_is_right_be_it_event_or_dead_letter(ledger: Ledger) -> None:
    ledger.event(event((0, 0)))
    assert ledger.complaints() == ["no answer to cam-7/1"]
    ledger.dead_letter((0, 1))
    assert ledger.is_complete
    assert ledger.complaints() == []
    assert (ledger.num_events, ledger.num_dead_letters, ledger.media_s) == (1, 1, 10.0)
    assert ledger.statuses == {"incongruent": 1}


def test_a_missing_answer_is_named(ledger: Ledger) -> None:
    ledger.event(event((0, 1)))
    assert ledger.complaints() == ["no answer to cam-7/0"]


def test_a_second_answer_is_named(ledger: Ledger) -> None:
    for place in ((0, 0), (0, 1), (0, 1)):
        ledger.event(event(place))
    assert ledger.is_complete
    assert ledger.complaints() == ["more than one answer to cam-7/1"]


def test_an_event_and_a_dead_letter_for_one_segment_are_two_answers(ledger: Ledger) -> None:
    ledger.event(event((0, 0)))
    ledger.event(event((0, 1)))
    ledger.dead_letter((0, 1))
    assert ledger.complaints() == ["more than one answer to cam-7/1"]


def test_an_answer_to_nothing_is_named(ledger: Ledger) -> None:
    for place in ((0, 0), (0, 1), (3, 99)):
        ledger.event(event(place))
    ledger.event(AffectEvent.model_validate({**EXAMPLE, "source": None}))
    assert ledger.complaints() == ["2 answers to nothing that was published"]
