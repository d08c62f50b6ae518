"""How to train, whatever is trained. Knows limits. Does not know how it is done."""

from dataclasses import dataclass
from typing import Literal

Weighting = Literal["equal", "gate"]
UnimodalTruth = Literal["modality", "sample"]


@dataclass(frozen=True)
class FitConfig:
    """How to train.

    Attributes:
        num_epochs: At most, at least 1.
        batch_size: Samples of a step.
        learning_rate: Adam's, at the beginning.
        max_gradient_norm: Larger gradients are scaled down to it.
        patience: Stop after so many epochs without a better validation loss.
        plateau_patience: Lower the learning rate after so many.
        plateau_factor: What it is then multiplied by.
        modality_dropout: Chance that a training sample loses a modality that it has; one always stays.
        unimodal_weight: Of the unimodal heads' loss beside the fused one; a network without such heads has none.
        unimodal_weighting: "equal" takes the mean of the modalities' losses; "gate" weighs each by its gate weight,
            which teaches the gate too. A modality of which a batch knows no truth counts in neither.
        unimodal_truth: "modality" teaches a unimodal head what people said of its modality, where they did, and the
            sample's label otherwise; "sample" teaches the sample's label alone, which is all that a peer is told.
        gate_freeze_tolerance: Freeze the gate once converged: when over `gate_freeze_epochs` epochs no weight has
            moved by more than this. None never does.
        gate_freeze_epochs: At least 2.
        amp: Forward passes in bfloat16; needs a GPU.
        device: Of torch.
        seed: Of batches, dropout and modality dropout; the network's first weights are the caller's.
        num_threads: Of torch while it trains and, in `train_run`, calibrates; None leaves it as it is. Another number
            rounds differently.
    """

    num_epochs: int = 40
    batch_size: int = 32
    learning_rate: float = 1e-3
    max_gradient_norm: float = 1.0
    patience: int = 30
    plateau_patience: int = 20
    plateau_factor: float = 0.1
    modality_dropout: float = 0.0
    unimodal_weight: float = 1.0
    unimodal_weighting: Weighting = "equal"
    unimodal_truth: UnimodalTruth = "modality"
    gate_freeze_tolerance: float | None = None
    gate_freeze_epochs: int = 5
    amp: bool = False
    device: str = "cpu"
    seed: int = 1111
    num_threads: int | None = None

    def __post_init__(self) -> None:
        least: dict[str, float] = {
            "num_epochs": 1, "batch_size": 1, "patience": 1, "plateau_patience": 0, "unimodal_weight": 0,
            "gate_freeze_epochs": 2, "seed": 0,
        }  # fmt: skip
        for name, limit in least.items():
            if not getattr(self, name) >= limit:
                raise ValueError(f"{name} is {getattr(self, name)}, must be at least {limit:g}")
        for name in ("learning_rate", "max_gradient_norm"):
            if not getattr(self, name) > 0:
                raise ValueError(f"{name} is {getattr(self, name)}, must be more than 0")
        if not 0 <= self.modality_dropout < 1:
            raise ValueError(f"modality_dropout is {self.modality_dropout}, must be in [0, 1)")
        if not 0 < self.plateau_factor < 1:
            raise ValueError(f"plateau_factor is {self.plateau_factor}, must be between 0 and 1")
        if self.gate_freeze_tolerance is not None and not 0 < self.gate_freeze_tolerance < 1:
            raise ValueError(
                f"gate_freeze_tolerance is {self.gate_freeze_tolerance}, must be between 0 and 1"
            )
        if self.num_threads is not None and self.num_threads < 1:
            raise ValueError(f"num_threads is {self.num_threads}, must be at least 1")
        if self.amp and self.device.split(":")[0] == "cpu":
            raise ValueError("amp is for a GPU: leave it out, or set device=cuda")
