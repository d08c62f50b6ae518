"""Trains any network on any data set: Adam, plateau schedule, clipped gradients, the best epoch kept. Resumable.

Every epoch draws its chance anew from the seed and its own number, so that a run that is killed and resumed does what
an uninterrupted one does: to the bit, on one machine's CPU with the same number of threads. Knows networks, data sets
and a folder for its state. Does not know what the weights are for.

Shape suffixes: B samples, T steps, M modalities.
"""

import copy
import dataclasses
import hashlib
import math
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from types import MappingProxyType
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn

from hctdmg.batch import Batch
from hctdmg.data.dataset import Dataset, Split
from hctdmg.data.fingerprint import fingerprint
from hctdmg.gating import ModalityGate
from hctdmg.model import HctDmg
from hctdmg.training.errors import RecipeError, TrainingError
from hctdmg.training.fit_config import FitConfig
from hctdmg.training.fit_state import FitEpoch, FitResult, FitState, read_state, write_state
from hctdmg.training.losses import selection_loss, task_loss, unimodal_loss
from hctdmg.training.modality_dropout import drop_modalities
from hctdmg.training.network import (
    ask,
    describe,
    device_of,
    labelled_rows,
    predict_split,
    standardise,
    usable_rows,
)

__all__ = ["FitConfig", "FitEpoch", "FitResult", "fit", "threads"]

Rng = np.random.Generator
Rows = npt.NDArray[np.int64]


def fit(
    network: nn.Module,
    data: Dataset,
    config: FitConfig,
    folder: Path | None = None,
    report: Callable[[FitEpoch], None] = lambda _: None,
    recipe: Mapping[str, Any] = MappingProxyType({}),
) -> FitResult:
    """Train in place, and leave the weights of the best epoch in the network, in evaluation mode.

    Args:
        network: See `hctdmg.training.network`; moved to the device.
        data: Its training split teaches and standardises, its validation split selects.
        config: How.
        folder: Takes the state after each epoch, and metrics as JSON lines; a state that is there is resumed.
        report: Called after each epoch.
        recipe: What the network was built by, in JSON values; a resumption that differs names it. Whatever the network
            itself was told is compared too.

    Raises:
        TrainingError: A loss is no longer finite, there is nothing to learn from, or the state is damaged.
        RecipeError: The state is of another run, or has more epochs than are wanted.
    """
    with threads(config.num_threads):
        return _fit(network, data, config, folder, report, recipe)


def _fit(
    network: nn.Module,
    data: Dataset,
    config: FitConfig,
    folder: Path | None,
    report: Callable[[FitEpoch], None],
    recipe: Mapping[str, Any],
) -> FitResult:
    try:
        network.to(config.device)
    except (RuntimeError, AssertionError) as error:
        raise TrainingError(f"device {config.device!r} can't be used ({error}): leave it out") from None
    rows = _usable(data)
    standardise(network, data.splits["train"])
    state = _begin(network, config)
    identity = _identity(network, data, config, recipe) if folder is not None else {}
    if folder is not None:
        read_state(folder, state, identity, device_of(network))
        if len(state.history) > config.num_epochs:
            raise RecipeError(
                f"num_epochs is {config.num_epochs}, but {len(state.history)} are trained already: it may grow, not "
                "shrink"
            )
    while not _is_over(state.history, config):
        _run_epoch(state, data, rows, config)
        if folder is not None:
            write_state(folder, state, identity)
        report(state.history[-1])
    network.load_state_dict(state.best)
    network.eval()
    history = tuple(state.history)
    return FitResult(history, state.best_epoch, _frozen_after(history, config))


@contextmanager
def threads(number: int | None) -> Iterator[None]:
    """Let torch compute with so many threads in the body."""
    before = torch.get_num_threads()
    torch.set_num_threads(number or before)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def _usable(data: Dataset) -> Rows:
    for name in ("train", "valid"):
        split = data.splits[name]
        if not len(labelled_rows(split)):
            raise TrainingError(
                f"{name}: none of {split.num_samples} samples has any modality and a label: nothing to learn from"
            )
    return usable_rows(data.splits["train"])


def _begin(network: nn.Module, config: FitConfig) -> FitState:
    if config.gate_freeze_tolerance is not None and _gate(network) is None:
        raise TrainingError("gate_freeze_tolerance is set, but this model has no gate: leave it out")
    optimizer = torch.optim.Adam(network.parameters(), lr=config.learning_rate)
    schedule = torch.optim.lr_scheduler.ReduceLROnPlateau(
        optimizer, factor=config.plateau_factor, patience=config.plateau_patience
    )
    return FitState(network, optimizer, schedule)


def _identity(
    network: nn.Module, data: Dataset, config: FitConfig, recipe: Mapping[str, Any]
) -> dict[str, Any]:
    """What a resumption must share; the number of epochs may grow."""
    settings = dataclasses.asdict(config)
    del settings["num_epochs"]
    model_sha256 = hashlib.sha256(describe(network).encode()).hexdigest()
    return {"data_sha256": fingerprint(data), "model_sha256": model_sha256, **settings, **recipe}


def _is_over(history: list[FitEpoch], config: FitConfig) -> bool:
    if not history:
        return False
    best = min(history, key=lambda one: one.valid_loss)
    return len(history) >= config.num_epochs or len(history) - best.epoch >= config.patience


def _run_epoch(state: FitState, data: Dataset, rows: Rows, config: FitConfig) -> None:
    """Train one epoch, judge it, note it, keep it if it is the best."""
    begun_s, epoch = time.perf_counter(), len(state.history) + 1
    is_frozen = _frozen_after(tuple(state.history), config) is not None
    if (gate := _gate(state.network)) is not None and config.gate_freeze_tolerance is not None:
        gate.freeze(is_frozen)
    torch.manual_seed(config.seed * 100_003 + epoch)
    rng = np.random.default_rng([config.seed, epoch])
    learning_rate = float(state.optimizer.param_groups[0]["lr"])
    loss = _teach(state, data, rows, config, rng)
    valid = data.splits["valid"]
    valid_loss = _judge(state.network, valid, data, epoch)
    state.schedule.step(valid_loss)
    names = state.network.config.names if isinstance(state.network, HctDmg) else tuple(data.widths)
    weights = None if gate is None else dict(zip(names, gate.weights_N().tolist(), strict=True))
    if not state.history or valid_loss < state.best_epoch.valid_loss:
        state.best = copy.deepcopy(state.network.state_dict())
    spent_s = state.history[-1].seconds if state.history else 0.0
    state.history.append(
        FitEpoch(
            epoch=epoch,
            loss=loss,
            valid_loss=valid_loss,
            learning_rate=learning_rate,
            gate_weights=weights,
            primary=max(weights, key=lambda name: weights[name]) if weights else None,
            is_gate_frozen=is_frozen,
            seconds=spent_s + time.perf_counter() - begun_s,
        )
    )


def _teach(state: FitState, data: Dataset, rows: Rows, config: FitConfig, rng: Rng) -> float:
    """One pass over the training split; the mean loss of its steps."""
    network, split, device = state.network.train(), data.splits["train"], device_of(state.network)
    parameters = [parameter for parameter in network.parameters() if parameter.requires_grad]
    # Of nearly one size: a last batch of one sample would teach by that sample alone.
    batches = np.array_split(rng.permutation(rows), math.ceil(len(rows) / config.batch_size))
    total = 0.0
    for chosen_B in batches:
        batch = drop_modalities(split.batch(chosen_B.tolist()), config.modality_dropout, rng).to(device)
        state.optimizer.zero_grad()
        with torch.autocast(device.type, torch.bfloat16, enabled=config.amp):
            loss = _objective(network, batch, split, chosen_B, data, config)
        value = float(loss.detach())
        if not math.isfinite(value):
            raise TrainingError(_diverged("the training loss", value, len(state.history) + 1))
        loss.backward()  # type: ignore[no-untyped-call]
        nn.utils.clip_grad_norm_(parameters, config.max_gradient_norm)
        state.optimizer.step()
        total += value
    return total / len(batches)


def _objective(
    network: nn.Module, batch: Batch, split: Split, chosen_B: Rows, data: Dataset, config: FitConfig
) -> Tensor:
    answer = ask(network, batch)
    truth_BK = torch.from_numpy(split.labels_NK[chosen_B]).to(answer.prediction_BK.device)
    loss = task_loss(answer.prediction_BK.float(), truth_BK, data.task) + answer.extra_loss.float()
    if not answer.unimodal or not config.unimodal_weight:
        return loss
    truths = dict.fromkeys(answer.unimodal, truth_BK)
    of_each = split.unimodal if config.unimodal_truth == "modality" else {}
    for name, label_N in of_each.items():
        truths[name] = torch.from_numpy(label_N[chosen_B])[:, None].to(truth_BK.device)
    weights_N = answer.weights_N if config.unimodal_weighting == "gate" else None
    unimodal = {name: raw_BK.float() for name, raw_BK in answer.unimodal.items()}
    return loss + config.unimodal_weight * unimodal_loss(unimodal, truths, batch, data.task, weights_N)


def _judge(network: nn.Module, split: Split, data: Dataset, epoch: int) -> float:
    rows_N = labelled_rows(split)
    prediction_NK = torch.from_numpy(predict_split(network, split)[rows_N])
    loss = selection_loss(prediction_NK, torch.from_numpy(split.labels_NK[rows_N]), data.task)
    if not math.isfinite(loss):
        raise TrainingError(_diverged("the validation loss", loss, epoch))
    return loss


def _diverged(what: str, value: float, epoch: int) -> str:
    return f"{what} is {value} in epoch {epoch}: lower learning_rate or max_gradient_norm, or look at the features"


def _gate(network: nn.Module) -> ModalityGate | None:
    gate = getattr(network, "gate", None)
    return gate if isinstance(gate, ModalityGate) else None


def _frozen_after(history: tuple[FitEpoch, ...], config: FitConfig) -> int | None:
    """The epoch after which the gate was frozen: see `FitConfig.gate_freeze_tolerance`."""
    if config.gate_freeze_tolerance is None:
        return None
    for end in range(config.gate_freeze_epochs, len(history) + 1):
        moved = [one.gate_weights or {} for one in history[end - config.gate_freeze_epochs : end]]
        spans = [max(w[name] for w in moved) - min(w[name] for w in moved) for name in moved[0]]
        if max(spans, default=math.inf) <= config.gate_freeze_tolerance:
            return end
    return None
