"""MFN (Zadeh et al. 2018, arXiv 1802.00927): an LSTM for each modality, and a memory of what changed in them together.

    c_m(t)  = cell of LSTM_m;   c = [c_m(t-1), c_m(t) of all m]
    c^      = softmax(D_a(c)) * c                                       which changes matter
    u(t)    = sigmoid(D_1(c^)) u(t-1) + sigmoid(D_2(c^)) tanh(D_u(c^))    the memory
    [h_m(T) of all m, u(T)] ─▶ two layers ─▶ output;   each D is two layers with ReLU

Ours: all LSTMs of width 128, memory 128, the D's inner layers 64, no dropout, which make 712,193 parameters at inputs
300/74/35 (none published); `hctdmg.baselines.alignment` where lengths differ. Only the cells and u need a loop: all
attention is done at once.

Shape suffixes: M modalities, B samples, T steps, H width, C two cells of all modalities, U width of the memory.
"""

import torch
from torch import Tensor, nn

from hctdmg.baselines.alignment import align
from hctdmg.baselines.cells import Cells, side_by_side
from hctdmg.baselines.feed_forward import two_layers
from hctdmg.baselines.peer import PeerOutput, without_extra_loss
from hctdmg.batch import Batch
from hctdmg.config import ModalityConfig


class Mfn(nn.Module):
    """The model, for any number of modalities."""

    def __init__(
        self,
        modalities: tuple[ModalityConfig, ...],
        num_outputs: int,
        hidden: int = 128,
        memory_width: int = 128,
        inner: int = 64,
    ) -> None:
        super().__init__()
        self.names = [modality.name for modality in modalities]
        self.memory_width = memory_width
        self.cells = Cells({modality.name: modality.width for modality in modalities}, hidden)
        num_states = len(modalities) * hidden
        self.attention = two_layers(2 * num_states, inner, 2 * num_states)
        self.candidate, self.keep, self.write = (
            two_layers(2 * num_states, inner, memory_width) for _ in range(3)
        )
        self.head = two_layers(num_states + memory_width, inner, num_outputs)

    def forward(self, batch: Batch) -> PeerOutput:
        """Run the model."""
        aligned, mask_BT = align(batch, self.names)
        gates_TMBG, mask_TB = self.cells.read(aligned), mask_BT.t()
        memory = self.cells.start(batch.num_samples)
        cells = [side_by_side(memory.cell_MBH)]
        for gates_MBG, is_real_B in zip(gates_TMBG, mask_TB, strict=True):
            memory = self.cells.step(gates_MBG, memory, is_real_B)
            cells.append(side_by_side(memory.cell_MBH))
        u_BU = self._remember(torch.stack(cells), mask_TB)
        return without_extra_loss(self.head(torch.cat([side_by_side(memory.output_MBH), u_BU], dim=1)))

    def _remember(self, cells_TBC: Tensor, mask_TB: Tensor) -> Tensor:
        """(B, U) from the cells before the first step and after each."""
        both_TBC = torch.cat([cells_TBC[:-1], cells_TBC[1:]], dim=2)
        attended_TBC = self.attention(both_TBC).softmax(dim=2) * both_TBC
        keep_TBU, write_TBU = self.keep(attended_TBC).sigmoid(), self.write(attended_TBC).sigmoid()
        written_TBU = write_TBU * self.candidate(attended_TBC).tanh()
        u_BU: Tensor = written_TBU.new_zeros(written_TBU.shape[1:])
        for keep_BU, written_BU, is_real_B in zip(keep_TBU, written_TBU, mask_TB, strict=True):
            u_BU = torch.where(is_real_B[:, None], keep_BU * u_BU + written_BU, u_BU)
        return u_BU
