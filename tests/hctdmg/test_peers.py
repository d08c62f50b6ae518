"""Every model of the registry: its size, that nothing leaks into an answer, and that it learns."""

import json
import re
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from hctdmg.baselines import registry
from hctdmg.baselines.peer import PeerOutput
from hctdmg.batch import Batch, collate
from hctdmg.config import ModalityConfig
from hctdmg.data.dataset import Split
from hctdmg.data.synthetic import DEFAULT_WORLD, make_dataset
from hctdmg.training.scores import sentiment_scores
from tests.bench.peers import as_table
from tests.hctdmg.peers import NUM_POSITIONS, SMALL, make_small
from tests.hctdmg.samples import NAMES, make_sample, small_config

PAGE = Path(__file__).parent.parent.parent / "docs" / "peers.md"
RESULT = PAGE.parent / "results" / "peers.json"
PEERS = tuple(name for name in registry.NAMES if name != "hct-dmg")
MODALITIES = small_config(3).modalities

SIZES = {
    "hct-dmg": 843_333,
    "ef-lstm": 555_501,
    "lf-lstm": 1_212_161,
    "raven": 1_224_727,
    "mctn": 506_042,
    "ctc+ef-lstm": 581_523,
    "ctc+raven": 1_250_749,
    "ctc+mctn": 532_064,
    "marn": 689_409,
    "mfn": 712_193,
    "rmfn": 597_009,
    "lmf": 226_609,
    "cia": 385_075,
    "mult": 1_073_731,
    "lmf-mult": 815_461,
}


def batch_of(*lengths: tuple[int, ...]) -> Batch:
    """Random samples of 3 modalities; a length of 0 is an absent one."""
    config = small_config(3)
    rows = [
        make_sample(config, dict(zip(config.names, row, strict=True)), seed)
        for seed, row in enumerate(lengths)
    ]
    return collate(rows, config.widths)


def answer(model: nn.Module, batch: Batch) -> Tensor:
    with torch.inference_mode():
        prediction_BK: Tensor = model(batch).prediction_BK
    return prediction_BK


def widened(batch: Batch, padding: int) -> Batch:
    """More padding, and in all of it what no model may look at."""
    masks = {name: nn.functional.pad(mask, (0, padding)) for name, mask in batch.masks.items()}
    features = {
        name: nn.functional.pad(x, (0, 0, 0, padding)).masked_fill(~masks[name][..., None], 9.0)
        for name, x in batch.features.items()
    }
    return Batch(features, masks)


def test_sizes_are_pinned_and_near_what_was_published() -> None:
    table = registry.size_table()
    assert tuple(row.name for row in table) == registry.NAMES == tuple(SMALL)
    for row in table:
        print(f"{row.name:12} {row.num_parameters:>9,} published {row.published or '-'}: {row.note}")
        assert row.num_parameters == SIZES[row.name]
        assert row.published is None or abs(row.num_parameters / row.published - 1) < 0.1
        assert row.note
    assert 810_000 <= SIZES["hct-dmg"] <= 860_000


def test_the_page_says_the_same_sizes() -> None:
    rows = [line.split("|") for line in PAGE.read_text().splitlines() if line.startswith("| `")]
    said = {cells[1].strip(" `"): int(cells[5].replace(",", "")) for cells in rows}
    assert said == SIZES


def test_the_page_says_what_the_committed_run_found_and_every_model_learned_in_it() -> None:
    record = json.loads(RESULT.read_text())
    assert as_table(record) in PAGE.read_text()
    assert tuple(record["models"]) == registry.NAMES
    assert all(
        one["acc2_margin"] > 0.2 and one["mae"] < one["mae_floor"] for one in record["models"].values()
    )


@pytest.mark.parametrize("name", PEERS)
def test_its_docstring_names_its_paper_and_its_size(name: str) -> None:
    module = sys.modules[type(registry.build(name, registry.MEASURED_AT, 1, {"text": 50})).__module__]
    assert f"{SIZES[name]:,}" in (module.__doc__ or "")
    assert re.search(r"et al\. 20\d\d, (arXiv \d{4}\.\d{5}|aclanthology)", module.__doc__ or "")


@pytest.mark.parametrize("name", PEERS)
@settings(max_examples=15, deadline=None)
@given(
    lengths=st.lists(st.tuples(*[st.integers(0, 6)] * 3), min_size=1, max_size=4), padding=st.integers(0, 4)
)
def test_an_answer_depends_neither_on_the_batch_nor_on_padding(
    name: str, lengths: list[tuple[int, ...]], padding: int
) -> None:
    model = make_small(name, MODALITIES)
    batch = batch_of(*lengths)
    alone = []
    for row, each in enumerate(lengths):
        cut = [max(1, length) for length in each]
        alone.append(
            answer(
                model,
                Batch(
                    {m: x[row : row + 1, :n] for (m, x), n in zip(batch.features.items(), cut, strict=True)},
                    {m: k[row : row + 1, :n] for (m, k), n in zip(batch.masks.items(), cut, strict=True)},
                ),
            )
        )
    together, padded = answer(model, batch), answer(model, widened(batch, padding))
    assert torch.isfinite(together).all()
    assert torch.allclose(together, torch.cat(alone), atol=1e-5)
    assert torch.allclose(padded, torch.cat(alone), atol=1e-5)
    assert torch.equal(together, answer(model, batch))


@pytest.mark.parametrize("name", PEERS)
def test_its_own_loss_sees_no_padding_either(name: str) -> None:
    model = make_small(name, MODALITIES)
    batch = batch_of((4, 6, 5), (2, 3, 6), (0, 4, 4), (3, 0, 2))
    with torch.inference_mode():
        losses = [model(each).extra_loss for each in (batch, widened(batch, 3))]
    assert losses[0].ndim == 0
    assert torch.allclose(losses[0], losses[1], atol=1e-5)
    assert (losses[0] > 0) == name.startswith(("ctc", "mctn", "cia"))


@pytest.mark.parametrize("name", PEERS)
def test_its_own_loss_is_the_same_beside_a_sample_that_has_nothing_to_translate_or_align(name: str) -> None:
    model = make_small(name, MODALITIES)
    with torch.inference_mode():
        alone, beside = (model(batch_of(*rows)).extra_loss for rows in ([(4, 6, 5)], [(4, 6, 5), (9, 0, 0)]))
    assert torch.allclose(alone, beside, atol=1e-5)


WITHOUT_GRADIENT = {"ctc+raven": {f"model.lstms.{name}.weight_hh_l0" for name in ("audio", "vision")}}
"""Aligned, a word has one step of voice and face: what carries a state from step to step has nothing to carry."""


@pytest.mark.parametrize("name", PEERS)
def test_every_parameter_gets_a_gradient_and_absence_gives_none_that_is_not_a_number(name: str) -> None:
    model = make_small(name, MODALITIES).train()
    output = model(batch_of((5, 7, 6), (2, 6, 4), (0, 4, 3), (3, 0, 2), (4, 5, 0), (0, 0, 0)))
    assert isinstance(output, PeerOutput)
    (output.prediction_BK.square().sum() + output.extra_loss).backward()  # type: ignore[no-untyped-call]
    gradients = {key: one.grad for key, one in model.named_parameters()}
    without = {key for key, one in gradients.items() if one is None or not one.abs().sum() > 0}
    assert without == WITHOUT_GRADIENT.get(name, set())
    assert [key for key, one in gradients.items() if one is None or not one.isfinite().all()] == []


ANSWERS_FROM_WORDS = ("mctn", "ctc+mctn")
"""By their structure: the others teach in training only."""


@pytest.mark.parametrize("name", [name for name in PEERS if name not in ANSWERS_FROM_WORDS])
def test_each_modality_has_a_say(name: str) -> None:
    model = make_small(name, MODALITIES)
    batch = batch_of((4, 6, 5))
    for modality, x_BTD in batch.features.items():
        changed = Batch({**batch.features, modality: x_BTD + torch.randn_like(x_BTD)}, batch.masks)
        assert not torch.allclose(answer(model, batch), answer(model, changed), atol=1e-6), modality


def test_lmf_fuses_the_others_without_one_that_is_absent() -> None:
    model = make_small("lmf", MODALITIES)
    batch = batch_of((4, 0, 5))
    before = answer(model, batch)
    with torch.no_grad():
        for parameter in model.others["audio"].parameters():  # type: ignore[union-attr,index]
            parameter.normal_()
    assert torch.equal(before, answer(model, batch))


@pytest.mark.parametrize("num_modalities", [2, 4])
@pytest.mark.parametrize("name", registry.NAMES)
def test_two_and_four_modalities(name: str, num_modalities: int) -> None:
    config = small_config(num_modalities)
    model = make_small(name, config.modalities)
    sample = make_sample(config, dict(zip(NAMES, (4, 6, 5, 7), strict=True)), 1)
    prediction_BK = answer(model, collate([sample], config.widths))
    assert prediction_BK.isfinite().all()


@pytest.mark.parametrize("name", ["raven", "mctn", "cia", "mult", "ctc+raven", "ctc+mctn"])
def test_one_modality_is_refused_where_the_structure_needs_two(name: str) -> None:
    with pytest.raises(ValueError, match=r"'text' alone: it needs a second modality"):
        registry.build(name, (ModalityConfig("text", 3, 1),), 1, {"text": 5})


@pytest.mark.parametrize("name", registry.NAMES)
def test_built_by_name_it_gives_as_many_outputs_as_asked_for(name: str) -> None:
    model = registry.build(name, MODALITIES, 4, {"text": 6}).eval()
    assert answer(model, batch_of((4, 6, 5), (6, 2, 2))).shape == (2, 4)


def test_an_unknown_name_and_ctc_without_its_steps_are_refused() -> None:
    with pytest.raises(ValueError, match="no model 'bert': there are hct-dmg, ef-lstm"):
        registry.build("bert", MODALITIES, 1, {})
    with pytest.raises(ValueError, match="needs the most steps of 'text'; num_steps has audio"):
        registry.build("ctc+raven", MODALITIES, 1, {"audio": 5})
    model = registry.build("ctc+ef-lstm", MODALITIES, 1, {"text": 3})
    with pytest.raises(ValueError, match="text has 4 steps, CTC was built for 3"):
        model(batch_of((4, 6, 5)))


@pytest.mark.parametrize("name", ["ctc+ef-lstm", "ctc+raven", "ctc+mctn"])
def test_a_voice_longer_than_all_positions_is_aligned_to_as_many_as_there_are(name: str) -> None:
    model = make_small(name, MODALITIES)
    without_words, with_words = batch_of((0, NUM_POSITIONS + 9, 5)), batch_of((3, NUM_POSITIONS + 9, 5))
    for batch in (without_words, with_words):
        assert answer(model, batch).isfinite().all()
        assert torch.allclose(answer(model, batch), answer(model, widened(batch, 2)), atol=1e-5)


WORLD = make_dataset(DEFAULT_WORLD, num_train=240, num_valid=1, num_test=160, seed=1)
WORLD_MODALITIES = tuple(ModalityConfig(name, width, 1) for name, width in WORLD.widths.items())


def train(model: nn.Module, split: Split, num_epochs: int) -> None:
    """L1 loss, Adam: as plain as can be."""
    optimizer = torch.optim.Adam(model.parameters(), lr=0.01)
    label_N = torch.from_numpy(split.labels_NK[:, 0])
    model.train()
    for epoch in range(num_epochs):
        order = np.random.default_rng(epoch).permutation(split.num_samples)
        for rows in np.array_split(order, 8):
            optimizer.zero_grad()
            output = model(split.batch(rows.tolist()))
            loss = (output.prediction_BK[:, 0] - label_N[rows]).abs().mean()
            (loss + getattr(output, "extra_loss", 0.0)).backward()
            nn.utils.clip_grad_norm_(model.parameters(), 1.0)
            optimizer.step()
    model.eval()


@pytest.mark.parametrize("name", registry.NAMES)
def test_it_learns_to_tell_good_from_bad_better_than_a_constant(name: str) -> None:
    model = make_small(name, WORLD_MODALITIES)
    train(model, WORLD.splits["train"], num_epochs=6)
    test = WORLD.splits["test"]
    predicted_N = answer(model, test.batch(range(test.num_samples)))[:, 0].double().numpy()
    scores = sentiment_scores(predicted_N, test.labels_NK[:, 0].astype(np.float64))
    acc2, mae = scores["acc2_nonzero"], scores["mae"]
    print(
        f"{name}: Acc2 {acc2.value:.3f}, floor {acc2.floor:.3f}; MAE {mae.value:.3f}, floor {mae.floor:.3f}"
    )
    assert acc2.floor is not None
    assert mae.floor is not None
    assert acc2.value > acc2.floor + 0.15
    assert mae.value < mae.floor - 0.2
