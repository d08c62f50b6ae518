"""Recurrent networks over padded batches: no real step sees padding, whichever way the network runs.

Shape suffixes: B samples, T steps, D features, H states.
"""

from torch import Tensor, nn
from torch.nn.utils.rnn import pack_padded_sequence, pad_packed_sequence


def run_packed(network: nn.LSTM | nn.GRU, x_BTD: Tensor, mask_BT: Tensor) -> Tensor:
    """(B, T, H): the states of every step, zero at padding; a sample without any step has zeros only.

    Args:
        network: With `batch_first`.
        x_BTD: Padded on the right.
        mask_BT: True where a step is real.
    """
    # An empty sequence can't be packed: it runs over one step of padding, and is zeroed after.
    lengths_B = mask_BT.sum(dim=1).clamp(min=1).cpu()
    packed = pack_padded_sequence(x_BTD, lengths_B, batch_first=True, enforce_sorted=False)
    states_BTH, _ = pad_packed_sequence(network(packed)[0], batch_first=True, total_length=x_BTD.shape[1])
    return states_BTH * mask_BT[..., None]
