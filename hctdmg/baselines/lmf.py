"""LMF (Liu et al. 2018, arXiv 1806.00064): the outer product of all modalities, weighted by a tensor of low rank.

    z_1 = last state of an LSTM over the words;   z_m = two layers with ReLU over the mean of m's steps, m > 1
    y   = sum over r of  s_r  product over m of  W_{r, m} [z_m, 1]   + b

The paper's: the structure, and rank 4. Ours: widths 128 (words) and 32, which make 226,609 parameters at inputs
300/74/35 (none published); no batch normalisation, so that an answer does not depend on the batch; an absent
modality has z = 0, so that the others are fused without it. Every modality keeps its own steps.

Shape suffixes: B samples, D width, R rank, K outputs.
"""

import torch
from torch import Tensor, nn

from hctdmg.baselines.peer import PeerOutput, without_extra_loss
from hctdmg.baselines.recurrent import run_packed
from hctdmg.batch import Batch
from hctdmg.config import ModalityConfig
from hctdmg.layers import last_step, masked_mean


class LowRankFusion(nn.Module):
    """Fuses vectors, one of each modality, along their last axis."""

    def __init__(self, widths: list[int], num_outputs: int, rank: int) -> None:
        super().__init__()
        self.rank = rank
        self.factors = nn.ModuleList(nn.Linear(width, rank * num_outputs) for width in widths)
        for factor in self.factors:
            assert isinstance(factor, nn.Linear)
            # Near 1 without evidence, for a product of small numbers has no slope; the bias takes that 1 away.
            nn.init.ones_(factor.bias)
        self.scale_R = nn.Parameter(torch.full((rank,), 1 / rank))
        self.bias_K = nn.Parameter(-torch.ones(num_outputs))

    def forward(self, parts: list[Tensor]) -> Tensor:
        """(..., K).

        Args:
            parts: (..., D) of each modality; zeros have no say.
        """
        product = torch.stack(
            [
                factor(part).unflatten(-1, (self.rank, -1))
                for factor, part in zip(self.factors, parts, strict=True)
            ]
        ).prod(dim=0)
        fused: Tensor = (product * self.scale_R[:, None]).sum(dim=-2) + self.bias_K
        return fused


class Lmf(nn.Module):
    """The model, for any number of modalities; the first is read by the LSTM."""

    def __init__(
        self,
        modalities: tuple[ModalityConfig, ...],
        num_outputs: int,
        hidden: int = 128,
        other_hidden: int = 32,
        rank: int = 4,
    ) -> None:
        super().__init__()
        words, *others = modalities
        self.words = words.name
        self.lstm = nn.LSTM(words.width, hidden, batch_first=True)
        self.others = nn.ModuleDict(
            {
                other.name: nn.Sequential(
                    nn.Linear(other.width, other_hidden),
                    nn.ReLU(),
                    nn.Linear(other_hidden, other_hidden),
                    nn.ReLU(),
                )
                for other in others
            }
        )
        self.fusion = LowRankFusion([hidden, *(other_hidden for _ in others)], num_outputs, rank)

    def forward(self, batch: Batch) -> PeerOutput:
        """Run the model."""
        mask_BT = batch.masks[self.words]
        parts = [last_step(run_packed(self.lstm, batch.features[self.words], mask_BT), mask_BT)]
        for name, network in self.others.items():
            mask_BT = batch.masks[name]
            mean_BD = masked_mean(batch.features[name], mask_BT)
            parts.append(network(mean_BD) * mask_BT.any(dim=1, keepdim=True))
        return without_extra_loss(self.fusion(parts))
