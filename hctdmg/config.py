"""The model's shape, as a checkpoint's manifest records it. Does not know how to build it."""

from dataclasses import dataclass
from typing import Literal

GateKind = Literal["modality", "sample"]
"""Where the gate's weights come from: a parameter of each modality, or the mean of its samples' scores."""

COUNTS = ("dim", "num_heads", "num_layers_stage1", "num_layers_stage2", "num_layers_self")
DROPOUTS = ("input_dropout", "attention_dropout", "residual_dropout", "output_dropout")


@dataclass(frozen=True)
class ModalityConfig:
    """One input stream.

    Attributes:
        name: "text", "audio", "vision", or any other.
        width: Features per step.
        kernel_size: Steps that the convolution sees; odd, so that a step stays where it is.
    """

    name: str
    width: int
    kernel_size: int = 3

    def __post_init__(self) -> None:
        if self.width < 1:
            raise ValueError(f"modality {self.name!r}: width is {self.width}, must be at least 1")
        if self.kernel_size < 1 or self.kernel_size % 2 == 0:
            raise ValueError(
                f"modality {self.name!r}: kernel_size is {self.kernel_size}, must be odd and positive"
            )


@dataclass(frozen=True)
class ModelConfig:
    """Everything that decides the model's parameters, and its dropout.

    Attributes:
        modalities: At least two, in the order in which ties of the gate are broken.
        labels: Names of the classes; empty for regression of sentiment.
        dim: Width d of every stream. 40, as MulT's.
        num_heads: Attention heads; divides dim.
        num_layers_stage1: Blocks of each crossmodal transformer between auxiliaries.
        num_layers_stage2: Blocks of each crossmodal transformer from an auxiliary to the primary.
        num_layers_self: Blocks of the self-attention over the concatenation. With 5 in each place the model has
            the "about 0.8M" parameters that the paper states.
        input_dropout: On the features, element-wise.
        attention_dropout: On attention weights.
        residual_dropout: Inside the blocks.
        output_dropout: In the output head.
        gate: "modality" is the paper's; "sample" a variant in its authors' prototype.
    """

    modalities: tuple[ModalityConfig, ...]
    labels: tuple[str, ...] = ()
    dim: int = 40
    num_heads: int = 8
    num_layers_stage1: int = 5
    num_layers_stage2: int = 5
    num_layers_self: int = 5
    input_dropout: float = 0.0
    attention_dropout: float = 0.1
    residual_dropout: float = 0.1
    output_dropout: float = 0.1
    gate: GateKind = "modality"

    def __post_init__(self) -> None:
        if self.gate not in ("modality", "sample"):
            raise ValueError(f"gate is {self.gate!r}: it must be 'modality' or 'sample'")
        names = [modality.name for modality in self.modalities]
        if len(names) < 2 or len(set(names)) != len(names):
            raise ValueError(f"modalities are {names}: at least two with different names are needed")
        for name in COUNTS:
            if getattr(self, name) < 1:
                raise ValueError(f"{name} is {getattr(self, name)}: it must be at least 1")
        for name in DROPOUTS:
            if not 0 <= getattr(self, name) < 1:
                raise ValueError(f"{name} is {getattr(self, name)}: it must be from 0 to below 1")
        if self.dim % self.num_heads or self.dim % 2:
            raise ValueError(
                f"dim is {self.dim}: it must be even and divisible by num_heads = {self.num_heads}"
            )
        if len(self.labels) == 1:
            raise ValueError(f"labels are {self.labels}: give at least two, or none for regression")

    @property
    def names(self) -> tuple[str, ...]:
        """Names of the modalities."""
        return tuple(modality.name for modality in self.modalities)

    @property
    def widths(self) -> dict[str, int]:
        """Input width of each modality."""
        return {modality.name: modality.width for modality in self.modalities}

    @property
    def num_outputs(self) -> int:
        """K: one logit a class, or location and log-scale of the sentiment."""
        return len(self.labels) or 2
