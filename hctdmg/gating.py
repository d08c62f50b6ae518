"""Dynamic Modality Gating: which modality is primary, and how heavy each stream is.

Knows modalities by index. Does not know what they hold.

Shape suffixes: B samples, D width, N modalities (or roles: 0 is the primary).
"""

from collections.abc import Sequence

import torch
from torch import Tensor, nn

SCORE_WIDTH = 256
"""Of the network that scores samples, in the authors' prototype."""
MOMENTUM = 0.1
"""Of the running mean of samples' scores, as batch normalisation's."""


class ModalityGate(nn.Module):
    """One weight per modality, softmax over all; the heaviest is primary.

    The weights follow training batch by batch and are fixed by the checkpoint at inference; no input can change them.
    The gradient reaches them because the streams are scaled by them. Without `dim` they are parameters. With it they
    are the mean, over the batch's samples that have the modality, of a small network's scores of the streams; at
    inference, and once frozen, they are that mean as it ran along in training.
    """

    def __init__(self, num_modalities: int, dim: int | None = None) -> None:
        super().__init__()
        self.score: nn.Module | None = None
        if dim is None:
            self.logits_N = nn.Parameter(torch.ones(num_modalities))
        else:
            self.register_buffer("logits_N", torch.ones(num_modalities))
            self.score = nn.Sequential(nn.Linear(dim, SCORE_WIDTH), nn.ReLU(), nn.Linear(SCORE_WIDTH, 1))
        self._is_frozen = False

    def forward(self, summaries: Sequence[Tensor], present_BN: Tensor) -> tuple[Tensor, Tensor]:
        """The weights of this pass, and each sample's order by them.

        Args:
            summaries: (B, D) of each modality's stream; only samples' scores look at them.
            present_BN: True where the sample has the modality.

        Returns:
            (N,) weights that sum to 1, and (B, N) as `order_BN` gives it.
        """
        if self.score is None or not self.training or self._is_frozen:
            return self.weights_N(), self.order_BN(present_BN)
        score_BN = torch.cat([self.score(summary_BD) for summary_BD in summaries], dim=1)
        num_N = present_BN.sum(dim=0)
        mean_N = (score_BN * present_BN).sum(dim=0) / num_N.clamp(min=1)
        logits_N = torch.where(num_N > 0, mean_N, self.logits_N)
        with torch.no_grad():
            self.logits_N.lerp_(logits_N, MOMENTUM)
        return logits_N.softmax(dim=0), _order_BN(logits_N.detach(), present_BN)

    def weights_N(self) -> Tensor:
        """(N,) weights that sum to 1, as inference has them."""
        return self.logits_N.softmax(dim=0)

    def order_BN(self, present_BN: Tensor) -> Tensor:
        """Modality index by role for each sample.

        Roles go by weight, heaviest first; equal weights keep the configured order. A sample whose
        primary is missing falls back to its heaviest present modality; the others keep their order.

        Args:
            present_BN: True where the sample has the modality.
        """
        return _order_BN(self.logits_N.detach(), present_BN)

    def freeze(self, frozen: bool = True) -> None:
        """Stop (or resume) training the weights."""
        self._is_frozen = frozen
        for parameter in self.parameters():
            parameter.requires_grad_(not frozen)


def _order_BN(logits_N: Tensor, present_BN: Tensor) -> Tensor:
    heaviest_first_N = torch.argsort(logits_N, descending=True, stable=True)
    present_by_role_BN = present_BN[:, heaviest_first_N]
    primary_B1 = present_by_role_BN.to(torch.int8).argmax(dim=1, keepdim=True)
    role_N = torch.arange(heaviest_first_N.shape[0], device=present_BN.device)
    # The primary comes first, those heavier than it move down by one, the rest stay.
    place_BN = torch.where(role_N[None] == 0, primary_B1, role_N[None] - (role_N[None] <= primary_B1).long())
    return heaviest_first_N[place_BN]
