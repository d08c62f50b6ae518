"""A small checkpoint with random weights and the real extractors' contract: for tests of everything but answers."""

from pathlib import Path

import torch

from hctdmg.checkpoint import save_checkpoint
from hctdmg.config import ModalityConfig, ModelConfig
from hctdmg.manifest import Calibration, HeadCalibration, Manifest
from hctdmg.model import HctDmg
from pipelines.prepare import DEFAULT_EXTRACTORS, extractor_contract

NAME = "random"


def save_random_checkpoint(folder: Path, seed: int = 0) -> Path:
    """Write the checkpoint; the same seed gives the same one.

    Returns:
        Its folder, which `model.checkpoint` takes.
    """
    features = extractor_contract(DEFAULT_EXTRACTORS)
    config = ModelConfig(
        modalities=tuple(
            ModalityConfig(name, modality.width, kernel_size=1)
            for name, modality in features.modalities.items()
        ),
        dim=8,
        num_heads=2,
        num_layers_stage1=1,
        num_layers_stage2=1,
        num_layers_self=1,
    )
    torch.manual_seed(seed)
    manifest = Manifest(
        name=NAME,
        version="0",
        description="Random weights.",
        model=config,
        features=features,
        calibration=Calibration(unimodal={name: HeadCalibration() for name in features.modalities}),
        training={},
        weights_sha256="",
    )
    save_checkpoint(folder, HctDmg(config), manifest)
    return folder
