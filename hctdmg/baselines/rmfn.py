"""RMFN (Liang et al. 2018, arXiv 1808.03920): at each step the modalities are fused in several stages.

    h_m(t), c_m(t) = hybrid memory of m, which also reads z(t-1)              `hctdmg.baselines.cells`
    for stage k = 1 ... K, with h = [h_m(t) of all m]:
        a_k = softmax(HIGHLIGHT(h, a_1 ... a_{k-1}))                            an LSTM over the stages
        s_k = FUSE(a_k h, s_1 ... s_{k-1})                                      another
    z(t) = SUMMARIZE(s_K)                                                       one layer with tanh
    [h_m(T) of all m, z(T)] ─▶ two layers ─▶ output

The paper's: what each stage does, in several stages. Ours: three of them; both LSTMs begin anew at each step (z carries
the past), HIGHLIGHT knows the last stages' attention by its state; all memories of width 80, both LSTMs of 80, z of
128, no dropout, which make 597,009 parameters at inputs 300/74/35 (none published); `hctdmg.baselines.alignment` where
lengths differ.

Shape suffixes: M modalities, B samples, T steps, H width, S states of all modalities, Z width of z.
"""

import torch
from torch import Tensor, nn

from hctdmg.baselines.alignment import align
from hctdmg.baselines.cells import Cells, side_by_side
from hctdmg.baselines.feed_forward import two_layers
from hctdmg.baselines.peer import PeerOutput, without_extra_loss
from hctdmg.batch import Batch
from hctdmg.config import ModalityConfig


class Rmfn(nn.Module):
    """The model, for any number of modalities."""

    def __init__(
        self,
        modalities: tuple[ModalityConfig, ...],
        num_outputs: int,
        hidden: int = 80,
        code_width: int = 128,
        num_stages: int = 3,
    ) -> None:
        super().__init__()
        self.names = [modality.name for modality in modalities]
        self.num_stages, self.code_width = num_stages, code_width
        self.cells = Cells({modality.name: modality.width for modality in modalities}, hidden, code_width)
        num_states = len(modalities) * hidden
        self.highlight = nn.LSTMCell(num_states, hidden)
        self.attention = nn.Linear(hidden, num_states)
        self.fuse = nn.LSTMCell(num_states, hidden)
        self.summarize = nn.Linear(hidden, code_width)
        self.head = two_layers(num_states + code_width, hidden, num_outputs)

    def forward(self, batch: Batch) -> PeerOutput:
        """Run the model."""
        aligned, mask_BT = align(batch, self.names)
        memory = self.cells.start(batch.num_samples)
        code_BZ = mask_BT.new_zeros((batch.num_samples, self.code_width), dtype=memory.output_MBH.dtype)
        for gates_MBG, is_real_B in zip(self.cells.read(aligned), mask_BT.t(), strict=True):
            memory = self.cells.step(gates_MBG, memory, is_real_B, code_BZ)
            code_BZ = self._fuse(side_by_side(memory.output_MBH))
        return without_extra_loss(self.head(torch.cat([side_by_side(memory.output_MBH), code_BZ], dim=1)))

    def _fuse(self, states_BS: Tensor) -> Tensor:
        """(B, Z): z, after all stages."""
        highlighted: tuple[Tensor, Tensor] | None = None
        fused: tuple[Tensor, Tensor] | None = None
        for _ in range(self.num_stages):
            highlighted = self.highlight(states_BS, highlighted)
            weights_BS = self.attention(highlighted[0]).softmax(dim=1)
            fused = self.fuse(weights_BS * states_BS, fused)
        assert fused is not None
        code_BZ: Tensor = self.summarize(fused[0]).tanh()
        return code_BZ
