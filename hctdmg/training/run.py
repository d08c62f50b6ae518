"""A training run: from a data set and a recipe to a folder that holds all that is needed to repeat it.

    DIR/run.json        the recipe, the data's digest, versions, the command, and what came out
    DIR/metrics.jsonl   one line an epoch
    DIR/curves.svg      losses and gate weights
    DIR/checkpoint/     manifest and weights, as `evaluate`, `export` and (for own features) `run` take them
    DIR/state.pt        where the run stands, for resuming it

Knows how the parts follow one another. Does not know how to print.
"""

import dataclasses
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import nn

from hctdmg.checkpoint import save_checkpoint
from hctdmg.contract import FeatureContract, precomputed_contract
from hctdmg.data.dataset import Dataset
from hctdmg.data.fingerprint import fingerprint
from hctdmg.data.scale import on_cmu_scale
from hctdmg.manifest import Manifest
from hctdmg.model import HctDmg
from hctdmg.training.build import OWN, build_network, modalities_of, num_outputs, num_steps
from hctdmg.training.calibrate import calibrate
from hctdmg.training.curves import curves
from hctdmg.training.errors import RecipeError
from hctdmg.training.fit import FitEpoch, FitResult, fit, threads
from hctdmg.training.fit_state import STATE
from hctdmg.training.network import Standardised
from hctdmg.training.peer_checkpoint import PeerManifest, save_peer
from hctdmg.training.recipe import Recipe
from hctdmg.training.versions import versions

RUN = "run.json"
CHECKPOINT = "checkpoint"
CURVES = "curves.svg"

Record = dict[str, Any]


@dataclass(frozen=True)
class Run:
    """What came out.

    Attributes:
        result: Of training.
        checkpoint_sha256: Of the checkpoint in `DIR/checkpoint`.
        num_parameters: Trained numbers.
        is_servable: Whether `hctdmg run` takes the checkpoint.
    """

    result: FitResult
    checkpoint_sha256: str
    num_parameters: int
    is_servable: bool


def train_run(
    data: Dataset,
    recipe: Recipe,
    folder: Path,
    source: str,
    command: Sequence[str],
    is_resumed: bool = False,
    report: Callable[[FitEpoch], None] = lambda _: None,
) -> Run:
    """Train, calibrate, save.

    Args:
        data: As read.
        recipe: How.
        folder: Made if needed.
        source: Where the data came from, for the record.
        command: What was typed, for the record.
        is_resumed: Go on with what is in the folder; begin if there is nothing yet.
        report: Called after each epoch.

    Raises:
        RecipeError: The folder holds a run already and is not to be resumed, or it is another one.
        TrainingError: Training failed; see `fit`.
    """
    if not is_resumed and any((folder / name).exists() for name in (STATE, CHECKPOINT)):
        raise RecipeError(f"{folder} holds a run already: add --resume, or give another folder")
    data_sha256, data = fingerprint(data), on_cmu_scale(data)
    network = build_network(recipe.model, data, recipe.fit.seed, recipe.settings, recipe.kernel_sizes)
    num_parameters = sum(parameter.numel() for parameter in network.parameters())
    record = _record(data, data_sha256, recipe, source, num_parameters)
    if not (folder / STATE).exists():  # a run that is resumed in vain keeps its own
        _write(folder, {"command": list(command), **record})
    result = fit(network, data, recipe.fit, folder, report, recipe.of_the_model)
    record["result"] = {
        "epochs": len(result.history),
        "best_epoch": result.best.epoch,
        "valid_loss": result.best.valid_loss,
        "gate_weights": result.best.gate_weights,
        "gate_frozen_after": result.gate_frozen_after,
    }
    with threads(recipe.fit.num_threads):  # calibration rounds as training does
        sha256, is_servable = _save(folder / CHECKPOINT, network.to("cpu"), data, recipe, record)
    (folder / CURVES).write_bytes(curves(result))
    seconds = result.history[-1].seconds
    _write(folder, {"command": list(command), **record, "seconds": seconds, "checkpoint_sha256": sha256})
    return Run(result, sha256, num_parameters, is_servable)


def _record(data: Dataset, data_sha256: str, recipe: Recipe, source: str, num_parameters: int) -> Record:
    """What the checkpoint says of itself too: nothing in it differs between two equal runs on one machine."""
    return {
        "data": {
            "source": source,
            "format": data.name,
            "task": data.task,
            "labels": list(data.label_names),
            "sha256": data_sha256,  # as read, as `evaluate` tells it
            "rows": {name: split.num_samples for name, split in data.splits.items()},
        },
        "recipe": dataclasses.asdict(recipe),
        "parameters": num_parameters,
        "versions": versions(),
        "num_threads": recipe.fit.num_threads or torch.get_num_threads(),
    }


def _save(
    folder: Path, network: nn.Module, data: Dataset, recipe: Recipe, record: Mapping[str, Any]
) -> tuple[str, bool]:
    """Write the checkpoint; its digest, and whether it can be served."""
    if not isinstance(network, HctDmg):
        assert isinstance(network, Standardised)
        steps, num = num_steps(data), num_outputs(data)
        modalities = modalities_of(data, recipe.kernel_sizes)
        manifest = PeerManifest(recipe.model, modalities, num, steps, record, data.contract)
        return save_peer(folder, network, manifest), False
    contract = _contract(data)
    own = Manifest(
        name=OWN,
        version=str(record["data"]["sha256"])[:12],
        description=f"Trained by `hctdmg train` on {record['data']['source']}, read as {data.name}.",
        model=network.config,
        features=contract,
        calibration=calibrate(network, data, data.splits["valid"]),
        training=record,
        weights_sha256="",
    )
    return save_checkpoint(folder, network, own), not contract.is_precomputed


def _contract(data: Dataset) -> FeatureContract:
    if data.contract is None or data.task == "binary":
        # Yes-or-no labels have no place in an event, whose emotions are one choice among several.
        return precomputed_contract(data.widths, data.name)
    return data.contract


def _write(folder: Path, record: Record) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    fresh = folder / f"{RUN}.new"
    fresh.write_text(json.dumps(record, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
    fresh.replace(folder / RUN)
