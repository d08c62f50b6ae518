"""LF-LSTM, late fusion: an LSTM for each modality, fused at the end.

    x_m ─▶ LSTM_m ─▶ last state ─┐
             concatenated over m ┴▶ linear ─▶ output

After the table of MulT (Tsai et al. 2019, arXiv 1906.00295), which names no paper for it and prints 1.22M parameters.
Ours: one layer each, a width that makes 1,212,161 at inputs 300/74/35. Every modality keeps its own steps.
"""

import torch
from torch import nn

from hctdmg.baselines.peer import PeerOutput, without_extra_loss
from hctdmg.baselines.recurrent import run_packed
from hctdmg.batch import Batch
from hctdmg.config import ModalityConfig
from hctdmg.layers import last_step


class LfLstm(nn.Module):
    """The model, for any number of modalities."""

    def __init__(self, modalities: tuple[ModalityConfig, ...], num_outputs: int, hidden: int = 256) -> None:
        super().__init__()
        self.lstms = nn.ModuleDict(
            {modality.name: nn.LSTM(modality.width, hidden, batch_first=True) for modality in modalities}
        )
        self.head = nn.Linear(hidden * len(modalities), num_outputs)

    def forward(self, batch: Batch) -> PeerOutput:
        """Run the model."""
        summaries = []
        for name, lstm in self.lstms.items():
            assert isinstance(lstm, nn.LSTM)
            mask_BT = batch.masks[name]
            summaries.append(last_step(run_packed(lstm, batch.features[name], mask_BT), mask_BT))
        return without_extra_loss(self.head(torch.cat(summaries, dim=1)))
