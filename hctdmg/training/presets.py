"""Settings by data set: how MulT's repository trains on it, and our own for what it does not know.

From MulT (Tsai et al. 2019, repository): batch, learning rate, epochs, clip, heads, kernels and dropouts of MOSI, MOSEI
and IEMOCAP; Adam, L1 or cross-entropy, plateau of 20 epochs x 0.1, seed 1111. Ours: five blocks, not its four, for five
give the 0.8M parameters that the paper of HCT-DMG states; its dropout of text embeddings goes on every modality's
features; early stop; and the presets "synthetic" and "own". Knows data sets by their looks alone.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from hctdmg.data.dataset import Dataset
from hctdmg.data.own import FORMAT
from hctdmg.training.fit_config import FitConfig

LARGE = 5_000
"""Training samples from which on a data set is taken for one like MOSEI (16,265), not like MOSI (1,284)."""


@dataclass(frozen=True)
class Preset:
    """Settings of a run.

    Attributes:
        fit: How to train.
        model: Fields of `ModelConfig`, for HCT-DMG.
        kernel_sizes: Of the modalities' convolutions; 3 where none is named.
    """

    fit: FitConfig
    model: Mapping[str, Any] = field(default_factory=dict)
    kernel_sizes: Mapping[str, int] = field(default_factory=dict)


PRESETS: dict[str, Preset] = {
    "mosi": Preset(
        FitConfig(num_epochs=100, batch_size=128, learning_rate=1e-3, max_gradient_norm=0.8),
        {"num_heads": 10, "input_dropout": 0.2, "attention_dropout": 0.2, "output_dropout": 0.1},
        {"text": 1},
    ),
    "mosei": Preset(
        FitConfig(num_epochs=20, batch_size=16, learning_rate=1e-3, max_gradient_norm=1.0),
        {"num_heads": 8, "input_dropout": 0.3, "attention_dropout": 0.1, "output_dropout": 0.1},
        {"text": 1},
    ),
    "iemocap": Preset(
        FitConfig(num_epochs=30, batch_size=32, learning_rate=2e-3, max_gradient_norm=0.8),
        {"num_heads": 10, "input_dropout": 0.3, "attention_dropout": 0.25, "output_dropout": 0.1},
        {"audio": 5},
    ),
    "synthetic": Preset(FitConfig(num_epochs=40, batch_size=32, patience=10, plateau_patience=5)),
    "own": Preset(
        FitConfig(num_epochs=100, batch_size=32, patience=20, plateau_patience=8, modality_dropout=0.1),
        {"input_dropout": 0.2},
    ),
}


def preset_for(data: Dataset) -> str:
    """The preset that fits a data set, by its format, its labels and its size."""
    if data.name in ("synthetic", FORMAT):
        return "synthetic" if data.name == "synthetic" else "own"
    if data.task == "binary":
        return "iemocap"
    return "mosei" if data.splits["train"].num_samples > LARGE else "mosi"
