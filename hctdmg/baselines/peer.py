"""What every peer answers. Knows neither a model nor a loss."""

from dataclasses import dataclass

from torch import Tensor


@dataclass(frozen=True)
class PeerOutput:
    """A peer's answer to a batch.

    Attributes:
        prediction_BK: (B, K): K numbers or logits for each sample.
        extra_loss: A scalar that training adds to its own loss, already weighted; 0 where a model has none. It comes
            of the inputs alone, never of labels.
    """

    prediction_BK: Tensor
    extra_loss: Tensor


def without_extra_loss(prediction_BK: Tensor) -> PeerOutput:
    """The answer of a model that is trained by its labels alone."""
    return PeerOutput(prediction_BK, prediction_BK.new_zeros(()))
