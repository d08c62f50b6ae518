"""The gate whose weights are scores of the samples: it learns, and at inference no input changes it."""

import dataclasses

import pytest
import torch

from hctdmg.batch import Batch, collate
from hctdmg.config import ModelConfig
from hctdmg.model import HctDmg, Output
from tests.hctdmg.samples import make_model, make_sample, small_config

CONFIG = dataclasses.replace(small_config(), gate="sample")
LENGTHS = {"text": 3, "audio": 6, "vision": 4}


def batch_of(*lengths: dict[str, int], seed: int = 0) -> Batch:
    rows = [make_sample(CONFIG, row, seed * 100 + number) for number, row in enumerate(lengths)]
    return collate(rows, CONFIG.widths)


def weights(model: HctDmg, batch: Batch) -> list[float]:
    output: Output = model(batch)
    found: list[float] = output.weights_N.tolist()
    return found


def test_in_training_the_weights_follow_the_batch_and_at_inference_nothing_changes_them() -> None:
    model = make_model(CONFIG).train()
    first, second = (weights(model, batch_of(LENGTHS, LENGTHS, seed=seed)) for seed in (1, 2))
    assert first != second
    model.eval()
    with torch.inference_mode():
        first, second = (weights(model, batch_of(LENGTHS, seed=seed)) for seed in (1, 2))
    assert first == second == pytest.approx(model.gate.weights_N().tolist())


def test_its_running_mean_arrives_where_the_batches_are() -> None:
    model, batch = make_model(CONFIG).train(), batch_of(LENGTHS, LENGTHS)
    for _ in range(200):
        trained = weights(model, batch)
    assert model.gate.weights_N().tolist() == pytest.approx(trained, abs=1e-5)


def test_a_modality_counts_by_the_samples_that_have_it() -> None:
    gate = make_model(CONFIG).train().gate
    ones, alike = torch.ones(2, CONFIG.dim), torch.tensor([[True, True, True], [True, False, True]])
    assert gate([ones] * 3, alike)[0].tolist() == pytest.approx([1 / 3] * 3)
    nobody_has_audio = torch.tensor([[True, False, True]])
    assert torch.isfinite(gate([ones[:1]] * 3, nobody_has_audio)[0]).all()


def test_its_scores_learn_until_it_is_frozen_and_then_neither_they_nor_the_mean_move() -> None:
    model, batch = make_model(CONFIG).train(), batch_of(LENGTHS, LENGTHS)
    model(batch).prediction_BK.sum().backward()
    # The last bias is the same for all modalities, so that the softmax takes it away.
    learning = [one for name, one in model.gate.named_parameters() if name != "score.2.bias"]
    assert len(learning) == 3
    assert all(one.grad is not None and one.grad.abs().sum() > 1e-6 for one in learning)
    model.gate.freeze()
    before = model.gate.weights_N().tolist()
    assert weights(model, batch_of(LENGTHS, seed=7)) == before == model.gate.weights_N().tolist()
    assert not any(one.requires_grad for one in model.gate.parameters())
    model.gate.freeze(False)
    assert weights(model, batch_of(LENGTHS, seed=7)) != before


def test_its_weights_travel_with_the_checkpoint_and_leave_the_published_gate_as_it_was() -> None:
    model = make_model(CONFIG).train()
    weights(model, batch_of(LENGTHS))
    copy = HctDmg(CONFIG)
    copy.load_state_dict(model.state_dict())
    assert copy.gate.weights_N().tolist() == model.gate.weights_N().tolist()
    published = {name for name in HctDmg(small_config()).state_dict() if name.startswith("gate.")}
    assert published == {"gate.logits_N"}


def test_another_kind_of_gate_is_refused() -> None:
    with pytest.raises(ValueError, match="'modality' or 'sample'"):
        ModelConfig(CONFIG.modalities, gate="both")  # type: ignore[arg-type]
