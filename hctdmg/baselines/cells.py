"""LSTM cells of several modalities that step side by side, with a vector they share: what MFN, MARN and RMFN run on.

    [i, f, o, g]_m = W_m x_m(t) + U_m h_m(t-1) + V_m z(t-1) + b_m
    c_m(t) = sigmoid(f) c_m(t-1) + sigmoid(i) tanh(g),     h_m(t) = sigmoid(o) tanh(c_m(t))

With z it is the long-short term hybrid memory of MARN (Zadeh et al. 2018, arXiv 1802.00923); without, plain LSTMs. All
have the same width (ours), so that a step is one product for all modalities, and inputs are mapped before the loop.
Knows steps. Does not know what z is.

Shape suffixes: M modalities, B samples, T steps, H width, G the four gates of H, Z width of z.
"""

from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor, nn


@dataclass(frozen=True)
class Memory:
    """Where the cells stand.

    Attributes:
        output_MBH: h.
        cell_MBH: c.
    """

    output_MBH: Tensor
    cell_MBH: Tensor


class Cells(nn.Module):
    """The cells."""

    def __init__(self, widths: Mapping[str, int], hidden: int, shared_width: int = 0) -> None:
        super().__init__()
        self.hidden = hidden
        self.inputs = nn.ModuleDict({name: nn.Linear(width, 4 * hidden) for name, width in widths.items()})
        limit = hidden**-0.5  # As torch's own LSTM begins.
        self.recurrent_MHG = nn.Parameter(
            torch.empty(len(widths), hidden, 4 * hidden).uniform_(-limit, limit)
        )
        self.shared = nn.Linear(shared_width, len(widths) * 4 * hidden, bias=False) if shared_width else None

    def start(self, num_samples: int) -> Memory:
        """Zeros."""
        zero_MBH = self.recurrent_MHG.new_zeros(len(self.inputs), num_samples, self.hidden)
        return Memory(zero_MBH, zero_MBH)

    def read(self, aligned: Mapping[str, Tensor]) -> Tensor:
        """(T, M, B, G): the inputs' part of every step's gates, from (B, T, D) of each modality."""
        gates_MBTG = torch.stack([self.inputs[name](aligned[name]) for name in self.inputs])
        return gates_MBTG.permute(2, 0, 1, 3)

    def step(
        self, gates_MBG: Tensor, memory: Memory, is_real_B: Tensor, z_BZ: Tensor | None = None
    ) -> Memory:
        """One step; a sample for which it isn't real keeps its output. Its cell may run on: padding is at the end."""
        gates_MBG = torch.baddbmm(gates_MBG, memory.output_MBH, self.recurrent_MHG)
        if self.shared is not None and z_BZ is not None:
            gates_MBG = gates_MBG + self.shared(z_BZ).unflatten(1, (len(self.inputs), -1)).transpose(0, 1)
        i_MBH, f_MBH, o_MBH, g_MBH = gates_MBG.chunk(4, dim=2)
        cell_MBH = f_MBH.sigmoid() * memory.cell_MBH + i_MBH.sigmoid() * g_MBH.tanh()
        output_MBH = o_MBH.sigmoid() * cell_MBH.tanh()
        return Memory(torch.where(is_real_B[None, :, None], output_MBH, memory.output_MBH), cell_MBH)


def side_by_side(x_MBH: Tensor) -> Tensor:
    """(B, M H): all modalities of a sample in one row."""
    return x_MBH.transpose(0, 1).flatten(1)
