"""MulT: its published size, that its two ways agree where they should, and that it learns."""

import dataclasses

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from hctdmg.baselines.mult import MulT, MulTConfig, Padding, run_as_published
from hctdmg.batch import Batch, collate
from hctdmg.config import ModalityConfig
from tests.hctdmg.samples import make_sample, small_config

WIDTHS = small_config().widths
SMALL = MulTConfig(
    tuple(ModalityConfig(name, width, 1) for name, width in WIDTHS.items()), dim=12, num_heads=3, num_layers=2
)


def make(padding: Padding) -> MulT:
    torch.manual_seed(0)
    return MulT(dataclasses.replace(SMALL, padding=padding)).eval()


def batch_of(*lengths: tuple[int, int, int]) -> Batch:
    samples = [
        make_sample(small_config(), dict(zip(WIDTHS, row, strict=True)), seed)
        for seed, row in enumerate(lengths)
    ]
    return collate(samples, WIDTHS)


def test_has_the_published_size() -> None:
    published = (("text", 300), ("audio", 74), ("vision", 35))
    model = MulT(MulTConfig(tuple(ModalityConfig(name, width, 1) for name, width in published)))
    print(f"MulT at 30/5/5, inputs 300/74/35, output 1: {model.num_parameters:,} parameters")
    assert model.num_parameters == 1_073_731


@settings(max_examples=25, deadline=None)
@given(
    lengths=st.lists(st.tuples(*[st.integers(1, 7)] * 3), min_size=1, max_size=4), padding=st.integers(0, 5)
)
def test_masked_an_answer_depends_neither_on_the_batch_nor_on_padding(
    lengths: list[tuple[int, int, int]], padding: int
) -> None:
    model = make("masked")
    batch = batch_of(*lengths)
    longer = Batch(
        {
            name: torch.nn.functional.pad(x, (0, 0, 0, padding), value=9.0)
            for name, x in batch.features.items()
        },
        {name: torch.nn.functional.pad(mask, (0, padding)) for name, mask in batch.masks.items()},
    )
    with torch.inference_mode():
        together, padded = model(batch).prediction_BK, model(longer).prediction_BK
        alone = torch.cat(
            [
                model(
                    Batch(
                        {
                            name: x[row : row + 1, : lengths[row][m]]
                            for m, (name, x) in enumerate(batch.features.items())
                        },
                        {
                            name: k[row : row + 1, : lengths[row][m]]
                            for m, (name, k) in enumerate(batch.masks.items())
                        },
                    )
                ).prediction_BK
                for row in range(len(lengths))
            ]
        )
    assert torch.allclose(together, alone, atol=1e-5)
    assert torch.allclose(padded, alone, atol=1e-5)


def test_the_two_ways_share_weights_and_agree_where_neither_masks_anything() -> None:
    """One step each: there is nothing to pad, and no later step to hide."""
    batch = batch_of((1, 1, 1), (1, 1, 1))
    with torch.inference_mode():
        assert torch.allclose(
            make("masked")(batch).prediction_BK, make("paper")(batch).prediction_BK, atol=1e-5
        )


def test_as_published_padding_is_seen_and_a_later_step_is_not() -> None:
    model = make("paper")
    batch = batch_of((4, 4, 4))
    padded = Batch(
        {name: torch.nn.functional.pad(x, (0, 0, 0, 3)) for name, x in batch.features.items()},
        {name: torch.nn.functional.pad(mask, (0, 3)) for name, mask in batch.masks.items()},
    )
    with torch.inference_mode():
        assert not torch.allclose(model(batch).prediction_BK, model(padded).prediction_BK, atol=1e-3)
        transformer = model.self_attention["text"]
        x_BTD = torch.randn(2, 5, 24)
        changed_BTD = torch.cat([x_BTD[:, :4], torch.randn(2, 1, 24)], dim=1)
        first, second = (run_as_published(transformer, x, None) for x in (x_BTD, changed_BTD))  # type: ignore[arg-type]
    assert torch.allclose(first[:, :4], second[:, :4], atol=1e-5)
    assert not torch.allclose(first[:, 4], second[:, 4], atol=1e-3)


@pytest.mark.parametrize("padding", ["masked", "paper"])
def test_every_parameter_gets_a_gradient(padding: Padding) -> None:
    model = make(padding).train()
    model(batch_of((5, 3, 4), (2, 6, 4))).prediction_BK.square().sum().backward()
    without = [name for name, one in model.named_parameters() if one.grad is None or not one.grad.abs().sum()]
    assert without == []


def test_attention_is_a_distribution_over_the_real_steps_of_the_source() -> None:
    model, batch = make("masked"), batch_of((3, 4, 5), (1, 6, 2))
    with torch.inference_mode():
        attention = model.attention(batch)
    assert set(attention) == {
        f"{target}_{source}" for target in WIDTHS for source in WIDTHS if source != target
    }
    for key, weights_LBHTS in attention.items():
        target, source = key.split("_")
        shape = (2, 2, 3, batch.masks[target].shape[1], batch.masks[source].shape[1])
        assert weights_LBHTS.shape == shape
        torch.testing.assert_close(weights_LBHTS.sum(dim=-1), torch.ones(shape[:-1]))
        assert not weights_LBHTS[..., ~batch.masks[source][1]][:, 1].any()
