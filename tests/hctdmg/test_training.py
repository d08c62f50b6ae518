"""Training: it learns, it repeats, it keeps the best epoch, it leaves out what isn't known."""

import math
from collections.abc import Sequence

import numpy as np
import pytest
import torch

from hctdmg.batch import collate
from hctdmg.config import ModalityConfig, ModelConfig
from hctdmg.model import HctDmg
from hctdmg.training.metrics import auroc, coverage, pearson, sign_accuracy
from hctdmg.training.objectives import (
    LabelledBatch,
    full_objective,
    laplace_nll,
    read_streams,
    stream_objective,
    unimodal_loss,
)
from hctdmg.training.trainer import EpochResult, TrainingConfig, train

WIDTHS = {"left": 4, "right": 3}
TINY = ModelConfig(
    tuple(ModalityConfig(name, width, 1) for name, width in WIDTHS.items()),
    dim=16, num_heads=2, num_layers_stage1=1, num_layers_stage2=1, num_layers_self=1,
)  # fmt: skip


def make_batches(num_batches: int, seed: int) -> list[LabelledBatch]:
    """The truth is the mean of left's first feature; right holds noise and may be absent."""
    rng = np.random.default_rng(seed)
    batches = []
    for _ in range(num_batches):
        lefts = [rng.normal(rng.normal(), 0.3, (rng.integers(2, 7), 4)).astype(np.float32) for _ in range(32)]
        rights = [rng.normal(0, 1, (rng.integers(0, 3), 3)).astype(np.float32) for _ in range(32)]
        truth = torch.tensor([float(left[:, 0].mean()) for left in lefts])
        samples = [{"left": left, "right": right} for left, right in zip(lefts, rights, strict=True)]
        batches.append(LabelledBatch(collate(samples, WIDTHS), truth, {"left": truth}))
    return batches


def score(model: HctDmg, batches: Sequence[LabelledBatch]) -> float:
    said = torch.cat([model(labelled.batch).prediction_BK[:, 0] for labelled in batches])
    return pearson(said.detach().double().numpy(), torch.cat([b.fused_B for b in batches]).double().numpy())


def trained(seed: int, num_epochs: int = 4) -> tuple[HctDmg, list[EpochResult]]:
    torch.manual_seed(seed)
    model, held_out = HctDmg(TINY), make_batches(4, seed=99)
    config = TrainingConfig(num_epochs, learning_rate=5e-3, stream_learning_rate=5e-3, seed=seed)
    results = train(
        model, lambda epoch: make_batches(20, epoch), full_objective, lambda m: score(m, held_out), config,
        lambda _: None,
    )  # fmt: skip
    return model, results


def test_it_learns_and_repeats() -> None:
    model, results = trained(seed=3)
    assert results[-1].loss < results[0].loss - 0.5
    assert score(model, make_batches(4, seed=7)) > 0.9
    again, _ = trained(seed=3)
    for name, tensor in model.state_dict().items():
        torch.testing.assert_close(again.state_dict()[name], tensor, rtol=1e-4, atol=1e-5)
    other, _ = trained(seed=4)
    assert not torch.allclose(other.head.out.weight, model.head.out.weight)


def test_the_best_epoch_is_kept() -> None:
    torch.manual_seed(0)
    model, seen, scores = HctDmg(TINY), [], iter([0.1, 0.9, 0.2])

    def validate(model: HctDmg) -> float:
        assert not model.training
        seen.append(model.head.out.weight.detach().clone())
        return next(scores)

    reported: list[EpochResult] = []
    results = train(
        model,
        lambda epoch: make_batches(3, epoch),
        full_objective,
        validate,
        TrainingConfig(3),
        reported.append,
    )
    assert results == reported
    assert [result.epoch for result in results] == [1, 2, 3]
    torch.testing.assert_close(model.head.out.weight.detach(), seen[1])
    assert not torch.allclose(seen[1], seen[2])


def test_laplace_likelihood_is_the_formula_and_leaves_out_what_is_not_known() -> None:
    raw = torch.tensor([[1.0, 0.0], [0.0, math.log(2)], [5.0, 5.0]], requires_grad=True)
    truth = torch.tensor([3.0, 1.0, math.nan])
    loss = laplace_nll(raw, truth)
    expected = ((2 / 1 + math.log(2 * 1)) + (1 / 2 + math.log(2 * 2))) / 2
    assert float(loss.detach()) == pytest.approx(expected, rel=1e-6)
    torch.autograd.backward([loss])
    assert raw.grad is not None
    assert raw.grad[2].tolist() == [0, 0]
    assert torch.isfinite(raw.grad).all()


def test_no_truth_at_all_gives_no_gradient() -> None:
    raw = torch.ones(2, 2, requires_grad=True)
    torch.autograd.backward([laplace_nll(raw, torch.full((2,), math.nan))])
    assert raw.grad is not None
    assert raw.grad.abs().sum() == 0


def gradient_size(model: HctDmg, name: str) -> float:
    gradient = model.get_parameter(name).grad
    return 0.0 if gradient is None else float(gradient.abs().sum())


def test_an_absent_modality_is_not_taught() -> None:
    model = HctDmg(TINY)
    sample = {"left": np.ones((3, 4), np.float32)}
    truth = torch.ones(2)
    labelled = LabelledBatch(collate([sample, sample], WIDTHS), truth, {"left": truth, "right": truth})
    torch.autograd.backward([unimodal_loss(read_streams(model, labelled.batch), labelled)])
    assert gradient_size(model, "unimodal_heads.left.weight") > 0
    assert gradient_size(model, "unimodal_heads.right.weight") == 0


def test_streams_are_read_as_the_whole_model_reads_them() -> None:
    model, labelled = HctDmg(TINY).eval(), make_batches(1, 0)[0]
    with torch.inference_mode():
        whole, alone = model(labelled.batch).unimodal, read_streams(model, labelled.batch)
    for name in WIDTHS:
        torch.testing.assert_close(alone[name], whole[name])


def test_stream_objective_leaves_the_fusion_alone() -> None:
    model = HctDmg(TINY)
    torch.autograd.backward([stream_objective(model, make_batches(1, 0)[0])])
    assert gradient_size(model, "head.out.weight") == 0
    assert gradient_size(model, "streams.left.conv.weight") > 0


def test_metrics() -> None:
    truth = np.array([-1.0, 0.0, 2.0, 3.0])
    assert pearson(2 * truth + 1, truth) == pytest.approx(1)
    assert math.isnan(pearson(np.zeros(4), truth))
    assert sign_accuracy(np.array([-0.1, 5.0, 0.0, 1.0]), truth) == pytest.approx(2 / 3)
    assert coverage(truth, truth + 1, truth + np.array([0, 0.5, 1, 1.1])) == 0.75
    assert auroc(np.array([0.1, 0.5, 0.5, 0.9]), np.array([False, False, True, True])) == 0.875
