"""Attention blocks with padding masks, after MulT's pre-norm encoder. Know shapes; not modalities or roles.

Shape suffixes: B samples, T steps of the query, S steps of the source, D width, H heads, E width of one head,
L blocks.
"""

import math
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from hctdmg.kernels import MASKED, attend, linear


@dataclass(frozen=True)
class SourceMask:
    """Which steps of a source are real, in the forms that attention needs; built once for all blocks.

    Attributes:
        bias_B1S1: 0 where a step may be attended to, else MASKED. 0 all over for an empty source: a softmax over
            nothing is undefined, so it is attended to as if it were full, and what comes out is zeroed.
        present_B11: Whether the source has any step.
    """

    bias_B1S1: Tensor
    present_B11: Tensor

    @staticmethod
    def of(mask_BS: Tensor, dtype: torch.dtype) -> "SourceMask":
        """From True where a step is real."""
        present_B1 = mask_BS.any(dim=1, keepdim=True)
        bias_BS = torch.zeros_like(mask_BS, dtype=dtype).masked_fill(~mask_BS & present_B1, MASKED)
        return SourceMask(bias_BS[:, None, :, None], present_B1[..., None])


class Attention(nn.Module):
    """Multi-head attention from a query sequence to a source sequence that may be empty."""

    def __init__(self, dim: int, num_heads: int, dropout: float) -> None:
        super().__init__()
        self.num_heads = num_heads
        self.dropout = dropout
        self.query = nn.Linear(dim, dim)
        self.key_value = nn.Linear(dim, 2 * dim)
        self.out = nn.Linear(dim, dim)
        for layer in (self.query, self.key_value, self.out):
            nn.init.xavier_uniform_(layer.weight)
            nn.init.zeros_(layer.bias)

    def forward(
        self, query_BTD: Tensor, source_BSD: Tensor, mask: SourceMask, want_weights: bool = False
    ) -> tuple[Tensor, Tensor | None]:
        """Attend.

        Args:
            query_BTD: Queries.
            source_BSD: Keys and values.
            mask: Of the source.
            want_weights: Also compute the weights; slower, for diagnostics.

        Returns:
            (B, T, D), zero for a sample whose source is empty; and (B, H, T, S) weights if wanted.
        """
        q_BHTE = self._split_heads(linear(self.query, query_BTD))
        k_BHSE, v_BHSE = (
            self._split_heads(part) for part in linear(self.key_value, source_BSD).chunk(2, dim=-1)
        )
        mixed_BTD = attend(q_BHTE, k_BHSE, v_BHSE, mask.bias_B1S1, self.dropout if self.training else 0.0)
        attended_BTD = linear(self.out, mixed_BTD) * mask.present_B11
        if not want_weights:
            return attended_BTD, None
        scores_BHTS = q_BHTE @ k_BHSE.transpose(-2, -1) / math.sqrt(q_BHTE.shape[-1])
        weights_BHTS = (scores_BHTS + mask.bias_B1S1.transpose(2, 3)).softmax(dim=-1)
        return attended_BTD, weights_BHTS * mask.present_B11[..., None]

    def _split_heads(self, x_BTD: Tensor) -> Tensor:
        num_samples, num_steps, dim = x_BTD.shape
        return x_BTD.view(num_samples, num_steps, self.num_heads, dim // self.num_heads).transpose(1, 2)


class Block(nn.Module):
    """Pre-norm attention and feed-forward of width 4 D with ReLU, each with a residual path."""

    def __init__(self, dim: int, num_heads: int, attention_dropout: float, residual_dropout: float) -> None:
        super().__init__()
        self.attention_norm = nn.LayerNorm(dim)
        self.attention = Attention(dim, num_heads, attention_dropout)
        self.feed_forward_norm = nn.LayerNorm(dim)
        self.feed_forward = nn.Sequential(
            nn.Linear(dim, 4 * dim), nn.ReLU(), nn.Dropout(residual_dropout), nn.Linear(4 * dim, dim)
        )
        self.dropout = nn.Dropout(residual_dropout)

    def forward(
        self, x_BTD: Tensor, source_BSD: Tensor | None, mask: SourceMask, want_weights: bool = False
    ) -> tuple[Tensor, Tensor | None]:
        """One block; a source of None means self-attention."""
        query_BTD = self.attention_norm(x_BTD)
        keys_BSD = query_BTD if source_BSD is None else self.attention_norm(source_BSD)
        attended_BTD, weights_BHTS = self.attention(query_BTD, keys_BSD, mask, want_weights)
        return self._feed(x_BTD + self.dropout(attended_BTD)), weights_BHTS

    def last(self, x_BTD: Tensor, mask_BT: Tensor, mask: SourceMask) -> Tensor:
        """(B, 1, D): the last real step of a block of self-attention, at the cost of that step alone."""
        keys_BTD = self.attention_norm(x_BTD)
        x_B1D, query_B1D = last_step(x_BTD, mask_BT)[:, None], last_step(keys_BTD, mask_BT)[:, None]
        return self._feed(x_B1D + self.dropout(self.attention(query_B1D, keys_BTD, mask)[0]))

    def _feed(self, x_BTD: Tensor) -> Tensor:
        widen, _, dropout, narrow = self.feed_forward
        assert isinstance(widen, nn.Linear)
        assert isinstance(narrow, nn.Linear)
        wide_BTF = linear(widen, self.feed_forward_norm(x_BTD), relu=True)
        fed_BTD: Tensor = x_BTD + self.dropout(linear(narrow, dropout(wide_BTF)))
        return fed_BTD


class Transformer(nn.Module):
    """A stack of blocks from a query to a source (crossmodal), or from a sequence to itself."""

    def __init__(
        self, dim: int, num_heads: int, num_layers: int, attention_dropout: float, residual_dropout: float
    ) -> None:
        super().__init__()
        self.blocks = nn.ModuleList(
            Block(dim, num_heads, attention_dropout, residual_dropout) for _ in range(num_layers)
        )
        self.norm = nn.LayerNorm(dim)
        self.dropout = nn.Dropout(residual_dropout)

    def forward(
        self, x_BTD: Tensor, source_BSD: Tensor | None, mask_BS: Tensor, want_weights: bool = False
    ) -> tuple[Tensor, Tensor | None]:
        """Enhance `x_BTD` by the source.

        Args:
            x_BTD: The sequence that is enhanced.
            source_BSD: The sequence attended to; None attends to `x_BTD` itself.
            mask_BS: True where a step of the source is real.
            want_weights: Also return the attention weights.

        Returns:
            (B, T, D), and (L, B, H, T, S) weights if wanted.
        """
        x_BTD = self._embed(x_BTD)
        source_BSD = None if source_BSD is None else self._embed(source_BSD)
        mask = SourceMask.of(mask_BS, x_BTD.dtype)
        weights: list[Tensor] = []
        for block in self.blocks:
            x_BTD, weights_BHTS = block(x_BTD, source_BSD, mask, want_weights)
            if weights_BHTS is not None:
                weights.append(weights_BHTS)
        return self.norm(x_BTD), torch.stack(weights) if weights else None

    def last(self, x_BTD: Tensor, mask_BT: Tensor) -> Tensor:
        """(B, D): the last real step of a sequence that attends to itself; the last block works on that step alone."""
        x_BTD = self._embed(x_BTD)
        mask = SourceMask.of(mask_BT, x_BTD.dtype)
        *blocks, last = self.blocks
        for block in blocks:
            x_BTD, _ = block(x_BTD, None, mask)
        assert isinstance(last, Block)
        x_BD: Tensor = self.norm(last.last(x_BTD, mask_BT, mask)[:, 0])
        return x_BD

    def _embed(self, x_BTD: Tensor) -> Tensor:
        """With positions, in the precision of this transformer's weights, which may be lower than its input's."""
        num_steps, dim = x_BTD.shape[1:]
        positions_TD = sinusoidal_positions(num_steps, dim, x_BTD.device)
        embedded_BTD: Tensor = self.dropout(torch.add(positions_TD, x_BTD, alpha=math.sqrt(dim)))
        return embedded_BTD.to(self.norm.weight.dtype)


def sinusoidal_positions(num_steps: int, dim: int, device: torch.device) -> Tensor:
    """(T, D) sines then cosines at wavelengths from 2 pi to 20,000 pi (Vaswani et al. 2017, section 3.5)."""
    steps_T1 = torch.arange(num_steps, device=device, dtype=torch.float32)[:, None]
    half = dim // 2
    rates_D = torch.exp(
        torch.arange(half, device=device, dtype=torch.float32) * (-math.log(10_000.0) / max(1, half - 1))
    )
    return torch.cat([torch.sin(steps_T1 * rates_D), torch.cos(steps_T1 * rates_D)], dim=1)


def last_step(x_BTD: Tensor, mask_BT: Tensor) -> Tensor:
    """(B, D): the last real step of each sample; the first step of one that has none."""
    index_B = (mask_BT.sum(dim=1) - 1).clamp(min=0)
    return x_BTD[torch.arange(x_BTD.shape[0], device=x_BTD.device), index_B]


def masked_mean(x_BTD: Tensor, mask_BT: Tensor) -> Tensor:
    """(B, D): mean over the real steps; zero for a sample that has none."""
    mask_BT1 = mask_BT[..., None].to(x_BTD.dtype)
    return (x_BTD * mask_BT1).sum(dim=1) / mask_BT1.sum(dim=1).clamp(min=1)
