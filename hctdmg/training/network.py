"""What training needs of a network, whatever it is: an answer to a batch, and standardised inputs.

A network is an `nn.Module` whose `forward(batch)` gives HCT-DMG's `Output` or a peer's `PeerOutput`. HCT-DMG
standardises its inputs itself; a peer does in `Standardised`. Knows networks and splits. Does not know how one learns.

Shape suffixes: B samples of a batch, N samples of a split (or modalities), T steps, D features, K outputs.
"""

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn

from hctdmg.baselines.peer import PeerOutput
from hctdmg.batch import Batch
from hctdmg.data.dataset import Split
from hctdmg.model import HctDmg, Output

LEAST_SCALE = 1e-6
"""A feature that varies less is constant: it is only centred, for dividing by its spread would magnify rounding."""
PLAIN = (bool, int, float, str, tuple, list, dict)
"""What settings of a module are made of."""


@dataclass(frozen=True)
class Answer:
    """What any network says of a batch.

    Attributes:
        prediction_BK: Of the fused head.
        extra_loss: Scalar that the network wants added to its loss, weighted already.
        unimodal: (B, K) of each modality on its own; empty where the network has no such heads.
        weights_N: Of the gate, in the order of the modalities; None where the network has none.
    """

    prediction_BK: Tensor
    extra_loss: Tensor
    unimodal: Mapping[str, Tensor]
    weights_N: Tensor | None


def ask(network: nn.Module, batch: Batch) -> Answer:
    """Run a network.

    Raises:
        TypeError: It answers with something else than the two known outputs.
    """
    output = network(batch)
    if isinstance(output, Output):
        nothing = output.prediction_BK.new_zeros(())
        return Answer(output.prediction_BK, nothing, output.unimodal, output.weights_N)
    if isinstance(output, PeerOutput):
        return Answer(output.prediction_BK, output.extra_loss, {}, None)
    raise TypeError(f"{type(network).__name__} gives {type(output).__name__}, Output or PeerOutput is needed")


class Standardised(nn.Module):
    """A peer behind the same standardisation that HCT-DMG has inside."""

    def __init__(self, peer: nn.Module, widths: Mapping[str, int]) -> None:
        super().__init__()
        self.peer = peer
        self.widths = dict(widths)
        for name, width in self.widths.items():
            self.register_buffer(f"input_mean_{name}", torch.zeros(width))
            self.register_buffer(f"input_scale_{name}", torch.ones(width))

    @torch.no_grad()
    def set_input_statistics(self, statistics: Mapping[str, tuple[Tensor, Tensor]]) -> None:
        """Set each modality's mean (D,) and scale (D,)."""
        for name, (mean_D, scale_D) in statistics.items():
            self.get_buffer(f"input_mean_{name}").copy_(mean_D)
            self.get_buffer(f"input_scale_{name}").copy_(scale_D)

    def standardised(self, batch: Batch) -> Batch:
        """What the peer is given; padding stays zero."""
        features = {}
        for name in self.widths:
            mean_D, scale_D = self.get_buffer(f"input_mean_{name}"), self.get_buffer(f"input_scale_{name}")
            features[name] = (batch.features[name] - mean_D) / scale_D * batch.masks[name][..., None]
        return Batch(features, batch.masks)

    def forward(self, batch: Batch) -> PeerOutput:
        """Run the peer on the standardised batch."""
        output = self.peer(self.standardised(batch))
        if not isinstance(output, PeerOutput):
            raise TypeError(f"{type(self.peer).__name__} gives {type(output).__name__}, PeerOutput is needed")
        return output


def input_statistics(split: Split) -> dict[str, tuple[Tensor, Tensor]]:
    """Mean (D,) and spread (D,) of each modality's real steps; 0 and 1 where it never occurs."""
    statistics = {}
    for name, x_NTD in split.features.items():
        rows = x_NTD[split.masks[name]].astype(np.float64)
        mean_D = rows.mean(axis=0) if len(rows) else np.zeros(x_NTD.shape[2])
        spread_D = rows.std(axis=0) if len(rows) else np.ones(x_NTD.shape[2])
        scale_D = np.where(spread_D < LEAST_SCALE, 1.0, spread_D)
        statistics[name] = (torch.from_numpy(mean_D).float(), torch.from_numpy(scale_D).float())
    return statistics


def standardise(network: nn.Module, split: Split) -> None:
    """Give a network the statistics of a split, if it takes them; any other sees the features as they are."""
    if isinstance(network, HctDmg | Standardised):
        network.set_input_statistics(input_statistics(split))


def describe(network: nn.Module) -> str:
    """Its modules and what they were told, those settings included that no weight's shape shows, as a dropout's.

    The same text for the same settings, whatever the weights.
    """
    lines = []
    for path, module in network.named_modules():
        told = {
            name: value
            for name, value in vars(module).items()
            if not name.startswith("_") and name != "training" and _is_plain(value)
        }
        lines.append(f"{path} {type(module).__qualname__} {sorted(told.items())}")
    return "\n".join(lines)


def _is_plain(value: object) -> bool:
    return value is None or isinstance(value, PLAIN) or dataclasses.is_dataclass(value)


def device_of(network: nn.Module) -> torch.device:
    """Where its weights are."""
    return next(network.parameters()).device


def usable_rows(split: Split) -> npt.NDArray[np.int64]:
    """Samples that have a modality at all: the others have nothing to be read."""
    return np.flatnonzero(split.present_NM.any(axis=1))


def labelled_rows(split: Split) -> npt.NDArray[np.int64]:
    """Of these, the samples whose label is known."""
    rows_N = usable_rows(split)
    return rows_N[~np.isnan(split.labels_NK[rows_N]).any(axis=1)]


@dataclass(frozen=True)
class Heads:
    """Raw outputs of a split's samples; NaN where a sample has nothing that the head could read.

    Attributes:
        fused_NK: Regression: location first; classes and yes-or-no: logits.
        unimodal: (N, K) of each modality's own head; empty where the network has none.
    """

    fused_NK: npt.NDArray[np.float32]
    unimodal: Mapping[str, npt.NDArray[np.float32]]


def read_heads(network: nn.Module, split: Split, batch_size: int = 64) -> Heads:
    """Run a network over a split in evaluation mode; its mode is as before afterwards.

    Raises:
        ValueError: No sample has any modality.
    """
    was_training, device = network.training, device_of(network)
    network.eval()
    rows_N = usable_rows(split)
    if not len(rows_N):
        raise ValueError(f"none of {split.num_samples} samples has any modality: nothing to predict")
    heads: dict[str, list[Tensor]] = {}
    with torch.inference_mode():
        for begin in range(0, len(rows_N), batch_size):
            batch = split.batch(rows_N[begin : begin + batch_size].tolist())
            answer = ask(network, batch.to(device))
            heads.setdefault("", []).append(answer.prediction_BK.float().cpu())
            for name, raw_BK in answer.unimodal.items():
                is_absent_B1 = ~batch.masks[name].any(dim=1, keepdim=True)
                heads.setdefault(name, []).append(raw_BK.float().cpu().masked_fill(is_absent_B1, torch.nan))
    network.train(was_training)
    found = {name: _spread(torch.cat(parts).numpy(), rows_N, split) for name, parts in heads.items()}
    return Heads(found.pop(""), found)


def predict_split(network: nn.Module, split: Split, batch_size: int = 64) -> npt.NDArray[np.float32]:
    """(N, K) raw outputs of the fused head: `read_heads(...).fused_NK`."""
    return read_heads(network, split, batch_size).fused_NK


def _spread(
    said_RK: npt.NDArray[np.float32], rows_R: npt.NDArray[np.int64], split: Split
) -> npt.NDArray[np.float32]:
    """The rows that were asked among all rows of the split, the others NaN."""
    raw_NK = np.full((split.num_samples, said_RK.shape[1]), np.nan, np.float32)
    raw_NK[rows_R] = said_RK
    return raw_NK
