import json
from pathlib import Path
from typing import Any

import jsonschema
import pytest

from pipelines.schemas import load_schema
from workers.cli import run
from workers.clips import SCRIPTS, draw_clips

Json = dict[str, Any]


def analyze(capsys: pytest.CaptureFixture[str], *arguments: str) -> list[Json]:
    """Run the command with --json and check each event against the schema."""
    assert run(["analyze", *arguments, "--json"]) == 0
    events = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    for event in events:
        jsonschema.validate(event, load_schema("affect-event-1.0.json"))
    return events


@pytest.mark.media
def test_a_real_face_and_its_words_are_read(media_dir: Path, capsys: pytest.CaptureFixture[str]) -> None:
    video = str(media_dir / "faces" / "d10.mp4")
    glad = analyze(capsys, video, "--transcript", "I love this, it is wonderful")
    bitter = analyze(capsys, video, "--transcript", "I hate this, it is terrible")
    assert [event["segment_id"] for event in glad] == ["d10/0", "d10/1"]
    assert all(event["modalities"]["vision"]["present"] for event in glad)
    assert max(text_scores(glad)) > 0.5
    assert min(text_scores(glad)) > 0
    assert min(text_scores(bitter)) < -0.5
    assert max(text_scores(bitter)) < 0


def test_the_same_file_gives_the_same_events_twice(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (clip,) = draw_clips(tmp_path, SCRIPTS[:1])
    once, again = (analyze(capsys, str(clip.path), "--transcript", "what a great day") for _ in range(2))
    for event in (*once, *again):
        del event["timings_s"]
    assert once == again
    renamed = analyze(capsys, str(clip.path), "--stream-id", "cam-7", "--transcript", "what a great day")
    assert [event["segment_id"] for event in renamed] == ["cam-7/0", "cam-7/1"]
    assert [event["affect"] for event in renamed] == [event["affect"] for event in once]
    assert {event["event_id"] for event in renamed}.isdisjoint(event["event_id"] for event in once)


def test_drawn_clips_show_each_incongruity_status(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    statuses = {}
    for clip in draw_clips(tmp_path):
        words = []
        if clip.transcript is not None:
            path = tmp_path / f"{clip.name}.json"
            path.write_text(clip.transcript.model_dump_json())
            words = ["--transcript", str(path)]
        events = analyze(capsys, str(clip.path), *words)
        statuses[clip.name] = [event["incongruity"]["status"] for event in events]
    assert statuses["happy"] == ["congruent", "congruent"]
    assert statuses["brave-face"] == ["incongruent", "incongruent"]
    assert statuses["empty-room"] == ["insufficient_evidence", "insufficient_evidence"]
    assert "incongruent" not in statuses["matter-of-fact"]


def test_the_table_has_a_row_for_each_segment_and_the_picture_is_drawn(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "140")
    (clip,) = draw_clips(tmp_path, SCRIPTS[:1])
    picture = tmp_path / "timeline.png"
    assert run(["analyze", str(clip.path), "--transcript", "what a great day", "--plot", str(picture)]) == 0
    captured = capsys.readouterr()
    assert "0-5 s" in captured.out
    assert "5-10 s" in captured.out
    assert picture.read_bytes().startswith(b"\x89PNG")


@pytest.mark.parametrize(
    ("name", "content"),
    [("notes.mp4", b"no video at all"), ("empty.mp4", b""), ("list.m3u8", b"#EXTM3U\n/etc/passwd")],
)
def test_a_file_that_can_not_be_read_is_one_line_and_exit_2(
    tmp_path: Path, name: str, content: bytes, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / name
    path.write_bytes(content)
    assert run(["analyze", str(path), "--json"]) == 2
    captured = capsys.readouterr()
    assert captured.out == ""
    assert captured.err.splitlines()[-1].startswith("error: ")


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        (["--checkpoint", "no-such-model"], "no-such-model"),
        (["--plot", "/no/such/folder/a.png"], "/no/such/folder"),
        (["--plot", "timeline.xyz"], "xyz"),
        (["--transcript", "no-such.json"], "no-such.json"),
    ],
)
def test_a_wrong_option_is_found_before_the_work(
    tmp_path: Path, arguments: list[str], expected: str, capsys: pytest.CaptureFixture[str]
) -> None:
    (clip,) = draw_clips(tmp_path, SCRIPTS[-1:])
    assert run(["analyze", str(clip.path), *arguments]) == 2
    captured = capsys.readouterr()
    assert captured.out == ""
    (line,) = captured.err.splitlines()
    assert expected in line


def text_scores(events: list[Json]) -> list[float]:
    readings = [event["incongruity"]["readings"]["text"] for event in events]
    return [reading["score"] for reading in readings if reading is not None]
