"""A peer's weights on disk: `model.safetensors` and a `manifest.json` of its own format, so that none is ever served.

Knows files and the registry of models. Does not know how they were trained.
"""

import dataclasses
import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import safetensors
import safetensors.torch
from torch import nn

from hctdmg.baselines.registry import build
from hctdmg.checkpoint import MANIFEST, MAX_MANIFEST_BYTES, WEIGHTS
from hctdmg.config import ModalityConfig
from hctdmg.contract import FeatureContract
from hctdmg.manifest import PEER_FORMAT, CheckpointError, read_value
from hctdmg.training.network import Standardised


@dataclass(frozen=True)
class PeerManifest:
    """What the weights are.

    Attributes:
        model: A name of the registry.
        modalities: In the order in which it was built.
        num_outputs: K.
        num_steps: The most steps of each modality.
        training: How it was made (JSON values).
        features: What it was trained on, where extractors of ours made it; None for ready-made features.
        weights_sha256: Digest of the weights' file.
    """

    model: str
    modalities: tuple[ModalityConfig, ...]
    num_outputs: int
    num_steps: Mapping[str, int]
    training: Mapping[str, Any]
    features: FeatureContract | None = None
    weights_sha256: str = ""
    format: Literal["hctdmg-peer"] = PEER_FORMAT


def is_peer(folder: Path) -> bool:
    """Whether a folder holds a peer's checkpoint."""
    path = folder / MANIFEST
    if not path.is_file() or path.stat().st_size > MAX_MANIFEST_BYTES:
        return False
    try:
        value = json.loads(path.read_bytes())
    except ValueError:
        return False
    return isinstance(value, dict) and value.get("format") == PEER_FORMAT


def save_peer(folder: Path, network: nn.Module, manifest: PeerManifest) -> str:
    """Write a peer's checkpoint, replacing one that is there.

    Returns:
        The digest of its manifest, which covers the weights.
    """
    weights = safetensors.torch.save(
        {name: tensor.cpu().contiguous().clone() for name, tensor in network.state_dict().items()}
    )
    complete = dataclasses.replace(manifest, weights_sha256=hashlib.sha256(weights).hexdigest())
    text = json.dumps(dataclasses.asdict(complete), indent=1, sort_keys=True).encode() + b"\n"
    folder.mkdir(parents=True, exist_ok=True)
    (folder / WEIGHTS).write_bytes(weights)
    (folder / MANIFEST).write_bytes(text)
    return hashlib.sha256(text).hexdigest()


def load_peer(folder: Path) -> tuple[Standardised, PeerManifest, str]:
    """A peer in evaluation mode, its manifest, and its digest.

    Raises:
        CheckpointError: It is damaged, or manifest and weights do not belong together.
    """
    try:
        text = (folder / MANIFEST).read_bytes()
        manifest: PeerManifest = read_value(PeerManifest, json.loads(text), "manifest")
        weights = (folder / WEIGHTS).read_bytes()
        if hashlib.sha256(weights).hexdigest() != manifest.weights_sha256:
            raise CheckpointError(f"{WEIGHTS} is not the one of {MANIFEST}: one of them is damaged")
        peer = build(manifest.model, manifest.modalities, manifest.num_outputs, manifest.num_steps)
        network = Standardised(peer, {one.name: one.width for one in manifest.modalities})
        network.load_state_dict(safetensors.torch.load(weights))
    except (OSError, ValueError, RuntimeError, safetensors.SafetensorError) as error:
        raise CheckpointError(f"{folder}: {error}") from None
    return network.eval(), manifest, hashlib.sha256(text).hexdigest()
