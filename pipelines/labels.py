"""What people said of a stretch of video, and which split it belongs to.

    label                                    numbers from -3 to 3: sentiment. Names: one class of several
    label_happy, label_sad, ...              0 or 1 each. One 1 in every line: one class of several; otherwise
                                             yes or no for each

Knows cells of a table. Does not know files.
"""

import difflib
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import cast

import numpy as np

from hctdmg.data.dataset import CMU_RANGE, SPLITS, SplitName, Task
from pipelines.errors import ConfigError

LABEL = "label"
PREFIX = "label_"
LEAST, MOST = CMU_RANGE
"""CMU's scale, which the affect event has."""
MAX_CLASSES = 100
"""More kinds of affect than anybody tells apart; more names are a column of something else."""
FEW_ROWS = 5
"""Of a class that can be learned: fewer are more often a slip than a class."""
NEARLY = 0.7
"""Share of equal letters from which a name may be another one misspelt: "hapy" and "happy" have 0.89."""
VALID_SHARE, TEST_SHARE = 0.15, 0.15


class LabelError(Exception):
    """A line of a manifest that can't be used; one line says why."""


@dataclass(frozen=True)
class Labelling:
    """How a manifest's labels are read.

    Attributes:
        task: What a label is.
        names: Of the classes, in the order of their numbers; empty for regression.
        columns: Where labels are.
        warnings: What is odd.
    """

    task: Task
    names: tuple[str, ...]
    columns: tuple[str, ...]
    warnings: tuple[str, ...] = ()

    def read(self, values: Mapping[str, str]) -> tuple[float, ...]:
        """One line's labels.

        Raises:
            LabelError: They are not what the others are.
        """
        if self.columns != (LABEL,):
            marks = tuple(_mark(name, values[name]) for name in self.columns)
            return (float(marks.index(1.0)),) if self.task == "classes" else marks
        text = values[LABEL].strip()
        if self.task == "classes":
            if text not in self.names:
                raise LabelError("label is empty" if not text else f"label is {text[:40]!r}, most are names")
            return (float(self.names.index(text)),)
        return (_sentiment(text),)


def find_labelling(columns: Sequence[str], cells: Sequence[Mapping[str, str]]) -> Labelling:
    """Tell the kind of label from the columns and from what stands in them.

    Args:
        columns: Those whose names begin with "label".
        cells: All lines.

    Raises:
        ConfigError: The columns contradict each other, or hold one class or far too many.
    """
    if LABEL in columns:
        if len(columns) > 1:
            raise ConfigError(
                f"columns {', '.join(columns)}: give {LABEL!r} alone, or {PREFIX}NAME for each emotion"
            )
        return _one_column([values.get(LABEL, "").strip() for values in cells])
    odd = [name for name in columns if not name.startswith(PREFIX) or name == PREFIX]
    if odd or len(columns) < 2:
        raise ConfigError(
            f"column {(odd or columns)[0]!r}: give one column {LABEL!r}, or at least two of the form {PREFIX}NAME"
        )
    names = tuple(name.removeprefix(PREFIX) for name in columns)
    marks = [[values.get(name, "").strip() for name in columns] for values in cells]
    read = [[float(one) for one in row] for row in marks if all(_is_mark(one) for one in row)]
    if all(sum(row) == 1 for row in read):
        return Labelling("classes", names, tuple(columns))
    odd_ones = (
        f"{sum(sum(row) != 1 for row in read)} lines have no emotion or several: each is yes or no by itself"
    )
    return Labelling("binary", names, tuple(columns), (odd_ones,))


def read_split(text: str) -> SplitName:
    """The name of a split.

    Raises:
        LabelError: It is none.
    """
    if text not in SPLITS:
        raise LabelError(f"split is {text[:40]!r}: give one of {', '.join(SPLITS)}")
    return cast("SplitName", text)


def split_by_video(digests: Sequence[str], seed: int) -> dict[str, SplitName]:
    """Deal videos to the splits, never parts of one: 15 % to "valid", 15 % to "test", at least one to each.

    Args:
        digests: Of the lines' videos; a video may come several times.
        seed: Equal seeds and videos give equal splits, whatever the order of the lines.

    Raises:
        ConfigError: Fewer than three videos.
    """
    videos = sorted(set(digests))
    if len(videos) < 3:
        raise ConfigError(
            f"{len(videos)} videos can't be dealt to train, valid and test: add videos, or a column 'split'"
        )
    order = np.random.default_rng(seed).permutation(len(videos))
    num_valid = max(1, round(VALID_SHARE * len(videos)))
    num_test = max(1, round(TEST_SHARE * len(videos)))
    dealt: dict[str, SplitName] = {}
    for place, index in enumerate(order):
        is_valid, is_test = place < num_valid, place < num_valid + num_test
        dealt[videos[index]] = "valid" if is_valid else "test" if is_test else "train"
    return dealt


def class_warnings(names: Sequence[str], num_rows: Mapping[str, int]) -> Iterator[str]:
    """What looks like a slip of the pen, or can't be learned.

    Args:
        names: Of all classes.
        num_rows: Of those that are in the training split.
    """
    for name in names:
        num = num_rows.get(name, 0)
        if num >= FEW_ROWS:
            continue
        near = difflib.get_close_matches(name, [other for other in names if other != name], 1, NEARLY)
        hint = f"; is it {near[0]!r}?" if near else ""
        yield f"class {name!r} has {num} lines in split 'train', too few to be learned{hint}"


def _one_column(texts: Sequence[str]) -> Labelling:
    given = [text for text in texts if text]
    numbers = [text for text in given if _number(text) is not None]
    if len(numbers) * 2 >= len(given):
        return Labelling("regression", (), (LABEL,))
    names = tuple(sorted({text for text in given if _number(text) is None}))
    if not 2 <= len(names) <= MAX_CLASSES:
        raise ConfigError(
            f"column {LABEL!r} holds {len(names)} different names (the first is {names[0][:40]!r}): give a number "
            f"from {LEAST:g} to {MOST:g}, or one of 2 to {MAX_CLASSES} names"
        )
    return Labelling("classes", names, (LABEL,))


def _sentiment(text: str) -> float:
    number = _number(text)
    if number is None:
        raise LabelError("label is empty" if not text else f"label is {text[:40]!r}, most are numbers")
    if not math.isfinite(number):
        raise LabelError(f"label is {text}: give a number")
    if not LEAST <= number <= MOST:
        raise LabelError(f"label is {text}: give a number from {LEAST:g} to {MOST:g}")
    return number


def _number(text: str) -> float | None:
    try:
        return float(text)
    except ValueError:
        return None


def _is_mark(text: str) -> bool:
    return _number(text) in (0.0, 1.0)


def _mark(name: str, text: str) -> float:
    if not _is_mark(text.strip()):
        raise LabelError(f"{name} is {text.strip()[:40]!r}: give 0 or 1")
    return float(text)
