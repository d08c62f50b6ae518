"""MARN (Zadeh et al. 2018, arXiv 1802.00923): hybrid memories that several attentions tell of each other at each step.

    h_m(t), c_m(t) = hybrid memory of m, which also reads z(t-1)              `hctdmg.baselines.cells`
    a_k(t)  = softmax(A_k(h)),  h = [h_m(t) of all m],  k = 1 ... K             several attentions
    z(t)    = G([C_m(a_1 h_m, ..., a_K h_m) of all m])                          the cross-view code
    [h_m(T) of all m, z(T)] ─▶ two layers ─▶ output

Ours: A and C_m one layer, C_m with ReLU, G two layers; K = 4, all memories of width 80, C_m of 64, z of 128, no
dropout, which make 689,409 parameters at inputs 300/74/35 (none published); `hctdmg.baselines.alignment` where lengths
differ.

Shape suffixes: M modalities, B samples, T steps, H width, K attentions, Z width of the code.
"""

import torch
from torch import Tensor, nn

from hctdmg.baselines.alignment import align
from hctdmg.baselines.cells import Cells, side_by_side
from hctdmg.baselines.feed_forward import two_layers
from hctdmg.baselines.peer import PeerOutput, without_extra_loss
from hctdmg.batch import Batch
from hctdmg.config import ModalityConfig


class Marn(nn.Module):
    """The model, for any number of modalities."""

    def __init__(
        self,
        modalities: tuple[ModalityConfig, ...],
        num_outputs: int,
        hidden: int = 80,
        reduced: int = 64,
        code_width: int = 128,
        num_attentions: int = 4,
    ) -> None:
        super().__init__()
        self.names = [modality.name for modality in modalities]
        self.num_attentions, self.code_width = num_attentions, code_width
        self.cells = Cells({modality.name: modality.width for modality in modalities}, hidden, code_width)
        num_states = len(modalities) * hidden
        self.attentions = nn.Linear(num_states, num_attentions * num_states)
        self.reductions = nn.ModuleList(nn.Linear(num_attentions * hidden, reduced) for _ in modalities)
        self.code = two_layers(len(modalities) * reduced, code_width, code_width)
        self.head = two_layers(num_states + code_width, reduced, num_outputs)

    def forward(self, batch: Batch) -> PeerOutput:
        """Run the model."""
        aligned, mask_BT = align(batch, self.names)
        memory = self.cells.start(batch.num_samples)
        code_BZ = mask_BT.new_zeros((batch.num_samples, self.code_width), dtype=memory.output_MBH.dtype)
        for gates_MBG, is_real_B in zip(self.cells.read(aligned), mask_BT.t(), strict=True):
            memory = self.cells.step(gates_MBG, memory, is_real_B, code_BZ)
            code_BZ = self._attend(memory.output_MBH)
        return without_extra_loss(self.head(torch.cat([side_by_side(memory.output_MBH), code_BZ], dim=1)))

    def _attend(self, output_MBH: Tensor) -> Tensor:
        """(B, Z): z."""
        states_BS = side_by_side(output_MBH)
        weights_BKS = self.attentions(states_BS).unflatten(1, (self.num_attentions, -1)).softmax(dim=2)
        attended = (weights_BKS * states_BS[:, None]).chunk(len(self.reductions), dim=2)
        reduced = [
            reduction(part_BKH.flatten(1)).relu()
            for reduction, part_BKH in zip(self.reductions, attended, strict=True)
        ]
        code_BZ: Tensor = self.code(torch.cat(reduced, dim=1))
        return code_BZ
