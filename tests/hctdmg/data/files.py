"""Small files in the formats that researchers bring: the real layout, invented numbers."""

import pickle
from pathlib import Path
from typing import Any

import h5py
import numpy as np

ROWS = {"train": 6, "valid": 3, "test": 4}


def save(path: Path, content: Any, protocol: int = 4) -> Path:
    path.write_bytes(pickle.dumps(content, protocol=protocol))
    return path


def steps(rng: np.random.Generator, num: int, length: int, width: int, pad: str = "right") -> Any:
    """Samples of 2 to `length` real steps, padded with zeros."""
    x = rng.normal(size=(num, length, width)).astype(np.float32) + 3.0
    for row in x:
        real = int(rng.integers(2, length + 1))
        if pad == "right":
            row[real:] = 0
        else:
            row[: length - real] = 0
    return x


def mult(kind: str, aligned: bool = True) -> dict[str, Any]:
    """MOSI (bytes ids), MOSEI or IEMOCAP."""
    rng = np.random.default_rng(1)
    length = 20 if kind == "iemocap" else 50
    shapes = {"text": (length, 300), "audio": (length, 74), "vision": (length, 35)}
    if not aligned:
        shapes = {"text": (50, 300), "audio": (375, 5), "vision": (500, 20)}
    content = {}
    for split, num in ROWS.items():
        fields: dict[str, Any] = {name: steps(rng, num, *shape) for name, shape in shapes.items()}
        fields["audio"][0, 0, 0] = -np.inf
        if kind == "iemocap":
            is_felt = rng.integers(0, 2, size=(num, 4))
            fields["labels"] = np.stack([1 - is_felt, is_felt], axis=2)
        else:
            fields["labels"] = rng.uniform(-3, 3, size=(num, 1, 1)).astype(np.float32)
        if kind == "mosi":
            fields["id"] = np.array([[f"v{n}".encode(), b"0.0", b"1.5"] for n in range(num)], object)
        if kind == "mosei":
            fields["id"] = np.array([[f"v{n}", "0.0", "1.5"] for n in range(num)], object)
        content[split] = fields
    return content


def mmsa(aligned: bool = True, sims: bool = False) -> dict[str, Any]:
    rng = np.random.default_rng(2)
    shapes = {"audio": (50, 5), "vision": (50, 20)} if aligned else {"audio": (375, 5), "vision": (500, 20)}
    content = {}
    for split, num in ROWS.items():
        length = rng.integers(5, 51, size=num)
        token_mask = np.arange(50)[None] < length[:, None]
        fields: dict[str, Any] = {name: rng.normal(size=(num, *shape)) for name, shape in shapes.items()}
        fields["text"] = rng.normal(size=(num, 50, 768)).astype(np.float32)
        fields["text_bert"] = np.stack([token_mask * 7, token_mask, token_mask * 0], axis=1).astype(
            np.float32
        )
        if not aligned:
            fields["audio_lengths"] = [300] * num
            fields["vision_lengths"] = [1] + [400] * (num - 1)
            fields["vision"][0] = 0.0
        label = rng.uniform(-1 if sims else -3, 1 if sims else 3, size=num).astype(np.float32)
        fields["regression_labels"] = label
        fields["classification_labels"] = (label > 0).astype(float)
        fields["annotations"] = np.array(["Positive" if one > 0 else "Negative" for one in label])
        fields["raw_text"] = np.array(["words"] * num, object)
        fields["id"] = [f"vid{n}$_$3" for n in range(num)]
        if sims:
            fields |= {f"regression_labels_{m}": np.clip(label + 0.1 * k, -1, 1) for k, m in enumerate("TAV")}
        content[split] = fields
    return content


def multibench() -> dict[str, Any]:
    rng = np.random.default_rng(3)
    return {
        split: {
            "vision": steps(rng, num, 50, 371, "left"),
            "audio": steps(rng, num, 50, 81, "left"),
            "text": steps(rng, num, 50, 300, "left"),
            "labels": np.where(np.arange(num) % 2, 1, -1)[:, None],
            "id": np.arange(num),
        }
        for split, num in ROWS.items()
    }


def save_mfn(folder: Path) -> Path:
    rng = np.random.default_rng(4)
    for split, num in ROWS.items():
        with h5py.File(folder / f"X_{split}.h5", "w") as file:
            file["data"] = steps(rng, num, 20, 325)
        with h5py.File(folder / f"y_{split}.h5", "w") as file:
            file["data"] = rng.uniform(-3, 3, size=num)
    return folder
