"""A manifest is read as people write it; what is wrong is said with its line."""

from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipelines.errors import ConfigError
from pipelines.labelled import Labelled, read_labelled
from pipelines.labels import split_by_video
from pipelines.segment import Transcript

HEADER = "path,start_s,end_s,transcript,label,split\n"


def read(folder: Path, text: str | bytes) -> Labelled:
    path = folder / "labels.csv"
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    return read_labelled(path)


def test_good_lines_are_read_whatever_wrote_the_file(tmp_path: Path) -> None:
    text = (
        HEADER
        + 'ä b/ü.mp4,1.5,3,"I said, ""no""\nand again",-2.5,train\n\nb.mp4,,,,0,valid\n/c.mp4,2,,x,3,test\n'
    )
    plain = read(tmp_path, text)
    assert [row.line for row in plain.rows] == [2, 5, 6]
    first, second, third = plain.rows
    assert first.path == tmp_path / "ä b" / "ü.mp4"
    assert (first.start_s, first.end_s, first.labels, first.split) == (1.5, 3.0, (-2.5,), "train")
    assert first.transcript == 'I said, "no"\nand again'
    assert (second.start_s, second.end_s, second.transcript) == (0.0, None, None)
    assert [row.id for row in plain.rows] == ["ä b/ü.mp4#1.5-3.0", "b.mp4", "/c.mp4#2.0-"]
    assert third.path == Path("/c.mp4")
    assert (plain.task, plain.bad, plain.warnings, plain.is_split_here) == ("regression", (), (), False)
    from_windows = read(tmp_path, b"\xef\xbb\xbf" + text.replace("\n", "\r\n").encode())
    assert [(row.id, row.labels, row.line) for row in from_windows.rows] == [
        (row.id, row.labels, row.line) for row in plain.rows
    ]


def test_words_with_times_are_read_and_so_is_the_language(tmp_path: Path) -> None:
    text = "path,start_s,end_s,transcript,label,split,language\n"
    words = '"{""words"": [{""word"": ""hi"", ""start_s"": 0.5, ""end_s"": 0.8}]}"'
    found = read(tmp_path, text + f"a.mp4,,,{words},1,train,en-GB\n" + "b.mp4,,,{no,1,train,\n")
    assert isinstance(found.rows[0].transcript, Transcript)
    assert found.rows[0].transcript.words[0].start_s == 0.5
    assert found.rows[0].language == "en-GB"
    assert [bad.line for bad in found.bad] == [3]


@pytest.mark.parametrize(
    ("line", "reason"),
    [
        ("a.mp4,5,5,x,1,train", "end_s 5 is not after start_s 5"),
        ("a.mp4,5,2,x,1,train", "end_s 2 is not after start_s 5"),
        ("a.mp4,-1,2,x,1,train", "start_s is -1: give seconds from 0 on"),
        ("a.mp4,nan,2,x,1,train", "start_s is nan"),
        ("a.mp4,0,inf,x,1,train", "end_s is inf"),
        ("a.mp4,0:01,2,x,1,train", "start_s is '0:01': give seconds"),
        ("a.mp4,0,2,x,nan,train", "label is nan: give a number"),
        ("a.mp4,0,2,x,,train", "label is empty"),
        ("a.mp4,0,2,x,happy,train", "label is 'happy', most are numbers"),
        ("a.mp4,0,2,x,4,train", "label is 4: give a number from -3 to 3"),
        ("a.mp4,0,2,x,1,dev", "split is 'dev': give one of train, valid, test"),
        ("a.mp4,0,2,x,1,", "split is ''"),
        (",0,2,x,1,train", "path is empty"),
        ("a\0.mp4,0,2,x,1,train", "path holds a NUL"),
        ("ok.mp4,0,2.0,y,3,test", "the same stretch as in line 2"),
        ("./ok.mp4,0,2,y,3,test", "the same stretch as in line 2"),
        ("a.mp4,0,2,one, two,1,train", "7 cells, the header has 6: quote what holds commas"),
        ("a.mp4,0,2", "3 cells, the header has 6"),
        (f"a.mp4,0,2,{'word ' * 30_000},1,train", "limit 100000"),
    ],
)
def test_a_bad_line_is_kept_apart_with_its_number_and_reason(tmp_path: Path, line: str, reason: str) -> None:
    found = read(tmp_path, HEADER + "ok.mp4,0,2,x,1,train\n" + line + "\nok.mp4,3,4,x,-1,valid\n")
    assert [row.line for row in found.rows] == [2, 4]
    assert [bad.line for bad in found.bad] == [3]
    assert reason in found.bad[0].reason
    assert "\n" not in found.bad[0].reason


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (b"", "is empty: its first line names the columns path,start_s,end_s,transcript,label"),
        (b"\xef\xbb\xbf", "is empty"),
        (HEADER, "has no line below its header"),
        (HEADER + "\n\r\n", "has no line below its header"),
        ("path,start_s,transcript,label\na,0,x,1\n", "has no column 'end_s'"),
        ("path,start_s,end_s,transcript\na,0,1,x\n", "has no column 'label'"),
        ("path;start_s;end_s;transcript;label\na;0;1;x;1\n", "has no column 'path' .*commas"),
        ("path,path,start_s,end_s,transcript,label\na,a,0,1,x,1\n", "two columns 'path'"),
        ("path,start_s,end_s,transcript,label,spilt\na,0,1,x,1,train\n", "did you mean 'split'"),
        ("path,start_s,end_s,transcript,label,label_sad\na,0,1,x,1,0\n", "give 'label' alone"),
        ("path,start_s,end_s,transcript,label_sad\na,0,1,x,1\n", "at least two of the form label_NAME"),
        ("path,start_s,end_s,transcript,labels\na,0,1,x,1\n", "column 'labels': give one column 'label'"),
        ("path,start_s,end_s,transcript,label\na,0,1,x,sad\nb,0,1,x,sad\n", "holds 1 different names"),
        (HEADER + 'a,0,1,"x,1,train\n', "line 2 is no CSV: .*close its quotes"),
        (HEADER.encode() + b"a,0,1,\xe4,1,train\n", "line 2 is no UTF-8"),
        (HEADER + "a,1,0,x,1,train\n", "none of its 1 lines can be used; line 2: end_s"),
    ],
)
def test_what_is_wrong_with_the_whole_is_one_line(tmp_path: Path, text: str | bytes, message: str) -> None:
    with pytest.raises(ConfigError, match=message) as raised:
        read(tmp_path, text)
    assert "\n" not in str(raised.value)


def test_names_are_classes_in_alphabetical_order(tmp_path: Path) -> None:
    found = read(tmp_path, HEADER + "a,,,x,sad,train\nb,,,x,happy,valid\nc,,,x,1,test\nd,,,x,sad,test\n")
    assert (found.task, found.label_names) == ("classes", ("happy", "sad"))
    assert [row.labels for row in found.rows] == [(1.0,), (0.0,), (1.0,)]
    assert found.bad[0].reason == "label is '1', most are names"


def test_one_mark_in_every_line_is_a_class_and_any_others_are_yes_or_no(tmp_path: Path) -> None:
    header = "path,start_s,end_s,transcript,label_happy,label_sad,split\n"
    one = read(tmp_path, header + "a,,,x,1,0,train\nb,,,x,0,1,valid\nc,,,x,0,2,test\n")
    assert (one.task, one.label_names) == ("classes", ("happy", "sad"))
    assert [row.labels for row in one.rows] == [(0.0,), (1.0,)]
    assert one.bad[0].reason == "label_sad is '2': give 0 or 1"
    several = read(tmp_path, header + "a,,,x,1,0,train\nb,,,x,1,1,valid\nc,,,x,0,0,test\n")
    assert (several.task, several.label_names) == ("binary", ("happy", "sad"))
    assert [row.labels for row in several.rows] == [(1.0, 0.0), (1.0, 1.0), (0.0, 0.0)]
    assert several.warnings == ("2 lines have no emotion or several: each is yes or no by itself",)


def test_a_column_that_means_nothing_is_a_warning(tmp_path: Path) -> None:
    found = read(
        tmp_path,
        "path,start_s,end_s,transcript,label,split,annotator\na,0,1,x,1,train,me\na,1,2,x,1,test,me\n",
    )
    assert found.warnings == ("columns that mean nothing here are ignored: annotator",)


@settings(max_examples=60)
@given(
    lines=st.lists(st.integers(0, 30), min_size=3, max_size=80).filter(lambda found: len(set(found)) >= 3),
    seed=st.integers(0, 1000),
    shuffled=st.randoms(),
)
def test_a_video_is_never_divided_and_the_order_of_lines_does_not_matter(
    lines: list[int], seed: int, shuffled: object
) -> None:
    digests = [f"{number:x}" for number in lines]
    dealt = split_by_video(digests, seed)
    assert set(dealt) == set(digests)
    assert set(dealt.values()) == {"train", "valid", "test"}
    shuffled.shuffle(digests)  # type: ignore[attr-defined]
    assert split_by_video(digests, seed) == dealt
