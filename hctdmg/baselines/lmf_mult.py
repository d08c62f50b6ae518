"""LMF-MulT (Sahay et al. 2020, arXiv 2007.02038): every modality attends to one low-rank fusion of all of them.

    features ─▶ Conv1d ─▶ x_m ─┬─▶ aligned ─▶ low-rank fusion (LMF) at each step ─▶ f
                               └─▶ attends to f ─▶ self-attention ─▶ last step ─┐
                                                        concatenated over m ─▶ output

So there are M crossmodal transformers instead of MulT's M (M - 1), and each stays as narrow as its stream. The paper
gives the idea and .86M parameters; our reading: f on the first modality's clock (`hctdmg.baselines.alignment`), the
direction drawn above, blocks, dropouts and output head of MulT, masks in place of padding, and width 44, 4 heads, 5
layers and rank 8, which make 815,461 at inputs 300/74/35.

Shape suffixes: B samples, T and S steps, D width.
"""

import torch
from torch import nn

from hctdmg.baselines.alignment import align
from hctdmg.baselines.lmf import LowRankFusion
from hctdmg.baselines.peer import PeerOutput, without_extra_loss
from hctdmg.batch import Batch
from hctdmg.config import ModalityConfig
from hctdmg.layers import Transformer, last_step
from hctdmg.model import OutputHead

DROPOUT = 0.1
"""Of attention weights, inside the blocks and in the head; MulT's."""


class LmfMulT(nn.Module):
    """The model, for any number of modalities."""

    def __init__(
        self,
        modalities: tuple[ModalityConfig, ...],
        num_outputs: int,
        dim: int = 44,
        num_heads: int = 4,
        num_layers: int = 5,
        rank: int = 8,
    ) -> None:
        super().__init__()
        self.convolutions = nn.ModuleDict(
            {
                one.name: nn.Conv1d(one.width, dim, one.kernel_size, padding=one.kernel_size // 2, bias=False)
                for one in modalities
            }
        )
        self.fusion = LowRankFusion([dim] * len(modalities), dim, rank)
        self.crossmodal, self.self_attention = (
            nn.ModuleDict(
                {one.name: Transformer(dim, num_heads, num_layers, DROPOUT, DROPOUT) for one in modalities}
            )
            for _ in range(2)
        )
        self.head = OutputHead(dim * len(modalities), num_outputs, DROPOUT)

    def forward(self, batch: Batch) -> PeerOutput:
        """Run the model."""
        streams = {}
        for name, convolution in self.convolutions.items():
            x_BTD = batch.features[name] * batch.masks[name][..., None]
            streams[name] = convolution(x_BTD.transpose(1, 2)).transpose(1, 2)
        aligned, clock_BS = align(Batch(streams, batch.masks), list(streams))
        fused_BSD = self.fusion(list(aligned.values()))
        summaries = []
        for name, x_BTD in streams.items():
            mask_BT = batch.masks[name]
            enhanced_BTD, _ = self.crossmodal[name](x_BTD, fused_BSD, clock_BS)
            attended_BTD, _ = self.self_attention[name](enhanced_BTD, None, mask_BT)
            summaries.append(last_step(attended_BTD, mask_BT))
        return without_extra_loss(self.head(torch.cat(summaries, dim=1)))
