"""MulT's pickles: MOSI, MOSEI and IEMOCAP, aligned and not (Tsai et al. 2019; `{name}_data[_noalign].pkl`).

`{train, valid, test}` → `text, audio, vision` (N, T, D), `labels`, and `id` in some. A label is (N, 1, 1) for
sentiment, (N, 4, 2) for IEMOCAP: one yes-or-no for each emotion. Knows this format alone.
"""

from collections.abc import Mapping
from typing import Any

import numpy as np
import numpy.typing as npt

from hctdmg.data.dataset import Dataset, Task, check_splits, check_widths
from hctdmg.data.errors import DataError
from hctdmg.data.padding import make_split

MODALITIES = ("text", "audio", "vision")
EMOTIONS = ("neutral", "happy", "sad", "angry")
"""In the order of the file."""


def is_mult(content: Mapping[str, Any]) -> bool:
    """Whether it looks like this format."""
    return _has(content, *MODALITIES, "labels")


def read_mult(content: Mapping[str, Any]) -> Dataset:
    """Read an unpickled file.

    Raises:
        DataError: It is not as described above.
    """
    check_splits(content)
    warnings: list[str] = []
    splits, tasks = {}, set()
    for split in ("train", "valid", "test"):
        fields = _fields(split, content[split])
        labels_NK, task = _labels(split, fields["labels"])
        tasks.add(task)
        raw = {name: fields[name] for name in MODALITIES}
        splits[split] = make_split(split, raw, labels_NK, fields.get("id"), warnings)
    check_widths(splits)
    if len(tasks) > 1:
        raise DataError("the splits have labels of different shapes: all must be sentiment, or all emotions")
    task = tasks.pop()
    return Dataset("mult", splits, task, EMOTIONS if task == "binary" else (), warnings=tuple(warnings))


def _fields(split: str, fields: Any) -> Mapping[str, Any]:
    if not isinstance(fields, Mapping):
        raise DataError(
            f"{split}: is {type(fields).__name__}, it must hold {', '.join(MODALITIES)} and labels"
        )
    for name in (*MODALITIES, "labels"):
        if name not in fields:
            raise DataError(f"{split}: has no {name!r} (found: {', '.join(map(str, fields))})")
    return fields


def _labels(split: str, value: Any) -> tuple[npt.NDArray[Any], Task]:
    labels = np.asarray(value)
    if labels.ndim == 3 and labels.shape[1:] == (len(EMOTIONS), 2):
        return labels.argmax(axis=2).astype(np.float32), "binary"
    if labels.ndim >= 1 and labels.size == len(labels) and len(labels):
        return labels.reshape(-1, 1), "regression"
    raise DataError(
        f"{split}: labels have shape {labels.shape}: (N, 1, 1) for sentiment or (N, {len(EMOTIONS)}, 2) is needed"
    )


def _has(content: Mapping[str, Any], *names: str) -> bool:
    return isinstance(content.get("train"), Mapping) and set(names) <= set(content["train"])
