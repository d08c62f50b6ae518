"""CTC in front of a model for aligned data, as in MulT's comparison (Tsai et al. 2019, arXiv 1906.00295).

    x_m ─▶ LSTM ─▶ linear ─▶ softmax over "blank" and the positions 1 ... P of the words: p_m(s, j)
    aligned:   x'_m(j) = sum over s of p_m(s, j) x_m(s)      ─▶ the model behind it
    learned:   by that model's loss and by the CTC loss (Graves et al. 2006) of the positions 1, 2, ... n in order

P is the most steps that the words have in any batch, n those of the sample. MulT's: that features are moved to
positions by what CTC says of them, and that the losses are added as they are. Its repository's aligner is an LSTM of
two layers whose state, P + 1 wide, is the logits. Ours: one LSTM of width 32 and a linear layer in its place, which
adds 26,022 parameters at inputs 300/74/35 and 50 words (581,523 with EF-LSTM, 1,250,749 with RAVEN, 532,064 with MCTN);
masks; and two rules. A sample without words has as many positions as its next modality has steps, at most P. A modality
with fewer steps than there are positions has no CTC loss, for no path is that long. Behind it, RAVEN's LSTMs within a
word see one step, and their recurrent weights idle; MCTN answers from the words and takes what is aligned as its
target, so there the CTC loss alone teaches alignment.

Shape suffixes: B samples, S steps of a modality, P positions, Q positions and blank, D features.
"""

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from hctdmg.baselines.alignment import clock_B
from hctdmg.baselines.peer import PeerOutput
from hctdmg.baselines.recurrent import run_packed
from hctdmg.batch import Batch
from hctdmg.config import ModalityConfig

BLANK = 0


class Ctc(nn.Module):
    """A model behind learned alignment; the first modality holds the words and stays as it is."""

    def __init__(
        self, modalities: tuple[ModalityConfig, ...], num_positions: int, model: nn.Module, hidden: int = 32
    ) -> None:
        super().__init__()
        self.names = [modality.name for modality in modalities]
        self.num_positions = num_positions
        self.model = model
        self.lstms = nn.ModuleDict(
            {one.name: nn.LSTM(one.width, hidden, batch_first=True) for one in modalities[1:]}
        )
        self.positions = nn.ModuleDict(
            {one.name: nn.Linear(hidden, num_positions + 1) for one in modalities[1:]}
        )

    def forward(self, batch: Batch) -> PeerOutput:
        """Run the model.

        Raises:
            ValueError: The words have more steps than there are positions.
        """
        words = self.names[0]
        most = int(batch.masks[words].sum(dim=1).max())
        if most > self.num_positions:
            raise ValueError(
                f"{words} has {most} steps, CTC was built for {self.num_positions}: build it with the most steps of all"
            )
        length_B = clock_B(batch, self.names).clamp(max=self.num_positions)
        num_steps = max(1, int(length_B.max()))
        clock_BT = torch.arange(num_steps, device=length_B.device) < length_B[:, None]
        features = {words: _resize(batch.features[words], num_steps)}
        masks = {words: _resize(batch.masks[words][..., None], num_steps)[..., 0]}
        losses = []
        for name in self.lstms:
            log_BSQ = self._locate(name, batch)
            losses.append(ctc_loss(log_BSQ, batch.masks[name], length_B))
            weights_BSP = log_BSQ.exp()[..., 1 : num_steps + 1] * batch.masks[name][..., None]
            masks[name] = clock_BT & batch.masks[name].any(dim=1, keepdim=True)
            features[name] = (weights_BSP.transpose(1, 2) @ batch.features[name]) * masks[name][..., None]
        output = self.model(Batch(features, masks))
        assert isinstance(output, PeerOutput)
        return PeerOutput(output.prediction_BK, output.extra_loss + torch.stack(losses).sum())

    def _locate(self, name: str, batch: Batch) -> Tensor:
        """(B, S, Q): the log-probability that a step belongs to each position."""
        lstm = self.lstms[name]
        assert isinstance(lstm, nn.LSTM)
        states_BSH = run_packed(lstm, batch.features[name], batch.masks[name])
        log_BSQ: Tensor = self.positions[name](states_BSH).log_softmax(dim=2)
        return log_BSQ


def ctc_loss(log_BSQ: Tensor, mask_BS: Tensor, length_B: Tensor) -> Tensor:
    """A scalar: mean over samples of the CTC loss for the labels 1 ... n, over n; 0 where no sample has a path.

    Args:
        log_BSQ: Log-probabilities, blank first.
        mask_BS: Real steps.
        length_B: n.
    """
    num_steps_B = mask_BS.sum(dim=1)
    rows_N = ((length_B > 0) & (num_steps_B >= length_B)).nonzero()[:, 0]
    if not len(rows_N):
        return log_BSQ.sum() * 0.0
    targets_NP = torch.arange(1, log_BSQ.shape[2], device=log_BSQ.device).expand(len(rows_N), -1)
    return F.ctc_loss(
        log_BSQ[rows_N].transpose(0, 1), targets_NP, num_steps_B[rows_N], length_B[rows_N], BLANK, "mean"
    )


def _resize(x_BTD: Tensor, num_steps: int) -> Tensor:
    """Padding added or cut away at the right."""
    return F.pad(x_BTD, (0, 0, 0, num_steps - x_BTD.shape[1]))
