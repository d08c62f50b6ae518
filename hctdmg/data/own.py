"""Our own extracted features: a folder that `hctdmg extract` fills, one file a sample, and that training reads.

    DIR/features.json                what was extracted, by which extractors, and each sample's split and labels
    DIR/samples/<key>.safetensors    (T, D) of each modality, by a key that whoever extracts chooses

Every file appears whole or not at all, and says of itself what it must hold, so that an extraction can be killed at any
time and go on. `features.json` is removed first and written last: a folder without it is not complete. No pickle.
Knows files and arrays. Does not know videos or extractors.
"""

import dataclasses
import hashlib
import json
import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import numpy as np
import safetensors
import safetensors.numpy

from hctdmg.batch import Sample
from hctdmg.contract import FeatureContract
from hctdmg.data.dataset import SPLITS, Dataset, Floats, Split, SplitName, Task
from hctdmg.data.errors import DataError
from hctdmg.manifest import CheckpointError, read_value

FORMAT: Literal["hctdmg-features"] = "hctdmg-features"
FORMAT_VERSION = 1
FEATURES = "features.json"
SAMPLES = "samples"


@dataclass(frozen=True)
class StoredSample:
    """What is in a sample's file.

    Attributes:
        key: Of the file.
        sha256: Digest of its arrays.
        num_steps: T of each modality; 0 where it is absent.
    """

    key: str
    sha256: str
    num_steps: Mapping[str, int]


@dataclass(frozen=True)
class Example:
    """One labelled sample.

    Attributes:
        id: Unique within the set.
        split: "train", "valid" or "test".
        labels: (K,) as `Split.labels_NK` has them.
        stored: Its features.
    """

    id: str
    split: SplitName
    labels: tuple[float, ...]
    stored: StoredSample


@dataclass(frozen=True)
class FeatureSet:
    """All that `features.json` says.

    Attributes:
        contract: What the features are; a checkpoint that is trained on them demands the same.
        task: What a label is.
        label_names: Names of the classes; empty for regression.
        label_range: Least and greatest label that the scale has, for regression.
        examples: In the order of the manifest.
        origin: Where it all came from: the manifest's name and digest, versions, the seed of the split (JSON values).
        warnings: What its users should know, each with its count.
    """

    contract: FeatureContract
    task: Task
    label_names: tuple[str, ...]
    label_range: tuple[float, ...]
    examples: tuple[Example, ...]
    origin: Mapping[str, Any] = field(default_factory=dict)
    warnings: tuple[str, ...] = ()
    format: Literal["hctdmg-features"] = FORMAT
    format_version: int = FORMAT_VERSION


def save_sample(folder: Path, key: str, sample: Sample) -> StoredSample:
    """Write one sample's features, replacing what is there.

    Args:
        folder: The set's; made if needed.
        key: Letters and digits.
        sample: (T, D) of every modality; T = 0 where it is absent.
    """
    arrays = {name: np.ascontiguousarray(x_TD, np.float32) for name, x_TD in sample.items()}
    digest = _digest(arrays)
    data = safetensors.numpy.save(arrays, metadata=_label(key, digest))
    _write_whole(_sample_path(folder, key), data)
    return StoredSample(key, digest, {name: len(x_TD) for name, x_TD in arrays.items()})


def load_sample(folder: Path, key: str, widths: Mapping[str, int]) -> tuple[dict[str, Floats], StoredSample]:
    """Read one sample's features, and see that they are what was written.

    Args:
        folder: The set's.
        key: As it was saved.
        widths: D of each modality that it must have.

    Raises:
        DataError: It is missing, damaged, or another one.
    """
    path = _sample_path(folder, key)
    try:
        with safetensors.safe_open(str(path), "np") as file:
            said = file.metadata()
            arrays = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 - no mapping
    except FileNotFoundError:
        raise DataError(f"{path}: is missing: extract again, which makes what is missing") from None
    except (OSError, safetensors.SafetensorError) as error:
        raise DataError(f"{path}: can't be read ({error}): extract again, which replaces it") from None
    digest = _digest(arrays)
    if said != _label(key, digest):
        raise DataError(f"{path}: does not hold what was written to it: extract again, which replaces it")
    shapes = {name: x_TD.shape[1:] for name, x_TD in arrays.items()}
    if shapes != {name: (width,) for name, width in widths.items()}:
        raise DataError(
            f"{path}: has widths {shapes}, {dict(widths)} are needed: extract into an empty folder"
        )
    if not all(x_TD.dtype == np.float32 and np.isfinite(x_TD).all() for x_TD in arrays.values()):
        raise DataError(f"{path}: holds values that are no finite 32-bit numbers: extract again")
    return arrays, StoredSample(key, digest, {name: len(arrays[name]) for name in widths})


def save_features(folder: Path, features: FeatureSet) -> None:
    """Write `features.json`, once all samples are there; equal sets give equal files."""
    text = json.dumps(dataclasses.asdict(features), indent=1, ensure_ascii=False)
    _write_whole(folder / FEATURES, text.encode() + b"\n")


def forget_features(folder: Path) -> None:
    """Remove `features.json`, before samples are added or replaced: until it is written anew nothing can be read."""
    (folder / FEATURES).unlink(missing_ok=True)


def load_features(folder: Path) -> FeatureSet:
    """Read `features.json` alone.

    Raises:
        DataError: It is missing, damaged or of another version.
    """
    path = folder / FEATURES
    try:
        value = json.loads(path.read_bytes())
    except OSError as error:
        raise DataError(
            f"{path}: {error.strerror}: an extraction writes it at its end; run it again"
        ) from None
    except ValueError as error:
        raise DataError(f"{path}: is no JSON ({error}): extract again") from None
    if not isinstance(value, dict) or value.get("format") != FORMAT:
        raise DataError(f"{path}: is not {FORMAT!r}")
    if value.get("format_version") != FORMAT_VERSION:
        raise DataError(
            f"{path}: has format_version {value.get('format_version')!r}, this program reads {FORMAT_VERSION}"
        )
    try:
        features: FeatureSet = read_value(FeatureSet, value, FEATURES)
    except CheckpointError as error:
        raise DataError(f"{folder}: {error}") from None
    _check(folder, features)
    return features


def is_own(folder: Path) -> bool:
    """Whether it looks like this format, complete or not."""
    return (folder / FEATURES).is_file() or (folder / SAMPLES).is_dir()


def read_own(folder: Path) -> Dataset:
    """Read a folder into padded arrays; a split without samples is a warning.

    Raises:
        DataError: Something is missing or damaged.
    """
    features = load_features(folder)
    splits = {name: _read_split(folder, features, name) for name in SPLITS}
    empty = [f"{name}: has no sample" for name, split in splits.items() if not split.num_samples]
    low, high = features.label_range
    return Dataset(
        FORMAT,
        splits,
        features.task,
        features.label_names,
        (low, high),
        (*features.warnings, *empty),
        features.contract,
    )


def _read_split(folder: Path, features: FeatureSet, split: str) -> Split:
    widths = {name: one.width for name, one in features.contract.modalities.items()}
    examples = [example for example in features.examples if example.split == split]
    num_labels = max(1, len(features.label_names)) if features.task == "binary" else 1
    for example in examples:
        _check_steps(folder, example)
    padded, masks = {}, {}
    for name, width in widths.items():
        steps_N = np.array([example.stored.num_steps[name] for example in examples], np.int64)
        num_steps = max(1, int(steps_N.max(initial=0)))
        padded[name] = np.zeros((len(examples), num_steps, width), np.float32)
        masks[name] = np.arange(num_steps)[None] < steps_N[:, None]
    for row, example in enumerate(examples):
        arrays, stored = load_sample(folder, example.stored.key, widths)
        if stored != example.stored:
            raise DataError(
                f"{folder}: sample {example.id} is not the one that {FEATURES} names: extract again"
            )
        for name in widths:
            padded[name][row, : len(arrays[name])] = arrays[name]
    labels_NK = np.array([example.labels for example in examples], np.float32).reshape(-1, num_labels)
    return Split(padded, masks, labels_NK, tuple(example.id for example in examples))


def _check_steps(folder: Path, example: Example) -> None:
    """See that a file has the steps that are said, by its size alone: whoever lies must not have memory taken."""
    path = _sample_path(folder, example.stored.key)
    num_bytes = 4 * sum(example.stored.num_steps.values())  # of one feature each
    if path.is_file() and num_bytes > path.stat().st_size:
        raise DataError(f"{path}: is too short for the steps that {FEATURES} says it has: extract again")


def _check(folder: Path, features: FeatureSet) -> None:
    num_labels = len(features.label_names) if features.task == "binary" else 1
    names = set(features.contract.modalities)
    for example in features.examples:
        steps = example.stored.num_steps
        if len(example.labels) != num_labels or set(steps) != names or min(steps.values()) < 0:
            raise DataError(
                f"{folder / FEATURES}: sample {example.id}: {num_labels} labels and the modalities "
                f"{', '.join(sorted(names))} with 0 or more steps each are needed"
            )
        if features.task == "classes" and example.labels[0] not in range(len(features.label_names)):
            raise DataError(
                f"{folder / FEATURES}: sample {example.id}: there is no class {example.labels[0]:g}"
            )
    if len(features.label_range) != 2 or features.label_range[0] >= features.label_range[1]:
        raise DataError(f"{folder / FEATURES}: label_range must be two numbers, the least first")


def _sample_path(folder: Path, key: str) -> Path:
    if not key.isalnum():
        raise DataError(f"{folder}: {key!r} is no key of a sample: letters and digits are")
    return folder / SAMPLES / f"{key}.safetensors"


def _label(key: str, digest: str) -> dict[str, str]:
    """What a sample's file says of itself; in one entry, because several are written in an order of chance."""
    return {"sample": f"{key} {digest}"}


def _digest(arrays: Mapping[str, Floats]) -> str:
    digest = hashlib.sha256()
    for name in sorted(arrays):
        digest.update(f"{name} {arrays[name].dtype} {arrays[name].shape}\n".encode())
        digest.update(np.ascontiguousarray(arrays[name]).tobytes())
    return digest.hexdigest()


def _write_whole(path: Path, data: bytes) -> None:
    """Under another name first, and on the disk before it gets its own: a kill leaves the old file or the new one."""
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        with open(partial, "wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        partial.replace(path)
    finally:
        partial.unlink(missing_ok=True)
