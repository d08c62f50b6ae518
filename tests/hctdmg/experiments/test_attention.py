"""Attention by pairs, and its divergence: nothing where nothing changes, and masks stay."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from hctdmg.baselines.mult import MulT, MulTConfig
from hctdmg.data.synthetic import DEFAULT_WORLD, draw, redraw, render
from hctdmg.experiments.attention import attention_of, divergence_LH
from hctdmg.experiments.setup import QUICK
from hctdmg.experiments.small import MULT, build_small, make_data
from hctdmg.training.build import OWN
from tests.hctdmg.samples import small_config


def distribution(seed: int, shape: tuple[int, ...]) -> torch.Tensor:
    return torch.from_numpy(np.random.default_rng(seed).dirichlet(np.ones(shape[-1]), shape[:-1])).float()


@settings(max_examples=20, deadline=None)
@given(st.integers(0, 1000), st.integers(1, 5), st.integers(1, 6))
def test_equal_attention_diverges_by_nothing_and_any_other_by_more(
    seed: int, steps: int, sources: int
) -> None:
    shape = (2, 3, 2, steps, sources)
    p, q, mask_BT = (
        distribution(seed, shape),
        distribution(seed + 1, shape),
        torch.ones(3, steps, dtype=torch.bool),
    )
    assert divergence_LH(p, p, mask_BT).abs().max() < 1e-6
    assert (divergence_LH(p, q, mask_BT) >= -1e-6).all()


def test_divergence_is_in_nats_over_real_target_steps_alone() -> None:
    p, q = (
        torch.tensor([0.5, 0.5]).expand(1, 1, 1, 2, 2).clone(),
        torch.tensor([0.25, 0.75]).expand(1, 1, 1, 2, 2),
    )
    expected = 0.5 * np.log(2) + 0.5 * np.log(2 / 3)
    assert divergence_LH(p, q, torch.tensor([[True, True]])).item() == pytest.approx(expected, abs=1e-6)
    p[..., 1, :] = torch.tensor([1.0, 0.0])
    assert divergence_LH(p, q, torch.tensor([[True, False]])).item() == pytest.approx(expected, abs=1e-6)


@pytest.mark.parametrize("name", [OWN, MULT, "fixed-vision"])
def test_both_models_show_pairs_of_modalities(name: str) -> None:
    data = make_data(QUICK, QUICK.world(0), 0)
    network = build_small(name, data, QUICK, 0).eval()
    found = attention_of(network, batch := data.splits["test"].batch([0, 1, 2]))
    assert len(found) == (6 if name == MULT else 4)
    for (target, source), weights_LBHTS in found.items():
        assert weights_LBHTS.shape[3:] == (batch.masks[target].shape[1], batch.masks[source].shape[1])
        assert weights_LBHTS.sum(dim=-1).numpy() == pytest.approx(1, abs=1e-5)
    if name == "fixed-vision":
        assert {target for target, _ in found if ("vision", target) in found} == {"text", "audio"}


def test_another_model_has_no_such_attention() -> None:
    with pytest.raises(TypeError, match="MulT alone"):
        attention_of(
            MulT(MulTConfig(small_config().modalities)),
            make_data(QUICK, QUICK.world(0), 0).splits["test"].batch([0]),
        )


@settings(max_examples=15, deadline=None)
@given(st.integers(0, 100), st.sampled_from(["text", "audio", "vision"]), st.floats(0, 0.6))
def test_a_counterfactual_keeps_every_mask(seed: int, name: str, missing: float) -> None:
    world = DEFAULT_WORLD.changed("audio", missing_share=missing)
    draws = draw(world, 12, seed)
    plain = render(world, draws).split
    for other in (render(world, draws, flipped=name).split, render(world, redraw(draws, name, seed)).split):
        assert all((plain.masks[one] == other.masks[one]).all() for one in plain.masks)
        changed = {one for one in plain.features if not (plain.features[one] == other.features[one]).all()}
        assert changed <= {name}
