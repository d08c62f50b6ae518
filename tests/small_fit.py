"""A small network, fitted: what the tests of fitting and of its state have in common."""

import dataclasses

import torch

from hctdmg.data.dataset import Dataset
from hctdmg.training.build import build_network
from hctdmg.training.fit import FitConfig, FitResult, fit
from tests.small_data import FIT, MODEL


def trained(
    data: Dataset, config: FitConfig = FIT, name: str = "hct-dmg"
) -> tuple[torch.nn.Module, FitResult]:
    network = build_network(name, data, config.seed, MODEL if name == "hct-dmg" else None)
    return network, fit(network, data, config)


def same_history(left: FitResult, right: FitResult) -> bool:
    plain = [
        [dataclasses.replace(epoch, seconds=0.0) for epoch in result.history] for result in (left, right)
    ]
    return plain[0] == plain[1]
