"""Checkpoints on disk: a folder with `model.safetensors` and `manifest.json`. No pickle, ever.

Knows files and the model's parameters. Does not know how they were trained.
"""

import dataclasses
import hashlib
from dataclasses import dataclass
from pathlib import Path

import safetensors
import safetensors.torch

from hctdmg.manifest import CheckpointError, Manifest, manifest_from_json, manifest_to_json
from hctdmg.model import HctDmg

SHIPPED = Path(__file__).parent / "checkpoints"
WEIGHTS = "model.safetensors"
MANIFEST = "manifest.json"
MAX_MANIFEST_BYTES = 2**20
MAX_WEIGHTS_BYTES = 2**30


@dataclass(frozen=True)
class Checkpoint:
    """A loaded checkpoint.

    Attributes:
        manifest: What it says of itself.
        model: In evaluation mode, on the CPU.
        sha256: Digest of the manifest file, which holds the digest of the weights: covers both.
    """

    manifest: Manifest
    model: HctDmg
    sha256: str


def save_checkpoint(folder: Path, model: HctDmg, manifest: Manifest) -> str:
    """Write a checkpoint, replacing one that is there.

    Args:
        folder: Made if needed.
        model: Its weights are written.
        manifest: `weights_sha256` is filled in here, whatever it holds.

    Returns:
        The checkpoint's sha256.

    Raises:
        ValueError: The manifest describes another model.
    """
    if manifest.model != model.config:
        raise ValueError("the manifest describes another model than the one to save")
    weights = safetensors.torch.save(
        {name: tensor.contiguous() for name, tensor in model.state_dict().items()}
    )
    complete = dataclasses.replace(manifest, weights_sha256=hashlib.sha256(weights).hexdigest())
    text = manifest_to_json(complete).encode()
    manifest_from_json(text)
    folder.mkdir(parents=True, exist_ok=True)
    (folder / WEIGHTS).write_bytes(weights)
    (folder / MANIFEST).write_bytes(text)
    return hashlib.sha256(text).hexdigest()


def find_checkpoint(name_or_path: str) -> Path:
    """The folder of a shipped checkpoint by name, or of any by path.

    Raises:
        CheckpointError: There is none.
    """
    shipped = SHIPPED / name_or_path
    if Path(name_or_path).name == name_or_path and (shipped / MANIFEST).is_file():
        return shipped
    folder = Path(name_or_path).expanduser()
    if not (folder / MANIFEST).is_file():
        known = ", ".join(sorted(path.parent.name for path in SHIPPED.glob(f"*/{MANIFEST}"))) or "none"
        raise CheckpointError(
            f"no checkpoint {name_or_path!r}: give a folder that holds {MANIFEST}, "
            f"or the name of a shipped one ({known})"
        )
    return folder


def read_manifest(name_or_path: str) -> Manifest:
    """Only the manifest: quick, without the weights.

    Raises:
        CheckpointError: There is none, or it can't be read.
    """
    folder = find_checkpoint(name_or_path)
    try:
        return manifest_from_json(_read(folder / MANIFEST, MAX_MANIFEST_BYTES))
    except CheckpointError as error:
        raise CheckpointError(f"{folder}: {error}") from None


def load_checkpoint(name_or_path: str) -> Checkpoint:
    """Load a checkpoint and check that it is whole.

    Raises:
        CheckpointError: It is missing, damaged, foreign, or manifest and weights do not belong together.
    """
    folder = find_checkpoint(name_or_path)
    try:
        text = _read(folder / MANIFEST, MAX_MANIFEST_BYTES)
        manifest = manifest_from_json(text)
        weights = _read(folder / WEIGHTS, MAX_WEIGHTS_BYTES)
        model = _build(manifest, weights)
    except CheckpointError as error:
        raise CheckpointError(f"{folder}: {error}") from None
    return Checkpoint(manifest, model, hashlib.sha256(text).hexdigest())


def _build(manifest: Manifest, weights: bytes) -> HctDmg:
    digest = hashlib.sha256(weights).hexdigest()
    if digest != manifest.weights_sha256:
        raise CheckpointError(
            f"{WEIGHTS} has sha256 {digest[:12]}…, the manifest says {manifest.weights_sha256[:12]}…: "
            "one of them is damaged, or they do not belong together"
        )
    try:
        tensors = safetensors.torch.load(weights)
    except (safetensors.SafetensorError, ValueError, KeyError) as error:
        raise CheckpointError(f"{WEIGHTS} can't be read: {error}") from None
    model = HctDmg(manifest.model)
    expected = {name: tensor.shape for name, tensor in model.state_dict().items()}
    found = {name: tensor.shape for name, tensor in tensors.items()}
    for name in sorted({*expected, *found}):
        if expected.get(name) != found.get(name):
            theirs, ours = (
                str(list(shape)) if shape is not None else "nothing"
                for shape in (found.get(name), expected.get(name))
            )
            raise CheckpointError(f"{WEIGHTS}: {name} is {theirs}, the manifest's model needs {ours}")
    model.load_state_dict(tensors)
    return model.eval()


def _read(path: Path, max_bytes: int) -> bytes:
    try:
        if path.stat().st_size > max_bytes:
            raise CheckpointError(f"{path.name} has {path.stat().st_size} bytes, more than {max_bytes}")
        return path.read_bytes()
    except OSError as error:
        raise CheckpointError(f"{path.name} can't be read: {error.strerror}") from None
