"""A manifest of labelled videos: a CSV file, a stretch of a video a line, read and checked line by line.

    path,start_s,end_s,transcript,label,split
    talks/monday.mp4,12.5,16.0,"I love it, really.",1.8,train

What is wrong with the whole file is an error; a line that is wrong is kept with its number, beside the good ones.
Knows text and numbers. Does not open any video: that, and the split where no column says it, is `pipelines.videos`. The
kind of label: `pipelines.labels`.
"""

import csv
import difflib
import hashlib
import io
import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from pydantic import ValidationError

from hctdmg.data.dataset import SplitName, Task
from pipelines.errors import ConfigError
from pipelines.labels import LabelError, Labelling, find_labelling, read_split
from pipelines.segment import MAX_STREAM_S, Segment, Transcript

REQUIRED = ("path", "start_s", "end_s", "transcript")
OPTIONAL = ("split", "language")
LABEL = "label"

MAX_FIELD_CHARACTERS = 2**20
"""More than a transcript with the times of its words needs; a quote that is never closed would swallow the file."""


@dataclass(frozen=True)
class Video:
    """A file that was read whole.

    Attributes:
        sha256: Of its bytes.
        num_bytes: Its size.
        changed_ns: When it was last changed, since 1970.
    """

    sha256: str
    num_bytes: int
    changed_ns: int


NOT_READ = Video("", -1, -1)
"""Like no file."""


@dataclass(frozen=True)
class Row:
    """A good line.

    Attributes:
        line: Where it begins in the file, from 1.
        id: Unique: the path as written and the times.
        path: Of the video.
        start_s: Where the stretch begins in the video.
        end_s: Where it ends; None is the video's end.
        transcript: What is said in it; times of words count from its start.
        language: BCP 47 tag; None for English or not known.
        labels: As `hctdmg.data.dataset.Split.labels_NK` has them.
        split: "train", "valid" or "test"; "train" until it is dealt.
        video: What is at the path.
    """

    line: int
    id: str
    path: Path
    start_s: float
    end_s: float | None
    transcript: Transcript | str | None
    language: str | None
    labels: tuple[float, ...]
    split: SplitName
    video: Video = NOT_READ


@dataclass(frozen=True)
class BadRow:
    """A line that is left out.

    Attributes:
        line: Where it begins in the file, from 1.
        path: As written.
        reason: One line.
    """

    line: int
    path: str
    reason: str


@dataclass(frozen=True)
class Labelled:
    """A manifest.

    Attributes:
        sha256: Of the file.
        rows: The good lines, in the order of the file.
        bad: The others.
        task: What a label is.
        label_names: Names of the classes; empty for regression.
        warnings: What is odd about the whole.
        is_split_here: Whether the splits are to be dealt, because no column says them.
    """

    sha256: str
    rows: tuple[Row, ...]
    bad: tuple[BadRow, ...]
    task: Task
    label_names: tuple[str, ...]
    warnings: tuple[str, ...]
    is_split_here: bool


def read_labelled(path: Path) -> Labelled:
    """Read a manifest.

    Args:
        path: UTF-8, with or without a byte order mark, any line ends. Paths in it are relative to its folder.

    Raises:
        ConfigError: The file can't be read, a column is missing, it has no line or no good one.
    """
    data = _read(path)
    lines = list(_lines(path, data))
    if not lines:
        raise ConfigError(
            f"{path}: is empty: its first line names the columns {','.join((*REQUIRED, LABEL))}"
        )
    header = [name.strip() for name in lines[0][1]]
    ignored = _check_header(path, header)
    cells = [
        (line, dict(zip(header, values, strict=False)), len(values))
        for line, values in lines[1:]
        if any(values)
    ]
    if not cells:
        raise ConfigError(f"{path}: has no line below its header: add one for each labelled stretch of video")
    labelling = find_labelling(
        [name for name in header if name.startswith(LABEL)], [one for _, one, _ in cells]
    )
    rows, bad = _sorted_out(path, header, cells, labelling)
    if not rows:
        raise ConfigError(
            f"{path}: none of its {len(bad)} lines can be used; line {bad[0].line}: {bad[0].reason}"
        )
    is_split_here = "split" not in header
    warnings = (*ignored, *labelling.warnings)
    sha256 = hashlib.sha256(data).hexdigest()
    return Labelled(sha256, tuple(rows), tuple(bad), labelling.task, labelling.names, warnings, is_split_here)


def _read(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise ConfigError(f"{path}: {error.strerror}; give a CSV file of labelled videos") from None


def _lines(path: Path, data: bytes) -> Iterator[tuple[int, list[str]]]:
    """Each line's number and cells; a quoted cell may go over several lines."""
    try:
        text = data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        raise ConfigError(f"{path}: line {line} is no UTF-8 text: save the file as UTF-8") from None
    csv.field_size_limit(MAX_FIELD_CHARACTERS)
    reader = csv.reader(io.StringIO(text, newline=""), strict=True)
    begin = 1
    try:
        for values in reader:
            yield begin, values
            begin = reader.line_num + 1
    except csv.Error as error:
        raise ConfigError(
            f"{path}: line {begin} is no CSV: {error}; close its quotes, double those within"
        ) from None


def _check_header(path: Path, header: list[str]) -> tuple[str, ...]:
    """See that the columns are there, once; what is not known is named and ignored unless it looks like a slip."""
    missing = [name for name in REQUIRED if name not in header]
    if not any(name.startswith(LABEL) for name in header):
        missing.append(LABEL)
    if missing:
        raise ConfigError(
            f"{path}: has no column {missing[0]!r} (found: {', '.join(header)}): the first line names the columns, "
            "with commas between; start_s, end_s and transcript may be left empty below"
        )
    twice = [name for name in header if header.count(name) > 1]
    if twice:
        raise ConfigError(f"{path}: has two columns {twice[0]!r}: name each once")
    unknown = [name for name in header if name not in (*REQUIRED, *OPTIONAL) and not name.startswith(LABEL)]
    for name in unknown:
        if near := difflib.get_close_matches(
            name.lower(), [one for one in OPTIONAL if one not in header], 1, 0.7
        ):
            raise ConfigError(f"{path}: column {name!r}: did you mean {near[0]!r}? Rename or remove it")
    return (f"columns that mean nothing here are ignored: {', '.join(unknown)}",) if unknown else ()


def _sorted_out(
    path: Path, header: list[str], cells: list[tuple[int, dict[str, str], int]], labelling: Labelling
) -> tuple[list[Row], list[BadRow]]:
    rows, bad = [], []
    first_lines: dict[tuple[Path, float, float | None], int] = {}
    for line, values, num_cells in cells:
        try:
            if num_cells != len(header):
                raise LabelError(f"{num_cells} cells, the header has {len(header)}: quote what holds commas")
            row = _row(path.parent, line, values, labelling)
            key = (row.path, row.start_s, row.end_s)
            if key in first_lines:
                raise LabelError(f"the same stretch as in line {first_lines[key]}: keep one of them")
            first_lines[key] = line
            rows.append(row)
        except LabelError as error:
            bad.append(BadRow(line, values.get("path", ""), str(error)))
    return rows, bad


def _row(folder: Path, line: int, values: Mapping[str, str], labelling: Labelling) -> Row:
    name = values["path"].strip()
    if not name or "\0" in name:
        raise LabelError("path is empty" if not name else "path holds a NUL character")
    start_s = _seconds(values, "start_s") or 0.0
    end_s = _seconds(values, "end_s")
    if end_s is not None and end_s <= start_s:
        raise LabelError(f"end_s {end_s:g} is not after start_s {start_s:g}")
    transcript, language = _spoken(values)
    is_whole = start_s == 0 and end_s is None
    return Row(
        line=line,
        id=name if is_whole else f"{name}#{start_s}-{'' if end_s is None else end_s}",
        path=(folder / name).resolve(),
        start_s=start_s,
        end_s=end_s,
        transcript=transcript,
        language=language,
        labels=labelling.read(values),
        split=read_split(values.get("split", "train").strip()),
    )


def _seconds(values: Mapping[str, str], name: str) -> float | None:
    text = values[name].strip()
    if not text:
        return None
    try:
        number = float(text)
    except ValueError:
        raise LabelError(f"{name} is {text[:40]!r}: give seconds, or leave it empty") from None
    if not math.isfinite(number) or not 0 <= number <= MAX_STREAM_S:
        raise LabelError(f"{name} is {text[:40]}: give seconds from 0 on, or leave it empty")
    return number


def _spoken(values: Mapping[str, str]) -> tuple[Transcript | str | None, str | None]:
    """Transcript and language, by the rules of a segment."""
    text = values["transcript"].strip()
    language = values.get("language", "").strip() or None
    given: object = text or None
    try:
        if text.startswith("{"):
            given = Transcript.model_validate_json(text)
        checked = Segment.model_validate(
            {"stream_id": "-", "segment_id": "-", "transcript": given, "language": language}
        )
    except ValidationError as error:
        problem = error.errors(include_url=False, include_input=False)[0]
        raise LabelError(f"transcript or language: {problem['msg']}") from None
    return checked.transcript, checked.language
