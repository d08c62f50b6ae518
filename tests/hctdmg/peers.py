"""Every model of the registry, small: the whole structure, quick to run."""

from collections.abc import Callable

import torch
from torch import nn

from hctdmg.baselines.cia import Cia
from hctdmg.baselines.ctc import Ctc
from hctdmg.baselines.ef_lstm import EfLstm
from hctdmg.baselines.lf_lstm import LfLstm
from hctdmg.baselines.lmf import Lmf
from hctdmg.baselines.lmf_mult import LmfMulT
from hctdmg.baselines.marn import Marn
from hctdmg.baselines.mctn import Mctn
from hctdmg.baselines.mfn import Mfn
from hctdmg.baselines.mult import MulT, MulTConfig
from hctdmg.baselines.raven import Raven
from hctdmg.baselines.rmfn import Rmfn
from hctdmg.config import ModalityConfig, ModelConfig
from hctdmg.model import HctDmg

Modalities = tuple[ModalityConfig, ...]
NUM_POSITIONS = 24

SMALL: dict[str, Callable[[Modalities], nn.Module]] = {
    "hct-dmg": lambda m: HctDmg(
        ModelConfig(m, dim=12, num_heads=3, num_layers_stage1=1, num_layers_stage2=1, num_layers_self=1)
    ),
    "ef-lstm": lambda m: EfLstm(m, 1, hidden=16),
    "lf-lstm": lambda m: LfLstm(m, 1, hidden=16),
    "raven": lambda m: Raven(m, 1, hidden=16, nonverbal_hidden=8),
    "mctn": lambda m: Mctn(m, 1, hidden=16),
    "ctc+ef-lstm": lambda m: Ctc(m, NUM_POSITIONS, EfLstm(m, 1, hidden=16), hidden=8),
    "ctc+raven": lambda m: Ctc(m, NUM_POSITIONS, Raven(m, 1, hidden=16, nonverbal_hidden=8), hidden=8),
    "ctc+mctn": lambda m: Ctc(m, NUM_POSITIONS, Mctn(m, 1, hidden=16), hidden=8),
    "marn": lambda m: Marn(m, 1, hidden=12, reduced=8, code_width=8, num_attentions=2),
    "mfn": lambda m: Mfn(m, 1, hidden=12, memory_width=8, inner=16),
    "rmfn": lambda m: Rmfn(m, 1, hidden=12, code_width=8, num_stages=2),
    "lmf": lambda m: Lmf(m, 1, hidden=16, other_hidden=8, rank=2),
    "cia": lambda m: Cia(m, 1, hidden=8, code_width=8),
    "mult": lambda m: MulT(MulTConfig(m, dim=12, num_heads=3, num_layers=1)),
    "lmf-mult": lambda m: LmfMulT(m, 1, dim=12, num_heads=3, num_layers=1, rank=2),
}


def make_small(name: str, modalities: Modalities, seed: int = 0) -> nn.Module:
    """A model with random weights, in evaluation mode."""
    torch.manual_seed(seed)
    return SMALL[name](modalities).eval()
