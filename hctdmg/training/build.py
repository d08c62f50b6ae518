"""From a data set to a network with fresh weights that fits it. Knows names, widths and lengths. Does not train."""

import dataclasses
from collections.abc import Mapping
from typing import Any

import torch
from torch import nn

from hctdmg.baselines.registry import NAMES, build
from hctdmg.config import ModalityConfig, ModelConfig
from hctdmg.data.dataset import Dataset
from hctdmg.model import HctDmg
from hctdmg.training.errors import RecipeError
from hctdmg.training.network import Standardised

OWN = "hct-dmg"
DEFAULT_KERNEL_SIZE = 3


def build_network(
    name: str,
    data: Dataset,
    seed: int,
    settings: Mapping[str, Any] | None = None,
    kernel_sizes: Mapping[str, int] | None = None,
) -> nn.Module:
    """A network with weights that the seed decides, its modalities in the data set's order.

    Args:
        name: One of `hctdmg.baselines.registry.NAMES`.
        data: Says widths, lengths and labels.
        seed: Of the weights.
        settings: Fields of `ModelConfig`, for HCT-DMG alone: the peers are as their papers have them.
        kernel_sizes: Of each modality's convolution; 3 where it isn't named.

    Raises:
        RecipeError: There is no such model, or it can't be built like this.
    """
    torch.manual_seed(seed)
    try:
        modalities = modalities_of(data, kernel_sizes or {})
        if name == OWN:
            return HctDmg(ModelConfig(modalities, data.label_names, **(settings or {})))
        if settings:
            raise RecipeError(
                f"{', '.join(settings)}: only {OWN} has such settings, {name} is as its paper has it"
            )
        return Standardised(build(name, modalities, num_outputs(data), num_steps(data)), data.widths)
    except ValueError as error:
        raise RecipeError(str(error)) from None


def modalities_of(data: Dataset, kernel_sizes: Mapping[str, int]) -> tuple[ModalityConfig, ...]:
    """The data set's modalities in its order, each with its kernel, 3 where it isn't named."""
    return tuple(
        ModalityConfig(name, width, kernel_sizes.get(name, DEFAULT_KERNEL_SIZE))
        for name, width in data.widths.items()
    )


def num_outputs(data: Dataset) -> int:
    """K of a peer: one number, or one logit of each class."""
    return len(data.label_names) or 1


def num_steps(data: Dataset) -> dict[str, int]:
    """The most steps that any batch of any split has of each modality."""
    return {
        name: max(max(1, int(split.masks[name].sum(axis=1).max(initial=0))) for split in data.splits.values())
        for name in data.widths
    }


def model_fields() -> dict[str, Any]:
    """Names and defaults of what can be set of HCT-DMG: all of `ModelConfig` but what the data set decides."""
    return {
        one.name: one.default
        for one in dataclasses.fields(ModelConfig)
        if one.name not in ("modalities", "labels")
    }


__all__ = ["NAMES", "OWN", "build_network", "modalities_of", "model_fields", "num_outputs", "num_steps"]
