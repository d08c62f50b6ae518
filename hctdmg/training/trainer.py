"""The training loop: AdamW, warm-up and cosine, clipped gradients, the best epoch kept. Seeded.

Knows a model, labelled batches and an objective. Does not know what is learned, nor where it is written.
"""

import copy
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from hctdmg.model import HctDmg
from hctdmg.training.objectives import LabelledBatch

Objective = Callable[[HctDmg, LabelledBatch], Tensor]
Epoch = Sequence[LabelledBatch]
"""The batches of one epoch; they may be made as they are asked for."""


@dataclass(frozen=True)
class TrainingConfig:
    """How to train.

    Attributes:
        num_epochs: At least 1.
        learning_rate: Peak of the schedule.
        stream_learning_rate: The same for streams and unimodal heads, lower when they come trained.
        weight_decay: AdamW's, on matrices only.
        warmup_share: Share of all steps in which the rate rises from 0; it falls along a cosine after that.
        max_gradient_norm: Larger gradients are scaled down to it.
        seed: Of dropout.
    """

    num_epochs: int
    learning_rate: float = 1e-3
    stream_learning_rate: float = 1e-3
    weight_decay: float = 0.01
    warmup_share: float = 0.1
    max_gradient_norm: float = 1.0
    seed: int = 0


@dataclass(frozen=True)
class EpochResult:
    """One epoch: what is reported while training goes on, and kept after it.

    Attributes:
        epoch: From 1.
        loss: Mean over its steps.
        score: Of the selection split; higher is better.
        seconds: Since training began.
    """

    epoch: int
    loss: float
    score: float
    seconds: float


def train(
    model: HctDmg,
    make_epoch: Callable[[int], Epoch],
    objective: Objective,
    validate: Callable[[HctDmg], float],
    config: TrainingConfig,
    report: Callable[[EpochResult], None],
) -> list[EpochResult]:
    """Train, and leave the weights of the best epoch in the model, in evaluation mode.

    Args:
        model: Trained in place.
        make_epoch: The batches of an epoch, by its number from 0; every epoch has about as many.
        objective: The loss of a batch.
        validate: Score of the model on data that is not trained on; higher is better.
        config: How.
        report: Called after each epoch.
    """
    torch.manual_seed(config.seed)
    begun_s = time.perf_counter()
    results: list[EpochResult] = []
    best = copy.deepcopy(model.state_dict())
    optimizer = torch.optim.AdamW(_parameter_groups(model, config))
    schedule: torch.optim.lr_scheduler.OneCycleLR | None = None
    for epoch in range(config.num_epochs):
        batches = make_epoch(epoch)
        schedule = schedule or _schedule(optimizer, config, len(batches))
        loss = _run_epoch(model, batches, objective, optimizer, schedule, config.max_gradient_norm)
        model.eval()
        with torch.inference_mode():
            score = validate(model)
        if not results or score > max(result.score for result in results):
            best = copy.deepcopy(model.state_dict())
        results.append(EpochResult(epoch + 1, loss, score, time.perf_counter() - begun_s))
        report(results[-1])
    model.load_state_dict(best)
    return results


def _run_epoch(
    model: HctDmg,
    batches: Epoch,
    objective: Objective,
    optimizer: torch.optim.Optimizer,
    schedule: torch.optim.lr_scheduler.OneCycleLR,
    max_gradient_norm: float,
) -> float:
    model.train()
    total = 0.0
    for labelled in batches:
        optimizer.zero_grad()
        loss = objective(model, labelled)
        loss.backward()  # type: ignore[no-untyped-call]
        nn.utils.clip_grad_norm_(model.parameters(), max_gradient_norm)
        optimizer.step()
        # Epochs may differ by a batch or two; the schedule must not run past its end.
        if schedule.last_epoch < schedule.total_steps - 1:
            schedule.step()
        total += float(loss.detach())
    return total / max(1, len(batches))


def _parameter_groups(model: HctDmg, config: TrainingConfig) -> list[dict[str, object]]:
    """Streams apart from the fusion, and matrices, which decay, apart from the rest, which doesn't."""
    groups: dict[tuple[bool, bool], list[nn.Parameter]] = {}
    for name, parameter in model.named_parameters():
        if parameter.requires_grad:
            is_stream = name.startswith(("streams.", "unimodal_heads."))
            groups.setdefault((is_stream, parameter.ndim > 1), []).append(parameter)
    return [
        {
            "params": parameters,
            "lr": config.stream_learning_rate if is_stream else config.learning_rate,
            "weight_decay": config.weight_decay if is_matrix else 0.0,
        }
        for (is_stream, is_matrix), parameters in groups.items()
    ]


def _schedule(
    optimizer: torch.optim.Optimizer, config: TrainingConfig, steps_per_epoch: int
) -> torch.optim.lr_scheduler.OneCycleLR:
    return torch.optim.lr_scheduler.OneCycleLR(
        optimizer,
        max_lr=[group["lr"] for group in optimizer.param_groups],
        total_steps=max(2, config.num_epochs * steps_per_epoch),
        pct_start=config.warmup_share,
        cycle_momentum=False,
    )
