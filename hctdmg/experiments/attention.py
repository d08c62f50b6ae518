"""Attention of either model by modality pairs, and how far two attentions are apart. Does not know what is asked.

Shape suffixes: L layers, B samples, H heads, T target steps, S source steps.
"""

import torch
from torch import Tensor, nn

from hctdmg.baselines.mult import MulT
from hctdmg.batch import Batch
from hctdmg.model import HctDmg
from hctdmg.training.network import Standardised

Pair = tuple[str, str]
"""Target and source."""


def attention_of(network: nn.Module, batch: Batch) -> dict[Pair, Tensor]:
    """Crossmodal weights (L, B, H, T, S) by pair; of HCT-DMG the four of its hierarchy, of MulT all six.

    A source of HCT-DMG's second stage is the auxiliary as the first stage has enhanced it.

    Args:
        network: In evaluation mode.
        batch: Every sample has every modality, so that all have one order.

    Raises:
        TypeError: It is another model.
    """
    with torch.inference_mode():
        if isinstance(network, HctDmg):
            return _of_hct_dmg(network, batch)
        if isinstance(network, Standardised) and isinstance(network.peer, MulT):
            found = network.peer.attention(network.standardised(batch))
            return {_pair(key): weights for key, weights in found.items()}
    raise TypeError(f"{type(network).__name__}: attention by pairs is known of HCT-DMG and MulT alone")


def _of_hct_dmg(network: HctDmg, batch: Batch) -> dict[Pair, Tensor]:
    output = network(batch, want_attention=True)
    names = [network.config.names[index] for index in output.order_BN[0].tolist()]
    pairs: dict[Pair, Tensor] = {}
    for key, weights_LBHTS in output.attention.items():
        stage, *roles = key.split(".")
        if stage == "stage1":
            pairs[names[int(roles[0])], names[int(roles[1])]] = weights_LBHTS
        elif stage == "stage2":
            pairs[names[0], names[int(roles[0])]] = weights_LBHTS
    return pairs


def _pair(key: str) -> Pair:
    target, source = key.split("_")
    return target, source


def divergence_LH(p_LBHTS: Tensor, q_LBHTS: Tensor, mask_BT: Tensor) -> Tensor:
    """(L, H): Kullback-Leibler divergence of q from p in nats, over sources, mean over real target steps."""
    floor = torch.finfo(q_LBHTS.dtype).tiny
    log_ratio = p_LBHTS.clamp(min=floor).log() - q_LBHTS.clamp(min=floor).log()
    divergence_LBHT = (p_LBHTS * log_ratio).sum(dim=-1)
    mask_1B1T = mask_BT[None, :, None]
    return (divergence_LBHT * mask_1B1T).sum(dim=(1, 3)) / mask_BT.sum()
