"""The SHA-256 of what a data set holds, wherever it came from. Knows datasets. Does not know files."""

import hashlib
import json
from typing import Any

import numpy as np
import numpy.typing as npt

from hctdmg.data.dataset import Dataset


def fingerprint(data: Dataset) -> str:
    """Digest of task, labels, ids, features and masks of all splits; neither path nor format counts."""
    digest = hashlib.sha256(json.dumps([data.task, data.label_names, data.label_range]).encode())
    for name in sorted(data.splits):
        split = data.splits[name]
        digest.update(json.dumps([name, split.ids]).encode())
        arrays: dict[str, npt.NDArray[Any]] = {"labels": split.labels_NK}
        arrays |= {f"unimodal {one}": v for one, v in split.unimodal.items()}
        for one in split.features:
            arrays |= {f"features {one}": split.features[one], f"mask {one}": split.masks[one]}
        for one, array in arrays.items():
            digest.update(json.dumps([one, str(array.dtype), array.shape]).encode())
            digest.update(np.ascontiguousarray(array).data)
    return digest.hexdigest()
