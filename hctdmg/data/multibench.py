"""MultiBench's pickles of UR-FUNNY (`humor.pkl`) and MUStARD (`sarcasm.pkl`) (Liang et al. 2021).

`{train, valid, test}` → `vision, audio, text` (N, T, D), padded on the left, `labels` of -1 and 1, `id`. Knows this
format alone.
"""

from collections.abc import Mapping
from typing import Any

import numpy as np

from hctdmg.data.dataset import Dataset, check_splits, check_widths
from hctdmg.data.errors import DataError
from hctdmg.data.padding import make_split

MODALITIES = ("text", "audio", "vision")


def is_multibench(content: Mapping[str, Any]) -> bool:
    """Whether it looks like this format: like MulT's, but every label is -1 or 1."""
    train = content.get("train")
    if not isinstance(train, Mapping) or not {*MODALITIES, "labels"} <= set(train):
        return False
    labels = np.asarray(train["labels"])
    return bool(labels.size) and labels.dtype.kind in "biuf" and set(np.unique(labels)) == {-1, 1}


def read_multibench(content: Mapping[str, Any]) -> Dataset:
    """Read an unpickled file.

    Raises:
        DataError: It is not as described above.
    """
    check_splits(content)
    warnings: list[str] = []
    splits = {}
    for split in ("train", "valid", "test"):
        fields = content[split]
        labels_N = np.asarray(fields["labels"]).reshape(-1)
        if not np.isin(labels_N, (-1, 1)).all():
            raise DataError(f"{split}: labels must be -1 or 1; found {np.unique(labels_N)[:5].tolist()}")
        raw = {name: fields[name] for name in MODALITIES}
        splits[split] = make_split(split, raw, (labels_N > 0)[:, None], fields.get("id"), warnings)
    check_widths(splits)
    return Dataset("multibench", splits, "classes", ("no", "yes"), warnings=tuple(warnings))
