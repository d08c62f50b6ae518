"""Each form of an operation gives what the plain one gives, and the cheap last step is the last of all steps."""

from unittest import mock

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn
from torch.nn import functional as F

from hctdmg import kernels
from hctdmg.kernels import attend, linear
from hctdmg.layers import SourceMask, Transformer, last_step

TOLERANCE = 1e-5
SHAPES = {
    "num_samples": st.integers(1, 4),
    "num_heads": st.integers(1, 3),
    "num_steps": st.integers(1, 9),
    "num_sources": st.integers(1, 9),
    "width": st.integers(1, 6),
    "data": st.data(),
}


def masked(data: st.DataObject, num_samples: int, num_steps: int) -> Tensor:
    """(B, T): any steps are real, in some samples perhaps none."""
    rows = st.lists(st.booleans(), min_size=num_steps, max_size=num_steps)
    return torch.tensor(data.draw(st.lists(rows, min_size=num_samples, max_size=num_samples)))


@settings(max_examples=200, deadline=None)
@given(**SHAPES)
def test_attention_in_columns_is_attention(
    num_samples: int, num_heads: int, num_steps: int, num_sources: int, width: int, data: st.DataObject
) -> None:
    """In float64, where a difference is no rounding."""
    torch.manual_seed(0)
    q, k, v = (
        (3 * torch.randn(num_samples, num_heads, steps, width, dtype=torch.float64)).requires_grad_()
        for steps in (num_steps, num_sources, num_sources)
    )
    mask_BS = masked(data, num_samples, num_sources)
    bias = SourceMask.of(mask_BS, torch.float64).bias_B1S1
    in_columns = attend(q, k, v, bias, 0.0)
    gradients = torch.autograd.grad(in_columns.square().sum(), (q, k, v))
    full = mask_BS | ~mask_BS.any(dim=1, keepdim=True)
    plain = F.scaled_dot_product_attention(q, k, v, attn_mask=full[:, None, None, :])
    wanted = torch.autograd.grad(plain.square().sum(), (q, k, v))
    torch.testing.assert_close(in_columns, plain.transpose(1, 2).flatten(2), atol=1e-9, rtol=1e-9)
    for ours, theirs in zip(gradients, wanted, strict=True):
        torch.testing.assert_close(ours, theirs, atol=1e-9, rtol=1e-9)


@settings(max_examples=200, deadline=None)
@given(size=st.sampled_from([0.1, 1.0, 3.0, 30.0, 1e4]), **SHAPES)
def test_attention_by_sums_is_attention(
    size: float,
    num_samples: int,
    num_heads: int,
    num_steps: int,
    num_sources: int,
    width: int,
    data: st.DataObject,
) -> None:
    """In float64 again; queries and keys may be so large that another form has to do it."""
    torch.manual_seed(0)
    q, k, v = (
        torch.randn(num_samples, num_heads, steps, width, dtype=torch.float64)
        for steps in (num_steps, num_sources, num_sources)
    )
    mask_BS = masked(data, num_samples, num_sources)
    bias = SourceMask.of(mask_BS, torch.float64).bias_B1S1
    with torch.no_grad(), mock.patch.object(kernels, "CHUNK_SCORES", 1):
        by_sums = attend(size * q, size * k, v, bias, 0.0)
    full = mask_BS | ~mask_BS.any(dim=1, keepdim=True)
    plain = F.scaled_dot_product_attention(size * q, size * k, v, attn_mask=full[:, None, None, :])
    torch.testing.assert_close(by_sums, plain.transpose(1, 2).flatten(2), atol=1e-9, rtol=1e-9)


@pytest.mark.parametrize("score", [-74.0, -1.0, 1.0, 74.0])
def test_sums_keep_their_digits_up_to_the_limit(score: float, monkeypatch: pytest.MonkeyPatch) -> None:
    """All weights as small, or as large, as they may be; and one beside them that must not be attended to."""
    monkeypatch.setattr(kernels, "_attend_in_columns", None)  # nobody goes there
    torch.manual_seed(0)
    q, k = torch.ones(8, 8, 50, 4), torch.full((8, 8, 50, 4), score / 2)  # 4 products, halved
    k[:, :, ::2] *= 0.99
    k[:, :, -1] *= -1
    v, bias = torch.randn(8, 8, 50, 4), torch.zeros(8, 1, 50, 1)
    bias[:, :, -1] = kernels.MASKED
    with torch.no_grad():
        by_sums = attend(q, k, v, bias, 0.0)
    mask = (bias == 0).transpose(2, 3)
    plain = F.scaled_dot_product_attention(q.double(), k.double(), v.double(), attn_mask=mask)
    torch.testing.assert_close(
        by_sums.double(), plain.transpose(1, 2).flatten(2), atol=TOLERANCE, rtol=TOLERANCE
    )


def test_many_scores_go_other_ways_to_the_same_numbers(monkeypatch: pytest.MonkeyPatch) -> None:
    torch.manual_seed(0)
    q, k, v = (torch.randn(2, 3, 20, 5) for _ in range(3))
    bias = SourceMask.of(torch.rand(2, 20) < 0.7, torch.float32).bias_B1S1
    at_once = attend(q, k, v, bias, 0.0)
    monkeypatch.setattr(kernels, "CHUNK_SCORES", 2 * 20 * 20 + 1)  # two heads, and a rest
    torch.testing.assert_close(attend(q, k, v, bias, 0.0), at_once, atol=TOLERANCE, rtol=TOLERANCE)
    monkeypatch.setattr(kernels, "MAX_KEPT_SCORES", 2 * 3 * 20 * 20 - 1)
    monkeypatch.setattr(kernels, "_attend_in_columns", None)  # with gradients nobody goes there
    torch.testing.assert_close(attend(q, k, v, bias, 0.0), at_once, atol=TOLERANCE, rtol=TOLERANCE)


@pytest.mark.parametrize("relu", [False, True])
@pytest.mark.parametrize("shape", [(1, 1), (3, 7), (32, 50)])
def test_a_layer_gives_the_same_with_and_without_gradients(
    shape: tuple[int, int], relu: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(kernels, "MIN_ROWS", 1)
    torch.manual_seed(0)
    layer, x_BTD = nn.Linear(40, 160), torch.randn(*shape, 40)
    with torch.inference_mode():
        fused = linear(layer, x_BTD, relu)
        strided = linear(layer, x_BTD.transpose(1, 2).contiguous().transpose(1, 2), relu)
    plain = linear(layer, x_BTD, relu)
    assert plain.requires_grad
    assert bool((plain < 0).any()) is not relu
    for one in (fused, strided):
        torch.testing.assert_close(one, plain.detach(), atol=TOLERANCE, rtol=TOLERANCE)


@settings(max_examples=30, deadline=None)
@given(lengths=st.lists(st.integers(0, 7), min_size=1, max_size=4), num_layers=st.integers(1, 3))
def test_the_cheap_last_step_is_the_last_step(lengths: list[int], num_layers: int) -> None:
    torch.manual_seed(0)
    transformer = Transformer(8, 2, num_layers, 0.1, 0.1).eval()
    mask_BT = torch.arange(max(1, *lengths, 0))[None] < torch.tensor(lengths)[:, None]
    x_BTD = torch.randn(len(lengths), mask_BT.shape[1], 8)
    whole = last_step(transformer(x_BTD, None, mask_BT)[0], mask_BT)
    torch.testing.assert_close(transformer.last(x_BTD, mask_BT), whole, atol=TOLERANCE, rtol=TOLERANCE)


def test_dropout_reaches_the_weights() -> None:
    q, k = torch.randn(2, 2, 5, 4), torch.randn(2, 2, 6, 4)
    v = torch.ones(2, 2, 6, 4)
    bias = torch.zeros(2, 1, 6, 1)
    torch.testing.assert_close(attend(q, k, v, bias, 0.0), torch.ones(2, 5, 8))
    torch.manual_seed(0)
    assert attend(q, k, v, bias, 0.5).std() > 0.1


def test_dropout_reaches_the_weights_of_many_scores_without_a_gradient() -> None:
    q, k, v = torch.randn(8, 8, 50, 4), torch.randn(8, 8, 50, 4), torch.ones(8, 8, 50, 4)
    bias = torch.zeros(8, 1, 50, 1)
    torch.manual_seed(0)
    with torch.no_grad():
        assert attend(q, k, v, bias, 0.5).std() > 0.01
