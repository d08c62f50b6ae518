"""MMSA's pickles: `aligned_50.pkl`, `unaligned_50.pkl`, and CH-SIMS with a label for each modality.

`{train, valid, test}` → `text` (N, L, 768), `audio`, `vision`, `regression_labels`, `id`; mostly also `text_bert`
(N, 3, L: token, mask, segment), `audio_lengths`, `vision_lengths`; CH-SIMS `regression_labels_T/_A/_V`, on a scale of
[-1, 1] (Yu et al. 2020). Knows this format alone.
"""

from collections.abc import Mapping
from typing import Any

import numpy as np

from hctdmg.data.dataset import CMU_RANGE, Dataset, Floats, Split, check_splits, check_widths
from hctdmg.data.errors import DataError
from hctdmg.data.padding import make_split

MODALITIES = ("text", "audio", "vision")
UNIMODAL = {"text": "regression_labels_T", "audio": "regression_labels_A", "vision": "regression_labels_V"}
SIMS_RANGE = (-1.0, 1.0)


def is_mmsa(content: Mapping[str, Any]) -> bool:
    """Whether it looks like this format."""
    return isinstance(content.get("train"), Mapping) and "regression_labels" in content["train"]


def read_mmsa(content: Mapping[str, Any]) -> Dataset:
    """Read an unpickled file.

    Raises:
        DataError: It is not as described above.
    """
    check_splits(content)
    warnings: list[str] = []
    splits = {}
    for split in ("train", "valid", "test"):
        fields = content[split]
        for name in (*MODALITIES, "regression_labels"):
            if name not in fields:
                raise DataError(f"{split}: has no {name!r} (found: {', '.join(map(str, fields))})")
        labels_NK = np.asarray(fields["regression_labels"], np.float32).reshape(-1, 1)
        raw = {name: fields[name] for name in MODALITIES}
        splits[split] = make_split(
            split,
            raw,
            labels_NK,
            fields.get("id"),
            warnings,
            lengths=_lengths(split, fields),
            unimodal=_unimodal(split, fields, len(labels_NK)),
        )
    check_widths(splits)
    label_range = SIMS_RANGE if _is_sims(splits) else CMU_RANGE
    return Dataset("mmsa", splits, "regression", (), label_range, tuple(warnings))


def _is_sims(splits: Mapping[str, Split]) -> bool:
    """Whether every modality has labels, and none is beyond CH-SIMS's scale: others label modalities on CMU's."""
    low, high = SIMS_RANGE
    return all(split.unimodal for split in splits.values()) and not any(
        (label < low).any() or (label > high).any()
        for split in splits.values()
        for label in (split.labels_NK, *split.unimodal.values())
    )


def _lengths(split: str, fields: Mapping[str, Any]) -> dict[str, Any]:
    """What the file says of lengths; aligned files say it of the text alone, on whose clock all are."""
    lengths: dict[str, Any] = {}
    if "text_bert" in fields:
        bert = np.asarray(fields["text_bert"])
        if bert.ndim != 3 or bert.shape[1] != 3:
            raise DataError(f"{split}: text_bert has shape {bert.shape}, (N, 3, L) is needed")
        lengths["text"] = bert[:, 1].sum(axis=1).astype(np.int64)
    for name in ("audio", "vision"):
        if f"{name}_lengths" in fields:
            lengths[name] = np.asarray(fields[f"{name}_lengths"], np.int64)
        elif "text" in lengths and np.shape(fields[name])[:2] == np.shape(fields["text"])[:2]:
            lengths[name] = lengths["text"]
    return lengths


def _unimodal(split: str, fields: Mapping[str, Any], num_samples: int) -> dict[str, Floats]:
    found = {
        name: np.asarray(fields[key], np.float32).reshape(-1)
        for name, key in UNIMODAL.items()
        if key in fields
    }
    for name, label_N in found.items():
        if len(label_N) != num_samples or not np.isfinite(label_N).all():
            raise DataError(f"{split}: {UNIMODAL[name]} must be {num_samples} finite numbers")
    return found
