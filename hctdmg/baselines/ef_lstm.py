"""EF-LSTM, early fusion: one LSTM over the concatenated features. The plainest peer of MulT's comparison.

    [x_1(t), x_2(t), ...] ─▶ LSTM ─▶ last state ─▶ linear ─▶ output

After the table of MulT (Tsai et al. 2019, arXiv 1906.00295), which names no paper for it and prints .56M parameters.
Ours: one layer, a width that makes 555,501 at inputs 300/74/35, `hctdmg.baselines.alignment` where lengths differ.
"""

import torch
from torch import nn

from hctdmg.baselines.alignment import align
from hctdmg.baselines.peer import PeerOutput, without_extra_loss
from hctdmg.baselines.recurrent import run_packed
from hctdmg.batch import Batch
from hctdmg.config import ModalityConfig
from hctdmg.layers import last_step


class EfLstm(nn.Module):
    """The model, for any number of modalities."""

    def __init__(self, modalities: tuple[ModalityConfig, ...], num_outputs: int, hidden: int = 220) -> None:
        super().__init__()
        self.names = [modality.name for modality in modalities]
        self.lstm = nn.LSTM(sum(modality.width for modality in modalities), hidden, batch_first=True)
        self.head = nn.Linear(hidden, num_outputs)

    def forward(self, batch: Batch) -> PeerOutput:
        """Run the model."""
        aligned, mask_BT = align(batch, self.names)
        states_BTH = run_packed(self.lstm, torch.cat([aligned[name] for name in self.names], dim=2), mask_BT)
        return without_extra_loss(self.head(last_step(states_BTH, mask_BT)))
