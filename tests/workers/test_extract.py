"""`hctdmg extract` on real videos: the features that serving would have."""

import dataclasses
import json
import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from hctdmg.contract import FeatureContract
from hctdmg.data.own import load_features
from hctdmg.data.read import read_dataset
from pipelines.deadline import Deadline
from pipelines.errors import ConfigError
from pipelines.media import MediaConfig
from pipelines.prepare import DEFAULT_EXTRACTORS, Preparer, extractor_contract
from pipelines.submission import submissions
from tests.clips import Audio, Video, write_clip
from tests.extraction import Cells, features_of, lines_of, write_manifest
from workers.cli import run
from workers.clips import Clip

MEDIA = MediaConfig()


def served(path: Path, segment_s: float, transcript: Any) -> list[dict[str, np.ndarray]]:
    """What the extractor of a worker makes of each segment that `analyze`, `submit` and `demo` would send."""
    preparer = Preparer(extractor_contract(DEFAULT_EXTRACTORS), MEDIA)
    return [
        preparer.prepare(piece.incoming, Deadline.after(60)).features
        for piece in submissions(path, "s", segment_s, transcript, MEDIA)
    ]


def test_features_are_bit_for_bit_those_of_serving(
    clips: list[Clip], tmp_path: Path, media_dir: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    rows: list[Cells] = []
    expected = {}
    for clip in clips:
        pieces = list(submissions(clip.path, "s", 5.0, clip.transcript, MEDIA))
        for piece, features in zip(pieces, served(clip.path, 5.0, clip.transcript), strict=True):
            said = piece.segment.transcript
            words = said if said is None else said.model_dump_json()  # type: ignore[union-attr]
            begin_s = piece.segment.start_s
            end_s = "" if piece is pieces[-1] else begin_s + 5.0
            rows.append((clip.path, begin_s, end_s, words, 0, "train"))
            expected[f"{clip.path}#{begin_s}-{end_s}"] = features
    for name in ("faces/d10.mp4", "faces/bbaf2n.mpg", "speech/jfk.flac", "odd/video_rotation_90.mp4"):
        path = media_dir / name
        rows.append((path, "", "", "what a great day", 1, "valid"))
        expected[str(path)] = served(path, 60.0, "what a great day")[0]
    manifest = write_manifest(tmp_path / "m.csv", rows)
    assert run(["extract", str(manifest), "--out", str(tmp_path / "out"), "--jobs", "2", "--json"]) == 0
    lines = lines_of(capsys)
    assert sorted(line["line"] for line in lines[:-1]) == list(range(2, len(rows) + 2))
    assert {line["status"] for line in lines[:-1]} == {"extracted"}
    assert lines[-1]["splits"] == {"train": 8, "valid": 4, "test": 0}
    found = features_of(tmp_path / "out")
    assert set(found) == set(expected)
    for name, features in expected.items():
        for modality, x_TD in features.items():
            assert np.array_equal(found[name][modality], x_TD), (name, modality)
    dataset = read_dataset(tmp_path / "out")
    assert dataset.contract == extractor_contract(DEFAULT_EXTRACTORS)
    assert dataset.splits["train"].features["vision"].any()


def test_a_stretch_that_begins_between_key_frames_is_that_of_a_file_that_begins_there(
    tmp_path: Path,
) -> None:
    """The same pictures and sound as a clip of their own, without loss; steps of sound meet other parts of a wave."""
    noise = [("crf", "0"), ("preset", "ultrafast")]
    whole = Video(
        num_frames=200, rate_hz=20, key_frame_every=500, pixel_format="yuv444p", options=tuple(noise)
    )
    path = tmp_path / "whole.mov"
    path.write_bytes(write_clip("mov", whole, Audio(codec="pcm_s16le", duration_s=10, hz=16_000)))
    rows: list[Cells] = [(path, 6, 8, "x y", 0, "train"), (path, 6.2, 8, "x y", 0, "train")]
    manifest = write_manifest(tmp_path / "m.csv", rows)
    assert run(["extract", str(manifest), "--out", str(tmp_path / "out"), "--jobs", "1"]) == 0
    first, second = features_of(tmp_path / "out").values()
    # The packet in which the stretch ends belongs to it.
    assert len(first["audio"]) in (20, 21)
    assert len(second["audio"]) == len(first["audio"]) - 2
    # The tone is steady, so what is 0.2 s later is the same but for the borders, where windows see silence.
    assert np.allclose(first["audio"][4:18, :40], second["audio"][2:16, :40], atol=0.05)


def broken_files(folder: Path) -> None:
    (folder / "truncated.mp4").write_bytes(write_clip("mp4", Video(), Audio())[:2000])
    (folder / "text.mp4").write_text("no video at all")
    (folder / "empty.mp4").write_bytes(b"")
    (folder / "folder.mp4").mkdir()
    os.mkfifo(folder / "pipe.mp4")
    (folder / "nothing.mp4").write_bytes(write_clip("mp4", Video(num_frames=30)))
    (folder / "silent.mp4").write_bytes(
        write_clip("mp4", Video(num_frames=30), Audio(duration_s=1, amplitude=0))
    )


def test_bad_rows_are_reported_with_their_lines_and_the_others_are_extracted(
    tmp_path: Path, clips: list[Clip], capsys: pytest.CaptureFixture[str]
) -> None:
    broken_files(tmp_path)
    odd = tmp_path / "sub folder" / "é, #1 100% 日本.mp4"
    odd.parent.mkdir()
    odd.write_bytes(clips[0].path.read_bytes())
    (tmp_path / "sound.m4a").write_bytes(write_clip("mp4", None, Audio(duration_s=2)))
    (tmp_path / "link.mp4").symlink_to(clips[1].path)
    rows: list[tuple[Cells, str | None]] = [
        ((f"sub folder/{odd.name}", 0, 5, "good", 1, "train"), None),
        (("missing.mp4", 0, 1, "x", 1, "train"), "fetch: No such file or directory"),
        (("truncated.mp4", "", "", "x", 1, "train"), "decode: "),
        (("text.mp4", "", "", "x", 1, "train"), "decode: no media container begins with"),
        (("empty.mp4", "", "", "x", 1, "train"), "decode: "),
        (("folder.mp4", "", "", "x", 1, "train"), "fetch: is a folder"),
        (("pipe.mp4", "", "", "x", 1, "train"), "fetch: is a folder, pipe"),
        (("nothing.mp4", "", "", "", 1, "train"), "extract: nothing to learn from"),
        (("silent.mp4", "", "", "", 1, "train"), "extract: nothing to learn from"),
        (("nothing.mp4", 0, 1, "words alone", 1, "valid"), None),
        (("sound.m4a", "", "", "", 1, "test"), None),
        (("link.mp4", 5, "", "", 1, "test"), None),
        (("link.mp4", 2, 2, "x", 1, "test"), "end_s 2 is not after start_s 2"),
        (("link.mp4", 12, 14, "x", 1, "test"), "decode: begins at 12 s, but the file ends at 10.0"),
        (("link.mp4", 8, 14, "x", 1, "test"), "decode: ends at 14 s, but the file ends at 10.0"),
        (("link.mp4", 5, "", "", 2, "test"), "the same stretch as in line 13"),
        (("link.mp4", 0, 5, "x", "nan", "test"), "label is nan"),
        (("link.mp4", 0, 5, "x", 1, "dev"), "split is 'dev'"),
    ]
    manifest = write_manifest(tmp_path / "m.csv", [cells for cells, _ in rows])
    out = tmp_path / "o ü t"
    assert run(["extract", str(manifest), "--out", str(out), "--jobs", "2"]) == 2
    captured = capsys.readouterr()
    expected = {line: reason for line, (_, reason) in enumerate(rows, 2) if reason}
    report = json.loads((out / "report.json").read_text())
    found = {one["line"]: one["reason"] for one in report["skipped"]}
    assert found.keys() == expected.keys()
    for line, reason in expected.items():
        assert found[line].startswith(reason), (line, found[line])
        assert f"warning: line {line} (" in captured.err
    assert "4 extracted, 0 reused, 14 skipped" in captured.out
    features = features_of(out)
    steps = {name: {m: len(x) for m, x in one.items()} for name, one in features.items()}
    assert steps["nothing.mp4#0.0-1.0"] == {"text": 2, "audio": 0, "vision": 0}
    assert steps["sound.m4a"]["audio"] > 0 == steps["sound.m4a"]["vision"]
    assert min(steps[f"sub folder/{odd.name}#0.0-5.0"].values()) > 0
    # Mend one row and take another label: only what is new is extracted, and the label is the new one.
    rows[1] = (("sound.m4a", 0, 1.5, "x", -2, "train"), None)
    rows[0] = ((*rows[0][0][:4], -3, "train"), None)
    write_manifest(manifest, [cells for cells, reason in rows if reason is None])
    assert run(["extract", str(manifest), "--out", str(out), "--jobs", "1", "--json"]) == 0
    last = lines_of(capsys)[-1]
    assert (last["num_extracted"], last["num_reused"], last["num_skipped"]) == (1, 4, 0)
    assert load_features(out).examples[0].labels == (-3.0,)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "is empty"),
        ("path,start_s,end_s,transcript,label\n", "has no line below its header"),
        ("path,start_s,end_s,label\na.mp4,,,1\n", "has no column 'transcript'"),
        (
            "path,start_s,end_s,transcript,label,split\na.mp4,,,x,1,train\n",
            "none of the 1 rows could be extracted",
        ),
    ],
)
def test_a_manifest_that_gives_nothing_is_the_users_mistake(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], text: str, message: str
) -> None:
    manifest = tmp_path / "m.csv"
    manifest.write_text(text)
    assert run(["extract", str(manifest), "--out", str(tmp_path / "out"), "--jobs", "1"]) == 2
    captured = capsys.readouterr()
    assert captured.out == ""
    assert message in captured.err.splitlines()[-1]
    assert not (tmp_path / "out" / "features.json").exists()


def test_words_are_the_steps_when_asked_for(tmp_path: Path, clips: list[Clip]) -> None:
    manifest = write_manifest(tmp_path / "m.csv", [(clips[0].path, 0, 5, "I love this", 2, "train")])
    for alignment in ("word", "unaligned"):
        out = tmp_path / "out"  # the same folder: other features have other names
        assert (
            run(["extract", str(manifest), "--out", str(out), "--alignment", alignment, "--jobs", "1"]) == 0
        )
        steps = load_features(out).examples[0].stored.num_steps
        assert (set(steps.values()) == {3}) == (alignment == "word")
        contract = read_dataset(out).contract
        assert contract is not None
        assert contract.alignment == alignment


def test_an_extractor_that_makes_other_numbers_is_refused_in_one_line() -> None:
    ours = extractor_contract(DEFAULT_EXTRACTORS)
    audio = dataclasses.replace(ours.modalities["audio"], version="2")
    with pytest.raises(ConfigError) as raised:
        Preparer(FeatureContract({**ours.modalities, "audio": audio}, "unaligned"), MEDIA)
    assert "audio.version: '2' != '1'" in str(raised.value)
    assert "\n" not in str(raised.value)
