"""Where a run of `fit` stands: in memory, and in a folder from which it can be resumed.

The state is written whole beside the old one and then renamed, so that a kill at any time leaves one of the two. Knows
files. Does not know what training does.
"""

import dataclasses
import json
import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from hctdmg.training.errors import RecipeError, TrainingError

STATE = "state.pt"
METRICS = "metrics.jsonl"

Weights = dict[str, Tensor]


@dataclass(frozen=True)
class FitEpoch:
    """One epoch: reported while training goes on, and kept after it.

    Attributes:
        epoch: From 1.
        loss: Mean over its training steps, all terms.
        valid_loss: Of the fused head on the validation split, by which the best epoch is chosen.
        learning_rate: During it.
        gate_weights: Of each modality after it; None for a network without a gate.
        primary: The heaviest; None with them.
        is_gate_frozen: Whether the gate was no longer trained in it.
        seconds: Spent since training began, without the time between a kill and its resumption.
    """

    epoch: int
    loss: float
    valid_loss: float
    learning_rate: float
    gate_weights: Mapping[str, float] | None
    primary: str | None
    is_gate_frozen: bool
    seconds: float


@dataclass(frozen=True)
class FitResult:
    """A finished run.

    Attributes:
        history: Every epoch.
        best: The one whose weights the network now has.
        gate_frozen_after: The epoch after which the gate was frozen; None if it never was.
    """

    history: tuple[FitEpoch, ...]
    best: FitEpoch
    gate_frozen_after: int | None


@dataclass
class FitState:
    """A run between two epochs.

    Attributes:
        network: As trained so far.
        optimizer: Its moments.
        schedule: Its count of bad epochs.
        history: The epochs so far.
        best: Weights of the best one.
    """

    network: nn.Module
    optimizer: torch.optim.Optimizer
    schedule: torch.optim.lr_scheduler.ReduceLROnPlateau
    history: list[FitEpoch] = field(default_factory=list)
    best: Weights = field(default_factory=dict)

    @property
    def best_epoch(self) -> FitEpoch:
        """The first with the lowest validation loss."""
        return min(self.history, key=lambda one: one.valid_loss)


def write_state(folder: Path, state: FitState, identity: Mapping[str, Any]) -> None:
    """Write the state, then the metrics, which hold no more than it.

    Args:
        folder: Made if needed.
        state: Between two epochs.
        identity: What must be the same for a resumption; JSON values.
    """
    folder.mkdir(parents=True, exist_ok=True)
    content = {
        "identity": json.dumps(identity, sort_keys=True),
        "history": json.dumps([dataclasses.asdict(one) for one in state.history]),
        "network": state.network.state_dict(),
        "optimizer": state.optimizer.state_dict(),
        "schedule": state.schedule.state_dict(),
        "best": state.best,
    }
    fresh = folder / f"{STATE}.new"
    with fresh.open("wb") as file:
        torch.save(content, file)
        file.flush()
        os.fsync(file.fileno())
    fresh.replace(folder / STATE)
    write_metrics(folder / METRICS, state.history)


def write_metrics(path: Path, history: list[FitEpoch]) -> None:
    """One JSON object a line for each epoch."""
    lines = [json.dumps(dataclasses.asdict(one)) for one in history]
    fresh = path.with_name(f"{path.name}.new")
    fresh.write_text("".join(f"{line}\n" for line in lines))
    fresh.replace(path)


def read_state(folder: Path, state: FitState, identity: Mapping[str, Any], device: torch.device) -> bool:
    """Go on where a folder's state stands, if it has one.

    Returns:
        Whether there was one.

    Raises:
        TrainingError: It is damaged.
        RecipeError: It is of another configuration, network or data set.
    """
    path = folder / STATE
    if not path.is_file():
        return False
    try:
        # Tensors and plain containers alone: a state that would run code is refused.
        content = torch.load(path, map_location=device, weights_only=True)
        theirs = json.loads(content["identity"])
        history = [FitEpoch(**one) for one in json.loads(content["history"])]
    except Exception as error:  # noqa: BLE001 - a damaged file raises whatever it stumbles over
        raise TrainingError(f"{path}: is damaged ({type(error).__name__}): remove it to begin anew") from None
    if differences := _differences(theirs, json.loads(json.dumps(identity))):
        raise RecipeError(
            f"{path}: is of another run ({differences[0]}): resume with the same settings and data, "
            "or take another folder"
        )
    state.network.load_state_dict(content["network"])
    state.optimizer.load_state_dict(content["optimizer"])
    state.schedule.load_state_dict(content["schedule"])
    state.history, state.best = history, content["best"]
    write_metrics(folder / METRICS, history)  # a kill between the two left them short
    return True


def _differences(theirs: Mapping[str, Any], ours: Mapping[str, Any]) -> list[str]:
    """Digests last: a setting says more."""
    return [
        f"{name}: {str(theirs.get(name))[:60]} there, {str(ours.get(name))[:60]} here"
        for name in sorted({*theirs, *ours}, key=lambda one: (one.endswith("sha256"), one))
        if theirs.get(name) != ours.get(name)
    ]
