"""RAVEN (Wang et al. 2019, arXiv 1811.09362): each word is shifted by the voice and face that go with it.

    h_m  = last state of LSTM_m over the steps of m during the word e, for every modality m but the words
    w_m  = sigmoid(v_m [h_m, e] + b_m), one number
    h    = sum over m of w_m W_m h_m + b
    e'   = e + min(beta |e| / |h|, 1) h
    e' of all words ─▶ LSTM ─▶ last state ─▶ linear ─▶ output

Ours: beta, one layer, and widths 64 and 400, which make 1,224,727 parameters at inputs 300/74/35 (1.20M published). The
steps "during" a word are its equal share (`hctdmg.baselines.alignment`): one step a word where data are word-aligned.
A sample without words has none to shift, and its answer says nothing of its voice and face: that is the structure.

Shape suffixes: B samples, T words, D width of a word, H states.
"""

import torch
from torch import Tensor, nn

from hctdmg.baselines.alignment import align, shares
from hctdmg.baselines.peer import PeerOutput, without_extra_loss
from hctdmg.baselines.recurrent import run_packed
from hctdmg.batch import Batch
from hctdmg.config import ModalityConfig
from hctdmg.layers import last_step

SHIFT_LIMIT = 0.5
"""beta: a shift is at most half as long as its word, so that the word stays recognisable."""

LEAST_SQUARE = 1e-12
"""Added under the roots: the slope of a norm at zero is undefined."""


class Raven(nn.Module):
    """The model, for two or more modalities; the first holds the words."""

    def __init__(
        self,
        modalities: tuple[ModalityConfig, ...],
        num_outputs: int,
        hidden: int = 400,
        nonverbal_hidden: int = 64,
    ) -> None:
        super().__init__()
        words, *others = modalities
        if not others:
            raise ValueError(f"raven has {words.name!r} alone: it needs a second modality to shift it by")
        self.names = [modality.name for modality in modalities]
        self.lstms = nn.ModuleDict(
            {other.name: nn.LSTM(other.width, nonverbal_hidden, batch_first=True) for other in others}
        )
        self.gates = nn.ModuleDict(
            {other.name: nn.Linear(nonverbal_hidden + words.width, 1) for other in others}
        )
        self.shifts = nn.ModuleDict(
            {other.name: nn.Linear(nonverbal_hidden, words.width, bias=False) for other in others}
        )
        self.shift_bias_D = nn.Parameter(torch.zeros(words.width))
        self.lstm = nn.LSTM(words.width, hidden, batch_first=True)
        self.head = nn.Linear(hidden, num_outputs)

    def forward(self, batch: Batch) -> PeerOutput:
        """Run the model."""
        aligned, mask_BT = align(batch, self.names)
        words_BTD = aligned[self.names[0]]
        shift_BTD = self.shift_bias_D.expand_as(words_BTD)
        for name in self.lstms:
            spoken_BTH = self._read(name, batch, mask_BT)
            gate_BT1 = torch.sigmoid(self.gates[name](torch.cat([spoken_BTH, words_BTD], dim=2)))
            shift_BTD = shift_BTD + gate_BT1 * self.shifts[name](spoken_BTH)
        scale_BT1 = (SHIFT_LIMIT * _norm(words_BTD) / _norm(shift_BTD)).clamp(max=1)
        states_BTH = run_packed(self.lstm, words_BTD + scale_BT1 * shift_BTD, mask_BT)
        return without_extra_loss(self.head(last_step(states_BTH, mask_BT)))

    def _read(self, name: str, batch: Batch, mask_BT: Tensor) -> Tensor:
        """(B, T, H): what one modality did during each word; zero where it is absent."""
        lstm = self.lstms[name]
        assert isinstance(lstm, nn.LSTM)
        x_BTCD, mask_BTC = shares(batch.features[name], batch.masks[name], mask_BT)
        rows_NCD, mask_NC = x_BTCD.flatten(0, 1), mask_BTC.flatten(0, 1)
        last_NH = last_step(run_packed(lstm, rows_NCD, mask_NC), mask_NC)
        return last_NH.view(*mask_BT.shape, -1)


def _norm(x_BTD: Tensor) -> Tensor:
    norm_BT1: Tensor = (x_BTD.square().sum(dim=2, keepdim=True) + LEAST_SQUARE).sqrt()
    return norm_BT1
