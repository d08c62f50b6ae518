"""The two operations that nearly all time goes into, each in the form that is fastest where it runs.

Every form gives the same numbers, up to rounding (`tests/hctdmg/test_kernels.py`). Know tensors; not the model.
What each form is worth: `python -m hctdmg.bench` and docs/results.md.

Shape suffixes: B samples, H heads, N = B H, T steps of the query, S steps of the source, E width of one head, D width.
"""

import torch
from torch import Tensor, nn
from torch.nn import functional as F

MASKED = -1e30
"""Added to the score of a step that must not be attended to: its weight is exactly 0. Finite, so that no gradient is
0 times infinity; float32 and bfloat16 hold it."""
HAS_ONEDNN: bool = torch.backends.mkldnn.is_available()  # type: ignore[no-untyped-call]
MIN_ROWS = 1000
"""oneDNN prepares itself for each number of rows when it first comes: 5 ms for all of the model's layers. From about so
many rows on (20 samples of 50 steps) the first run already gains more than that."""
CHUNK_SCORES = 2**17
"""So many scores (512 KiB) are computed at once on a CPU: they stay in a core's cache. A quarter faster than torch's
fused attention for heads this narrow, from 50 to 500 steps; at 1000 equal."""
MAX_SCORE = 75.0
"""Exponentials of scores up to it, either sign, are float32 numbers with all their digits (e^-87 is not), and a
thousand of them with values of a hundred add up to less than its largest (3e38)."""
MAX_KEPT_SCORES = 2**20
"""A gradient needs all scores of the batch (4 MiB for each block); with more, the fused attention keeps none."""


def linear(layer: nn.Linear, x_BTD: Tensor, relu: bool = False) -> Tensor:
    """The layer, with a ReLU after it if wanted.

    On a CPU, for many rows and no gradient, oneDNN's own operator: half of the time of `F.linear` for our narrow
    layers, because that goes to MKL.
    """
    if (
        _runs_eagerly_on_cpu(x_BTD)
        and not torch.is_grad_enabled()
        and HAS_ONEDNN
        and x_BTD.shape[:-1].numel() >= MIN_ROWS
    ):
        activation = "relu" if relu else "none"
        fused_BTD: Tensor = torch.ops.mkldnn._linear_pointwise(
            x_BTD, layer.weight, layer.bias, activation, [], ""
        )
        return fused_BTD
    y_BTD: Tensor = layer(x_BTD)
    return F.relu(y_BTD) if relu else y_BTD


def attend(q_BHTE: Tensor, k_BHSE: Tensor, v_BHSE: Tensor, bias_B1S1: Tensor, dropout: float) -> Tensor:
    """Attention of each head, heads side by side.

    Args:
        q_BHTE: Queries.
        k_BHSE: Keys.
        v_BHSE: Values.
        bias_B1S1: Added to the scores: 0, or MASKED.
        dropout: On the weights.

    Returns:
        (B, T, D).
    """
    # The device first: the number of scores is a look at the shape, which a graph for export can't take.
    if _runs_eagerly_on_cpu(q_BHTE) and (
        not torch.is_grad_enabled() or q_BHTE.shape[:3].numel() * k_BHSE.shape[2] <= MAX_KEPT_SCORES
    ):
        if not torch.is_grad_enabled() and dropout == 0:
            attended_BTD = _attend_by_sums(q_BHTE, k_BHSE, v_BHSE, bias_B1S1)
            if attended_BTD is not None:
                return attended_BTD
        return _attend_in_columns(q_BHTE, k_BHSE, v_BHSE, bias_B1S1, dropout)
    attended_BHTE = F.scaled_dot_product_attention(
        q_BHTE, k_BHSE, v_BHSE, attn_mask=bias_B1S1.transpose(2, 3), dropout_p=dropout
    )
    return attended_BHTE.transpose(1, 2).flatten(2)


def _attend_in_columns(
    q_BHTE: Tensor, k_BHSE: Tensor, v_BHSE: Tensor, bias_B1S1: Tensor, dropout: float
) -> Tensor:
    """Attention with its scores transposed.

    Matrix products with as few columns as a head is wide (5 to 10) are slow; with a step in each column they are
    not. The bias travels in the product, as one more entry of each key, where the query has a 1.
    """
    num_samples, num_heads, num_steps, width = q_BHTE.shape
    num_rows, num_sources = num_samples * num_heads, k_BHSE.shape[2]
    q_BHTF = F.pad(q_BHTE * width**-0.5, (0, 1), value=1.0)
    k_BHSF = torch.cat([k_BHSE, bias_B1S1.expand(-1, num_heads, -1, -1)], dim=-1)
    v_NES = v_BHSE.transpose(2, 3).reshape(num_rows, width, num_sources)
    q_NFT = q_BHTF.view(num_rows, num_steps, width + 1).transpose(1, 2)
    k_NSF = k_BHSF.view(num_rows, num_sources, width + 1)
    chunk = max(1, CHUNK_SCORES // (num_steps * num_sources))
    parts = []
    for q, k, v in zip(*(torch.split(x, chunk) for x in (q_NFT, k_NSF, v_NES)), strict=True):
        weights = torch.bmm(k, q).softmax(dim=1)
        parts.append(torch.bmm(v, F.dropout(weights, dropout, training=dropout > 0)))
    return torch.cat(parts).view(num_samples, num_heads * width, num_steps).transpose(1, 2)


def _attend_by_sums(q_BHTE: Tensor, k_BHSE: Tensor, v_BHSE: Tensor, bias_B1S1: Tensor) -> Tensor | None:
    """`_attend_in_columns` with one pass over the scores instead of three, for inference.

    A softmax subtracts each query's largest score, for fear of an exponential that is no number. Where no score can be
    so large there is no need to look for it, and the sum of the weights comes out of the second product, for which
    each value has a 1 more. Who must not be attended to has zeros for value and 1.

    Returns:
        (B, T, D); None where it is no use: for few scores, low precision, or scores that may be large.
    """
    num_samples, num_heads, num_steps, width = q_BHTE.shape
    num_rows, num_sources = num_samples * num_heads, k_BHSE.shape[2]
    if num_rows * num_steps * num_sources < CHUNK_SCORES or q_BHTE.dtype == torch.bfloat16:
        return None
    q_BHTE = q_BHTE * width**-0.5
    largest = width * q_BHTE.abs().max() * k_BHSE.abs().max()  # no sum of `width` products is larger
    if not bool(largest <= MAX_SCORE):  # so that NaN goes the other way too
        return None
    q_NET = q_BHTE.reshape(num_rows, num_steps, width).transpose(1, 2)
    k_NSE = k_BHSE.reshape(num_rows, num_sources, width)
    v_BHSF = F.pad(v_BHSE, (0, 1), value=1.0) * (bias_B1S1 == 0)
    v_NFS = v_BHSF.transpose(2, 3).reshape(num_rows, width + 1, num_sources)
    chunk = max(1, CHUNK_SCORES // (num_steps * num_sources))
    parts = [
        torch.bmm(v, torch.bmm(k, q).exp_())
        for q, k, v in zip(*(torch.split(x, chunk) for x in (q_NET, k_NSE, v_NFS)), strict=True)
    ]
    summed_BHFT = torch.cat(parts).view(num_samples, num_heads, width + 1, num_steps)
    attended_BHET = summed_BHFT[:, :, :width] / summed_BHFT[:, :, width:]
    return attended_BHET.reshape(num_samples, num_heads * width, num_steps).transpose(1, 2)


def _runs_eagerly_on_cpu(x: Tensor) -> bool:
    return x.device.type == "cpu" and not torch.compiler.is_compiling()
