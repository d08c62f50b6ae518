"""MulT (Tsai et al. 2019, arXiv 1906.00295): every modality attends to each other one, all are concatenated.

    features ─▶ Conv1d ─▶ for each modality: [attends to 2nd | attends to 3rd] ─▶ self-attention ─▶ last step ─┐
                                                                     three of these, concatenated ─▶ output ◀─┘

The paper's: the structure, and its repository's width 30, 5 layers and 5 heads, which make 1,073,731 parameters at
the widths 300/74/35 with one output, and its dropouts. Its code has no padding masks, lets no step attend to a later
one, and gives no position to a step whose first feature is 0, as all padding's is: so does `padding="paper"`, meant
for batches that are padded to the data set's longest, as a caller of the library can; the registry, and so training and
comparing, is "masked". `padding="masked"` has masks and looks both ways, as our own model does. Ours: the kernels of
`hctdmg.layers`, and steps numbered from 0, not 1. Both ways share their weights (`run_as_published` lays out the same
sums as the paper's code does).

Shape suffixes: M modalities, B samples, T and S steps, D width, H heads, E width of one head, K outputs.
"""

import math
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from hctdmg.baselines.peer import PeerOutput, without_extra_loss
from hctdmg.batch import Batch
from hctdmg.config import ModalityConfig
from hctdmg.layers import Attention, Block, Transformer, sinusoidal_positions
from hctdmg.model import OutputHead

Padding = Literal["masked", "paper"]

NUM_LEAST_SELF_LAYERS = 3
"""The repository's self-attention has as many layers as the crossmodal one, but at least three."""


@dataclass(frozen=True)
class MulTConfig:
    """What decides the model's parameters, and its dropout; the defaults are the repository's.

    Attributes:
        modalities: At least two; the paper's are three.
        num_outputs: K.
        dim: Width of every stream.
        num_heads: Divides dim.
        num_layers: Of each crossmodal transformer.
        padding: "masked" or "paper", as described above.
        embed_dropout: On the first modality's features, and on what enters each transformer.
        attention_dropout: On weights of attention to the first modality, and of self-attention.
        other_attention_dropout: On weights of attention to the others.
        residual_dropout: Inside the blocks.
        output_dropout: In the output head.
    """

    modalities: tuple[ModalityConfig, ...]
    num_outputs: int = 1
    dim: int = 30
    num_heads: int = 5
    num_layers: int = 5
    padding: Padding = "masked"
    embed_dropout: float = 0.2
    attention_dropout: float = 0.1
    other_attention_dropout: float = 0.0
    residual_dropout: float = 0.1
    output_dropout: float = 0.0


class MulT(nn.Module):
    """The model."""

    def __init__(self, config: MulTConfig) -> None:
        super().__init__()
        self.config = config
        dim, names = config.dim, [modality.name for modality in config.modalities]
        if len(names) < 2:
            raise ValueError(f"mult has {names[0]!r} alone: it needs a second modality to attend to")
        enhanced_dim = (len(names) - 1) * dim
        self.convolutions = nn.ModuleDict(
            {
                one.name: nn.Conv1d(one.width, dim, one.kernel_size, padding=one.kernel_size // 2, bias=False)
                for one in config.modalities
            }
        )
        self.crossmodal = nn.ModuleDict(
            {
                f"{target}_{source}": self._transformer(
                    dim,
                    config.num_layers,
                    config.attention_dropout if source == names[0] else config.other_attention_dropout,
                )
                for target in names
                for source in names
                if source != target
            }
        )
        self.self_attention = nn.ModuleDict(
            {
                name: self._transformer(
                    enhanced_dim, max(config.num_layers, NUM_LEAST_SELF_LAYERS), config.attention_dropout
                )
                for name in names
            }
        )
        self.head = OutputHead(enhanced_dim * len(names), config.num_outputs, config.output_dropout)

    def _transformer(self, dim: int, num_layers: int, attention_dropout: float) -> Transformer:
        config = self.config
        transformer = Transformer(
            dim, config.num_heads, num_layers, attention_dropout, config.residual_dropout
        )
        transformer.dropout = nn.Dropout(config.embed_dropout)
        return transformer

    @property
    def num_parameters(self) -> int:
        """Trainable numbers."""
        return sum(parameter.numel() for parameter in self.parameters())

    def forward(self, batch: Batch) -> PeerOutput:
        """Run the model.

        Args:
            batch: "paper" takes every step of it as real.
        """
        streams = {name: self._project(name, batch) for name in self.convolutions}
        summaries = [self._summarise(name, streams, batch) for name in streams]
        return without_extra_loss(self.head(torch.cat(summaries, dim=1)))

    def attention(self, batch: Batch) -> dict[str, Tensor]:
        """Weights (L, B, H, T, S) of each crossmodal transformer by "target_source", with masks; for diagnostics."""
        streams = {name: self._project(name, batch) for name in self.convolutions}
        found: dict[str, Tensor] = {}
        for key, transformer in self.crossmodal.items():
            target, source = key.rsplit("_", 1)
            found[key] = transformer(streams[target], streams[source], batch.masks[source], True)[1]
        return found

    def _project(self, name: str, batch: Batch) -> Tensor:
        """(B, T, D), zero at padding."""
        x_BTD = batch.features[name] * batch.masks[name][..., None]
        if name == self.config.modalities[0].name:
            x_BTD = F.dropout(x_BTD, self.config.embed_dropout, self.training)
        projected_BTD: Tensor = self.convolutions[name](x_BTD.transpose(1, 2)).transpose(1, 2)
        return projected_BTD

    def _summarise(self, target: str, streams: dict[str, Tensor], batch: Batch) -> Tensor:
        """(B, (M - 1) D): one modality, enhanced by each other one."""
        enhanced_BTD = torch.cat(
            [
                self._enhance(
                    self.crossmodal[f"{target}_{source}"], streams[target], x_BSD, batch.masks[source]
                )
                for source, x_BSD in streams.items()
                if source != target
            ],
            dim=2,
        )
        transformer = self.self_attention[target]
        assert isinstance(transformer, Transformer)
        if self.config.padding == "paper":
            return run_as_published(transformer, enhanced_BTD, None)[:, -1]
        return transformer.last(enhanced_BTD, batch.masks[target])

    def _enhance(self, transformer: nn.Module, x_BTD: Tensor, source_BSD: Tensor, mask_BS: Tensor) -> Tensor:
        assert isinstance(transformer, Transformer)
        if self.config.padding == "paper":
            return run_as_published(transformer, x_BTD, source_BSD)
        enhanced_BTD: Tensor = transformer(x_BTD, source_BSD, mask_BS)[0]
        return enhanced_BTD


def run_as_published(transformer: Transformer, x_BTD: Tensor, source_BSD: Tensor | None) -> Tensor:
    """A transformer the way the paper's code runs one: time first, attention in single steps, no step sees a later one.

    What that code does more than once is done more than once: a source is embedded, normalised and projected once as
    keys and once as values, and each attention ends with the mean of its weights over the heads, which nobody reads.

    Returns:
        (B, T, D).
    """
    x_TBD = _embed(transformer, x_BTD.transpose(0, 1))
    key_SBD, value_SBD = (
        None if source_BSD is None else _embed(transformer, source_BSD.transpose(0, 1)) for _ in range(2)
    )
    for block in transformer.blocks:
        assert isinstance(block, Block)
        query_TBD = block.attention_norm(x_TBD)
        keys_SBD = query_TBD if key_SBD is None else block.attention_norm(key_SBD)
        values_SBD = query_TBD if value_SBD is None else block.attention_norm(value_SBD)
        attended_TBD, _ = _attend(block.attention, query_TBD, keys_SBD, values_SBD)
        x_TBD = x_TBD + block.dropout(attended_TBD)
        x_TBD = x_TBD + block.dropout(block.feed_forward(block.feed_forward_norm(x_TBD)))
    result_TBD: Tensor = transformer.norm(x_TBD)
    return result_TBD.transpose(0, 1)


def _embed(transformer: Transformer, x_TBD: Tensor) -> Tensor:
    num_steps, _, dim = x_TBD.shape
    positions_TD = sinusoidal_positions(num_steps, dim, x_TBD.device)
    is_step_TB1 = x_TBD[:, :, :1] != 0
    embedded_TBD: Tensor = transformer.dropout(math.sqrt(dim) * x_TBD + positions_TD[:, None] * is_step_TB1)
    return embedded_TBD


def _attend(
    attention: Attention, query_TBD: Tensor, keys_SBD: Tensor, values_SBD: Tensor
) -> tuple[Tensor, Tensor]:
    num_steps, num_samples, dim = query_TBD.shape
    num_rows, width = num_samples * attention.num_heads, dim // attention.num_heads
    projected = attention.query(query_TBD) * width**-0.5, *_project(attention, keys_SBD, values_SBD)
    q_RTE, k_RSE, v_RSE = (x.contiguous().view(-1, num_rows, width).transpose(0, 1) for x in projected)
    scores_RTS = torch.bmm(q_RTE, k_RSE.transpose(1, 2))
    scores_RTS += _no_later_step(num_steps, len(keys_SBD), query_TBD.device)
    weights_RTS = F.dropout(scores_RTS.softmax(dim=-1), attention.dropout, attention.training)
    attended_TBD = (
        torch.bmm(weights_RTS, v_RSE).transpose(0, 1).contiguous().view(num_steps, num_samples, dim)
    )
    weights_BHTS = weights_RTS.view(num_samples, attention.num_heads, num_steps, -1)
    return attention.out(attended_TBD), weights_BHTS.sum(dim=1) / attention.num_heads


def _project(attention: Attention, keys_SBD: Tensor, values_SBD: Tensor) -> tuple[Tensor, Tensor]:
    """Keys and values: in one product where both come from the same, as in self-attention, else in two."""
    layer = attention.key_value
    if keys_SBD is values_SBD:
        key_SBD, value_SBD = layer(keys_SBD).chunk(2, dim=-1)
        return key_SBD, value_SBD
    (key_weight, value_weight), (key_bias, value_bias) = layer.weight.chunk(2), layer.bias.chunk(2)
    return F.linear(keys_SBD, key_weight, key_bias), F.linear(values_SBD, value_weight, value_bias)


def _no_later_step(num_steps: int, num_sources: int, device: torch.device) -> Tensor:
    """(T, S): 0 where a step may attend, minus infinity beyond the diagonal, which ends at the longer one's corner."""
    offset = 1 + abs(num_sources - num_steps)
    return torch.full((num_steps, num_sources), -math.inf, device=device).triu(offset)
