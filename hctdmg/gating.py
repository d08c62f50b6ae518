"""Dynamic Modality Gating: which modality is primary, and how heavy each stream is.

Knows modalities by index. Does not know what they hold.

Shape suffixes: B samples, N modalities (or roles: 0 is the primary).
"""

import torch
from torch import Tensor, nn


class ModalityGate(nn.Module):
    """One trainable weight per modality, softmax over all; the heaviest is primary.

    The weights are parameters, so that the hierarchy follows training batch by batch and is fixed by the checkpoint at
    inference; no input can change it. The gradient reaches them because the streams are scaled by them.
    """

    def __init__(self, num_modalities: int) -> None:
        super().__init__()
        self.logits_N = nn.Parameter(torch.ones(num_modalities))

    def weights_N(self) -> Tensor:
        """(N,) weights that sum to 1."""
        return self.logits_N.softmax(dim=0)

    def order_BN(self, present_BN: Tensor) -> Tensor:
        """Modality index by role for each sample.

        Roles go by weight, heaviest first; equal weights keep the configured order. A sample whose
        primary is missing falls back to its heaviest present modality; the others keep their order.

        Args:
            present_BN: True where the sample has the modality.
        """
        heaviest_first_N = torch.argsort(self.logits_N.detach(), descending=True, stable=True)
        present_by_role_BN = present_BN[:, heaviest_first_N]
        primary_B1 = present_by_role_BN.to(torch.int8).argmax(dim=1, keepdim=True)
        role_N = torch.arange(heaviest_first_N.shape[0], device=present_BN.device)
        # The primary comes first, those heavier than it move down by one, the rest stay.
        place_BN = torch.where(
            role_N[None] == 0, primary_B1, role_N[None] - (role_N[None] <= primary_B1).long()
        )
        return heaviest_first_N[place_BN]

    def freeze(self, frozen: bool = True) -> None:
        """Stop (or resume) training the weights."""
        self.logits_N.requires_grad_(not frozen)
