"""The two layers that the peers' papers put wherever a small network is wanted."""

from torch import nn


def two_layers(width: int, inner: int, num_outputs: int) -> nn.Sequential:
    """Linear, ReLU, linear."""
    return nn.Sequential(nn.Linear(width, inner), nn.ReLU(), nn.Linear(inner, num_outputs))
