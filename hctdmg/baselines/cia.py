"""CIA (Chauhan et al. 2019, aclanthology D19-1566): pairs of modalities explain, then attend to, each other.

    g_m   = biGRU over the steps of m
    i_mn  = ReLU(E_mn(g_m)),  x_n' = D_mn(i_mn)                an auto-encoder from m to n, for each ordered pair
    o_mn  = softmax(i_mn i_nm^T) i_nm * i_mn                    its context-aware attention
    [g_m, o_mn of all] ─▶ mean over steps ─▶ two layers ─▶ output
    extra loss = RECONSTRUCTION_WEIGHT (sum over pairs of |x_n' - x_n|^2, means over elements)

The paper attends from an utterance to its neighbours in the video; here a sample stands alone, and its steps take
their place. Ours as well: that every ordered pair has an auto-encoder, of the inputs; the weight; widths 64 (each way
of the biGRU) and 64 (codes), which make 385,075 parameters at inputs 300/74/35 (none published);
`hctdmg.baselines.alignment` where lengths differ.

Shape suffixes: B samples, T and S steps, D features, H states, E width of a code.
"""

import itertools

import torch
from torch import Tensor, nn

from hctdmg.baselines.alignment import align
from hctdmg.baselines.feed_forward import two_layers
from hctdmg.baselines.peer import PeerOutput
from hctdmg.baselines.recurrent import run_packed
from hctdmg.batch import Batch
from hctdmg.config import ModalityConfig
from hctdmg.layers import masked_mean

RECONSTRUCTION_WEIGHT = 0.1
"""Of each pair beside the task's loss: the paper gives none; most of a target's variance is noise."""


class Cia(nn.Module):
    """The model, for two or more modalities."""

    def __init__(
        self, modalities: tuple[ModalityConfig, ...], num_outputs: int, hidden: int = 64, code_width: int = 64
    ) -> None:
        super().__init__()
        self.names = [modality.name for modality in modalities]
        if len(modalities) < 2:
            raise ValueError(f"cia has {self.names[0]!r} alone: it needs a second modality to explain")
        self.pairs = list(itertools.permutations(self.names, 2))
        self.grus = nn.ModuleDict(
            {one.name: nn.GRU(one.width, hidden, batch_first=True, bidirectional=True) for one in modalities}
        )
        widths = {modality.name: modality.width for modality in modalities}
        self.encoders = nn.ModuleDict({f"{m}_{n}": nn.Linear(2 * hidden, code_width) for m, n in self.pairs})
        self.decoders = nn.ModuleDict({f"{m}_{n}": nn.Linear(code_width, widths[n]) for m, n in self.pairs})
        num_features = len(modalities) * 2 * hidden + len(self.pairs) * code_width
        self.head = two_layers(num_features, hidden, num_outputs)

    def forward(self, batch: Batch) -> PeerOutput:
        """Run the model."""
        aligned, mask_BT = align(batch, self.names)
        present_B = {name: batch.masks[name].any(dim=1) for name in self.names}
        masks = {name: mask_BT & present_B[name][:, None] for name in self.names}
        states = {name: self._read(name, aligned[name], masks[name]) for name in self.names}
        codes = {(m, n): self.encoders[f"{m}_{n}"](states[m]).relu() for m, n in self.pairs}
        losses = []
        for m, n in self.pairs:
            mask_BT1 = (masks[m] & masks[n])[..., None]
            difference_BTD = (self.decoders[f"{m}_{n}"](codes[m, n]) - aligned[n]) * mask_BT1
            num_elements = mask_BT1.sum().clamp(min=1) * difference_BTD.shape[2]
            losses.append(difference_BTD.square().sum() / num_elements)
        attended = [attend(codes[m, n], codes[n, m], masks[m] & masks[n]) for m, n in self.pairs]
        summary_BD = masked_mean(torch.cat([*states.values(), *attended], dim=2), mask_BT)
        return PeerOutput(self.head(summary_BD), RECONSTRUCTION_WEIGHT * torch.stack(losses).sum())

    def _read(self, name: str, x_BTD: Tensor, mask_BT: Tensor) -> Tensor:
        gru = self.grus[name]
        assert isinstance(gru, nn.GRU)
        return run_packed(gru, x_BTD, mask_BT)


def attend(code_BTE: Tensor, other_BSE: Tensor, mask_BS: Tensor) -> Tensor:
    """(B, T, E): each step's code times what it attends to in the other's; zero at padding."""
    scores_BTS = code_BTE @ other_BSE.transpose(1, 2)
    least = torch.finfo(scores_BTS.dtype).min
    weights_BTS = scores_BTS.masked_fill(~mask_BS[:, None], least).softmax(dim=2)
    attended_BTE: Tensor = weights_BTS @ other_BSE * code_BTE * mask_BS[..., None]
    return attended_BTE
