"""Videos are known by what they hold, whatever they are called."""

from pathlib import Path

import pytest

from pipelines.errors import ConfigError, SegmentError
from pipelines.labelled import Labelled, Video, read_labelled
from pipelines.videos import check_unchanged, identified, read_video

HEADER = "path,start_s,end_s,transcript,label"


def identify(folder: Path, lines: list[str], header: str = HEADER, seed: int = 0) -> Labelled:
    """Read a manifest, and whatever is at its paths."""
    path = folder / "labels.csv"
    path.write_text("\n".join([header, *lines]) + "\n")
    manifest = read_labelled(path)
    videos = dict[Path, Video | SegmentError]()
    for row in manifest.rows:
        try:
            videos[row.path] = read_video(row.path)
        except SegmentError as error:
            videos[row.path] = error
    return identified(manifest, videos, seed)


def write_videos(folder: Path, num: int) -> None:
    for number in range(num):
        (folder / f"{number}.mp4").write_bytes(b"video %d" % number)


def test_videos_are_dealt_whole_and_by_the_seed(tmp_path: Path) -> None:
    write_videos(tmp_path, 20)
    lines = [f"{n}.mp4,{k},{k + 1},x,1" for n in range(20) for k in range(3)]
    dealt = [
        {row.id: row.split for row in identify(tmp_path, order, seed=seed).rows}
        for order, seed in ((lines, 0), (lines[::-1], 0), (lines, 1))
    ]
    assert dealt[0] == dealt[1] != dealt[2]
    found = list(dealt[0].values())
    assert [found.count(name) for name in ("train", "valid", "test")] == [42, 9, 9]
    assert all(len({dealt[0][f"{n}.mp4#{k}.0-{k + 1}.0"] for k in range(3)}) == 1 for n in range(20))


def test_a_copy_under_another_name_is_the_same_video(tmp_path: Path) -> None:
    write_videos(tmp_path, 20)
    for number in range(20):
        (tmp_path / f"copy {number}.mp4").write_bytes(b"video %d" % number)
    lines = [f"{name}{n}.mp4,{k},,x,1" for n in range(20) for k, name in enumerate(("", "copy "))]
    found = identify(tmp_path, lines)
    splits = {row.id.split("#")[0]: row.split for row in found.rows}
    assert all(splits[f"{n}.mp4"] == splits[f"copy {n}.mp4"] for n in range(20))
    assert "2 files are one video: 0.mp4, copy 0.mp4" in found.warnings
    assert not [warning for warning in found.warnings if "more than one split" in warning]


def test_what_is_in_two_splits_is_a_warning(tmp_path: Path) -> None:
    write_videos(tmp_path, 1)
    (tmp_path / "copy.mp4").write_bytes(b"video 0")
    rows = ["0.mp4,0,1,x,1,train", "copy.mp4,0,1,x,1,test", "0.mp4,1,2,x,1,valid"]
    assert identify(tmp_path, rows, f"{HEADER},split").warnings == (
        "2 files are one video: 0.mp4, copy.mp4",
        "1 videos have lines in more than one split: who is heard in training is heard in the test",
        "1 stretches are in more than one split under different names: remove all but one",
    )


def test_what_can_not_be_read_is_a_bad_line(tmp_path: Path) -> None:
    write_videos(tmp_path, 1)
    found = identify(tmp_path, ["no.mp4,,,x,1,train", "0.mp4,,,x,1,test", ".,,,x,1,test"], f"{HEADER},split")
    assert [row.line for row in found.rows] == [3]
    assert [(bad.line, bad.path) for bad in found.bad] == [(2, "no.mp4"), (4, ".")]
    assert found.bad[0].reason == "fetch: No such file or directory: mend the path, or put the video there"
    assert found.bad[1].reason.startswith("fetch: is a folder")
    assert found.warnings == (
        "no line is in split 'train', which training or its evaluation needs",
        "no line is in split 'valid', which training or its evaluation needs",
    )


def test_two_videos_are_too_few_to_be_dealt(tmp_path: Path) -> None:
    write_videos(tmp_path, 2)
    with pytest.raises(ConfigError, match=r"2 videos can't be dealt .*'split'"):
        identify(tmp_path, ["0.mp4,,,x,1", "1.mp4,,,x,1", "0.mp4,0,1,x,1"])


def test_a_file_that_was_changed_is_another(tmp_path: Path) -> None:
    write_videos(tmp_path, 1)
    path = tmp_path / "0.mp4"
    video = read_video(path)
    check_unchanged(path, video)
    path.write_bytes(b"another")
    with pytest.raises(SegmentError, match="has changed since"):
        check_unchanged(path, video)
    path.unlink()
    with pytest.raises(SegmentError, match="No such file"):
        check_unchanged(path, video)


def test_a_class_that_can_not_be_learned_is_named_with_what_it_may_be(tmp_path: Path) -> None:
    write_videos(tmp_path, 1)
    labels = ["happy"] * 5 + ["hapy", "sad", "sad"]
    lines = [f"0.mp4,{n},{n + 1},x,{label},train" for n, label in enumerate(labels)]
    lines.append("0.mp4,20,21,x,angry,test")
    warnings = identify(tmp_path, lines, f"{HEADER},split").warnings
    assert [warning for warning in warnings if warning.startswith("class")] == [
        "class 'angry' has 0 lines in split 'train', too few to be learned",
        "class 'hapy' has 1 lines in split 'train', too few to be learned; is it 'happy'?",
        "class 'sad' has 2 lines in split 'train', too few to be learned",
    ]
