"""`fit`: it learns whatever the labels and the network are, keeps the best, stops in time, and says when it can't."""

import dataclasses

import numpy as np
import pytest
import torch

from hctdmg.batch import Batch
from hctdmg.training.errors import TrainingError
from hctdmg.training.fit import FitConfig
from hctdmg.training.losses import unimodal_loss
from hctdmg.training.network import predict_split, read_heads
from hctdmg.training.scores import class_scores, emotion_scores, sentiment_scores
from tests.small_data import FIT, as_binary, as_classes, small_world, without_unimodal
from tests.small_fit import same_history, trained


@pytest.mark.parametrize("name", ["hct-dmg", "lf-lstm"])
def test_sentiment_is_learned(name: str) -> None:
    data = small_world()
    network, _ = trained(data, name=name)
    predicted_N = predict_split(network, data.splits["test"])[:, 0].astype(np.float64)
    scores = sentiment_scores(predicted_N, data.splits["test"].labels_NK[:, 0].astype(np.float64))
    assert scores["mae"].floor is not None
    assert scores["mae"].value < 0.6 * scores["mae"].floor
    assert scores["acc2_haszero"].value > 0.8


@pytest.mark.parametrize("name", ["hct-dmg", "ef-lstm"])
def test_classes_are_learned(name: str) -> None:
    data = as_classes(small_world())
    network, _ = trained(data, name=name)
    split = data.splits["test"]
    found = class_scores(predict_split(network, split).argmax(axis=1), split.labels_NK[:, 0].astype(int))
    assert found["accuracy"].floor is not None
    assert found["accuracy"].value > found["accuracy"].floor + 0.15


@pytest.mark.parametrize("name", ["hct-dmg", "ef-lstm"])
def test_yes_or_no_is_learned(name: str) -> None:
    data = as_binary(small_world())
    network, _ = trained(data, name=name)
    split = data.splits["test"]
    glad, *_ = emotion_scores(predict_split(network, split) > 0, split.labels_NK > 0, data.label_names)[
        "glad"
    ]
    assert glad.floor is not None
    assert glad.value > glad.floor + 0.2


def test_the_best_epoch_is_left_and_training_stops_when_none_gets_better() -> None:
    data = small_world()
    config = dataclasses.replace(FIT, num_epochs=60, learning_rate=0.02, patience=3)
    network, result = trained(data, config)
    losses = [epoch.valid_loss for epoch in result.history]
    assert result.best.valid_loss == min(losses)
    assert len(losses) == result.best.epoch + 3 < 60
    valid = data.splits["valid"]
    distance_N = np.abs(predict_split(network, valid)[:, 0] - valid.labels_NK[:, 0])
    assert float(distance_N.mean()) == pytest.approx(result.best.valid_loss, rel=1e-5)


def test_the_rate_falls_on_a_plateau() -> None:
    config = dataclasses.replace(FIT, num_epochs=12, learning_rate=0.02, plateau_patience=0)
    _, result = trained(small_world(), config)
    rates = [epoch.learning_rate for epoch in result.history]
    assert rates[0] == 0.02
    assert rates[-1] <= 0.002 * (1 + 1e-9)


def test_a_seed_decides_everything() -> None:
    data, config = small_world(), dataclasses.replace(FIT, num_epochs=2, modality_dropout=0.3)
    network, result = trained(data, config)
    torch.manual_seed(7)  # what was drawn before does not count
    again, same = trained(data, config)
    assert same_history(result, same)
    for name, tensor in network.state_dict().items():
        assert torch.equal(again.state_dict()[name], tensor), name
    _, other = trained(data, dataclasses.replace(config, seed=2))
    assert not same_history(result, other)


@pytest.mark.parametrize("name", ["hct-dmg", "ef-lstm"])
def test_inputs_are_standardised_from_the_training_split(name: str) -> None:
    data, config = small_world(), dataclasses.replace(FIT, num_epochs=1)
    train = data.splits["train"]
    moved = {
        which: dataclasses.replace(
            split,
            features={
                one: (x_NTD * 64 + 8) * split.masks[one][..., None] for one, x_NTD in split.features.items()
            },
        )
        for which, split in data.splits.items()
    }
    _, plain = trained(data, config, name)
    # The other splits alone, then all: only the training split's numbers are in the weights, and they undo its own.
    others, _ = trained(dataclasses.replace(data, splits={**moved, "train": train}), config, name)
    for one, x_NTD in train.features.items():
        rows = x_NTD[train.masks[one]]
        mean_D, scale_D = _statistics(others, one)
        np.testing.assert_allclose(mean_D, rows.mean(axis=0), rtol=1e-4, atol=1e-5)
        np.testing.assert_allclose(scale_D, rows.std(axis=0), rtol=1e-4)
        assert not np.allclose(moved["valid"].features[one][moved["valid"].masks[one]].mean(axis=0), mean_D)
    _, shifted = trained(dataclasses.replace(data, splits=moved), config, name)
    assert shifted.best.valid_loss == pytest.approx(plain.best.valid_loss, rel=1e-3)


def _statistics(network: torch.nn.Module, modality: str) -> tuple[np.ndarray, np.ndarray]:
    """Mean (D,) and spread (D,) that are saved with the weights."""
    streams = getattr(network, "streams", None)
    if streams is not None:
        return streams[modality].input_mean_D.numpy(), streams[modality].input_scale_D.numpy()
    return tuple(network.get_buffer(f"input_{what}_{modality}").numpy() for what in ("mean", "scale"))  # type: ignore[return-value]


def test_the_gate_is_frozen_once_it_has_converged() -> None:
    config = dataclasses.replace(FIT, num_epochs=7, gate_freeze_tolerance=0.5, gate_freeze_epochs=3)
    _, result = trained(small_world(), config)
    assert result.gate_frozen_after == 3
    assert [epoch.is_gate_frozen for epoch in result.history] == [False] * 3 + [True] * 4
    weights = [epoch.gate_weights for epoch in result.history]
    assert weights[1] != weights[2]
    assert all(one == weights[2] for one in weights[3:])
    _, never = trained(small_world(), dataclasses.replace(config, gate_freeze_tolerance=1e-9))
    assert never.gate_frozen_after is None
    with pytest.raises(TrainingError, match="has no gate"):
        trained(small_world(), config, "ef-lstm")


def test_unimodal_losses_weighted_by_the_gate_turn_it_to_the_modality_that_is_easiest() -> None:
    data, config = small_world(), dataclasses.replace(FIT, num_epochs=4, unimodal_weight=3.0)
    _, alike = trained(data, config)
    _, by_gate = trained(data, dataclasses.replace(config, unimodal_weighting="gate"))
    last, plain = by_gate.history[-1].gate_weights, alike.history[-1].gate_weights
    assert last is not None
    assert plain is not None
    assert last["text"] > plain["text"] + 0.02


def test_a_unimodal_head_learns_what_people_said_of_its_modality_not_of_the_whole() -> None:
    data, config = small_world(), dataclasses.replace(FIT, num_epochs=5)
    train, test = data.splits["train"], data.splits["test"]
    rows = np.flatnonzero(test.masks["vision"].any(axis=1))
    agreement = {}
    for sign in (1, -1):
        unimodal = {**train.unimodal, "vision": sign * train.labels_NK[:, 0]}
        splits = {**data.splits, "train": dataclasses.replace(train, unimodal=unimodal)}
        network, _ = trained(dataclasses.replace(data, splits=splits), config)
        head_N = read_heads(network, test).unimodal["vision"][:, 0]
        assert np.isnan(head_N).sum() == 96 - len(rows)
        agreement[sign] = np.corrcoef(head_N[rows], test.labels_NK[rows, 0])[0, 1]
    assert agreement[1] > 0.5
    assert agreement[-1] < -0.5


@pytest.mark.parametrize("is_absent", [True, False])
@pytest.mark.parametrize("is_weighed", [True, False])
def test_a_modality_without_a_truth_moves_no_weight_of_the_gate(is_absent: bool, is_weighed: bool) -> None:
    batch = small_world().splits["train"].batch(range(12))
    if is_absent:
        nothing = torch.zeros_like(batch.masks["audio"])
        batch = Batch(batch.features, {**batch.masks, "audio": nothing})
    truths = {name: torch.ones(12, 1) for name in batch.masks}
    if not is_absent:
        truths["audio"] = torch.full((12, 1), torch.nan)
    heads = {
        "text": torch.full((12, 1), 3.0),
        "audio": torch.zeros(12, 1),
        "vision": torch.full((12, 1), 2.0),
    }
    logits_N = torch.tensor([0.3, 0.1, -0.2], requires_grad=True)
    weights_N = logits_N.softmax(dim=0) if is_weighed else None
    loss = unimodal_loss(heads, truths, batch, "regression", weights_N)
    text, _, vision = logits_N.detach().exp().tolist() if is_weighed else (1.0, 1.0, 1.0)
    assert loss.item() == pytest.approx((text * 2 + vision * 1) / (text + vision))
    if is_weighed:
        (slope_N,) = torch.autograd.grad(loss, logits_N)
        # Text has the greater loss and yields to vision; what nobody knows of audio does not count.
        assert slope_N[1].item() == pytest.approx(0.0, abs=1e-7)
        assert slope_N[0].item() > 0.1
    unknown = {name: torch.full((12, 1), torch.nan) for name in batch.masks}
    assert unimodal_loss(heads, unknown, batch, "regression", weights_N).item() == 0.0


def test_where_models_are_compared_no_head_is_taught_what_its_peers_are_not_told() -> None:
    data = small_world()
    config = dataclasses.replace(FIT, num_epochs=1, unimodal_truth="sample")
    _, told = trained(data, config)
    _, untold = trained(without_unimodal(data), config)
    assert same_history(told, untold)
    _, of_each = trained(data, dataclasses.replace(config, unimodal_truth="modality"))
    assert not same_history(told, of_each)


def test_a_label_that_is_not_known_teaches_nothing() -> None:
    data, config = small_world(), dataclasses.replace(FIT, num_epochs=1)
    train = data.splits["train"]
    unimodal = {**train.unimodal, "audio": np.full(train.num_samples, np.nan, np.float32)}
    splits = {**data.splits, "train": dataclasses.replace(train, unimodal=unimodal)}
    _, result = trained(dataclasses.replace(data, splits=splits), config)
    assert np.isfinite(result.best.loss)


def test_a_sample_without_any_modality_is_neither_learned_nor_read() -> None:
    data, config = small_world(), dataclasses.replace(FIT, num_epochs=1)
    splits = dict(data.splits)
    for name, split in data.splits.items():
        masks = {one: mask_NT.copy() for one, mask_NT in split.masks.items()}
        for mask_NT in masks.values():
            mask_NT[3] = False
        splits[name] = dataclasses.replace(split, masks=masks)
    network, _ = trained(dataclasses.replace(data, splits=splits), config)
    predicted_NK = predict_split(network, splits["test"])
    assert np.isnan(predicted_NK[3]).all()
    assert np.isfinite(np.delete(predicted_NK, 3, axis=0)).all()


def test_a_loss_that_is_no_number_stops_it() -> None:
    with pytest.raises(TrainingError, match=r"loss is (nan|inf) in epoch \d: lower learning_rate"):
        trained(small_world(), dataclasses.replace(FIT, learning_rate=1e30))


def test_a_split_without_samples_or_labels_is_refused() -> None:
    data = small_world()
    valid = data.splits["valid"]
    empty = {name: mask_NT & False for name, mask_NT in valid.masks.items()}
    unknown_NK = np.full_like(valid.labels_NK, np.nan)
    for bad in (dataclasses.replace(valid, masks=empty), dataclasses.replace(valid, labels_NK=unknown_NK)):
        with pytest.raises(TrainingError, match="valid: none of 64 samples has any modality and a label"):
            trained(dataclasses.replace(data, splits={**data.splits, "valid": bad}))


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"amp": True}, "amp is for a GPU"),
        ({"modality_dropout": 1.0}, "modality_dropout is 1.0"),
        ({"batch_size": 0}, "batch_size is 0"),
        ({"learning_rate": float("nan")}, "learning_rate is nan"),
        ({"gate_freeze_tolerance": 0.0}, "gate_freeze_tolerance is 0.0"),
    ],
)
def test_settings_that_can_not_be_are_refused(changes: dict[str, float], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        FitConfig(**changes)  # type: ignore[arg-type]


@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device on this machine")
def test_half_the_bits_on_a_gpu_learn_the_same() -> None:
    data = small_world()
    losses = {}
    for amp in (False, True):
        _, result = trained(data, dataclasses.replace(FIT, device="cuda", amp=amp))
        losses[amp] = [epoch.valid_loss for epoch in result.history]
    assert losses[True] != losses[False]
    assert min(losses[True]) == pytest.approx(min(losses[False]), rel=0.15)
