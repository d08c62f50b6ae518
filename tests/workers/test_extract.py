"""`hctdmg extract` on real videos: the features that serving would have, whatever happens on the way."""

import dataclasses
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from csv import writer
from pathlib import Path
from typing import Any

import numpy as np
import psutil
import pytest

from hctdmg.contract import FeatureContract
from hctdmg.data.own import SAMPLES, load_features, load_sample
from hctdmg.data.read import read_dataset
from pipelines.deadline import Deadline
from pipelines.errors import ConfigError
from pipelines.extraction import Recipe
from pipelines.labelled import read_labelled
from pipelines.media import MediaConfig
from pipelines.prepare import DEFAULT_EXTRACTORS, Preparer, extractor_contract
from pipelines.submission import submissions
from tests.clips import Audio, Video, write_clip
from workers.cli import run
from workers.clips import SCRIPTS, Clip, draw_clips
from workers.extract_pool import extract_here

HEADER = ("path", "start_s", "end_s", "transcript", "label", "split")
MEDIA = MediaConfig()
Cells = Sequence[object]


def write_manifest(path: Path, rows: Sequence[Cells]) -> Path:
    with open(path, "w", newline="", encoding="utf-8") as file:
        writer(file).writerows([HEADER, *rows])
    return path


@pytest.fixture(scope="module")
def clips(tmp_path_factory: pytest.TempPathFactory) -> list[Clip]:
    return list(draw_clips(tmp_path_factory.mktemp("clips"), SCRIPTS))


def served(path: Path, segment_s: float, transcript: Any) -> list[dict[str, np.ndarray]]:
    """What the extractor of a worker makes of each segment that `analyze`, `submit` and `demo` would send."""
    preparer = Preparer(extractor_contract(DEFAULT_EXTRACTORS), MEDIA)
    return [
        preparer.prepare(piece.incoming, Deadline.after(60)).features
        for piece in submissions(path, "s", segment_s, transcript, MEDIA)
    ]


def features_of(folder: Path) -> dict[str, dict[str, np.ndarray]]:
    found = load_features(folder)
    widths = {name: one.width for name, one in found.contract.modalities.items()}
    return {one.id: load_sample(folder, one.stored.key, widths)[0] for one in found.examples}


def lines_of(capsys: pytest.CaptureFixture[str]) -> list[dict[str, Any]]:
    return [json.loads(line) for line in capsys.readouterr().out.splitlines()]


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
    clips: list[Clip], tmp_path: Path
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
    assert clips


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


def many_rows(clips: list[Clip], num: int) -> list[tuple[Path, float, float, str, int, str]]:
    """Short stretches, each of its own."""
    splits = ("train", "valid", "test")
    return [
        (clips[n % 4].path, round(0.1 * n, 1), round(0.1 * n + 2, 1), "one two", n % 3, splits[n % 3])
        for n in range(num)
    ]


def start(arguments: Sequence[str]) -> subprocess.Popen[bytes]:
    code = "from workers.cli import main; main()"
    return subprocess.Popen([sys.executable, "-c", code, *arguments], start_new_session=True)


def wait_for(condition: Callable[[], bool], timeout_s: float = 120.0) -> None:
    until_s = time.monotonic() + timeout_s
    while not condition():
        assert time.monotonic() < until_s, "it did not come to pass"
        time.sleep(0.02)


def num_samples(out: Path) -> int:
    return len(list((out / SAMPLES).glob("*.safetensors")))


def contents(out: Path) -> dict[str, bytes]:
    files = (out / "features.json", *(out / SAMPLES).iterdir())
    return {path.name: path.read_bytes() for path in files if not path.name.startswith(".")}


def test_a_run_that_was_killed_goes_on_to_the_same_files(
    tmp_path: Path, clips: list[Clip], capsys: pytest.CaptureFixture[str]
) -> None:
    rows = many_rows(clips, 12)
    manifest = write_manifest(tmp_path / "m.csv", rows)
    out = tmp_path / "killed"
    process = start(["extract", str(manifest), "--out", str(out), "--jobs", "2"])
    wait_for(lambda: num_samples(out) >= 3 or process.poll() is not None)
    family = psutil.Process(process.pid).children(recursive=True)
    os.kill(process.pid, signal.SIGKILL)
    process.wait()
    assert len(family) >= 2
    _, alive = psutil.wait_procs(family, timeout=60)
    assert not alive, "what it started outlives it"
    num_done = num_samples(out)
    assert 3 <= num_done < len(rows)
    assert not (out / "features.json").exists()
    damaged = next(iter((out / SAMPLES).glob("*.safetensors")))
    data = damaged.read_bytes()
    damaged.write_bytes(data[:-1] + bytes([data[-1] ^ 1]))

    assert run(["extract", str(manifest), "--out", str(out), "--jobs", "2", "--json"]) == 0
    last = lines_of(capsys)[-1]
    assert (last["num_reused"], last["num_extracted"]) == (num_done - 1, len(rows) - num_done + 1)
    assert run(["extract", str(manifest), "--out", str(tmp_path / "fresh"), "--jobs", "1"]) == 0
    assert contents(out) == contents(tmp_path / "fresh")
    assert len(contents(out)) == len(rows) + 1


def test_a_process_that_dies_takes_no_row_with_it(tmp_path: Path, clips: list[Clip]) -> None:
    rows = many_rows(clips, 8)
    manifest = write_manifest(tmp_path / "m.csv", rows)
    out = tmp_path / "out"
    process = start(["extract", str(manifest), "--out", str(out), "--jobs", "2"])
    wait_for(lambda: num_samples(out) >= 2)
    workers = [
        child for child in psutil.Process(process.pid).children() if "spawn_main" in " ".join(child.cmdline())
    ]
    workers[0].kill()
    assert process.wait(240) == 0
    assert [one.id for one in load_features(out).examples] == [
        f"{path}#{start_s}-{end_s}" for path, start_s, end_s, *_ in rows
    ]


def test_rows_in_which_the_process_hangs_are_given_up(tmp_path: Path, clips: list[Clip]) -> None:
    manifest = write_manifest(tmp_path / "m.csv", many_rows(clips, 3)[:2])
    rows = read_labelled(manifest, 0).rows
    # The alarm rings 10 s after the deadline: here at once.
    recipe = Recipe(tmp_path / "out", "unaligned", MEDIA, deadline_s=-9.999)
    outcomes = sorted(extract_here(rows, recipe, 2), key=lambda one: one.line)
    assert [one.line for one in outcomes] == [2, 3]
    assert {one.reason for one in outcomes} == {"extract: its process died, or hung for more than 0.001 s"}


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


@pytest.mark.e2e
def test_a_ray_cluster_makes_the_same_files(
    tmp_path: Path, clips: list[Clip], capsys: pytest.CaptureFixture[str]
) -> None:
    rows = [*many_rows(clips, 10), ("missing.mp4", "", "", "x", 0, "train")]
    manifest = write_manifest(tmp_path / "m.csv", rows)
    arguments = ["extract", str(manifest), "--json", "--out"]
    assert run([*arguments, str(tmp_path / "ray"), "--address", "local"]) == 2
    lines = lines_of(capsys)
    assert sorted(line["line"] for line in lines[:-1]) == list(range(2, 13))
    assert lines[-1]["num_extracted"] == 10
    assert lines[-1]["skipped"][0]["reason"].startswith("fetch: No such file")
    assert run([*arguments, str(tmp_path / "here"), "--jobs", "2"]) == 2
    assert contents(tmp_path / "ray") == contents(tmp_path / "here")


def test_a_cluster_that_is_not_there_is_one_line(
    tmp_path: Path, clips: list[Clip], capsys: pytest.CaptureFixture[str]
) -> None:
    manifest = write_manifest(tmp_path / "m.csv", many_rows(clips, 3))
    assert run(["extract", str(manifest), "--out", str(tmp_path / "out"), "--address", "127.0.0.1:1"]) == 2
    captured = capsys.readouterr()
    assert captured.out == ""
    assert captured.err.splitlines()[-1].startswith("error: no Ray cluster at '127.0.0.1:1' (")
