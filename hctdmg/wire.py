"""The model as a server offers it: named tensors in, named tensors out, the same for every format and backend.

A batch travels padded, with its masks; the heads come back raw, with the fingerprint of the checkpoint that made
them. Calibration is the asker's (`hctdmg.predictor.Interpreter`). Knows names, types and shapes. Does not know ONNX
or Triton.

Shape suffixes: B samples, T steps, D width, N modalities, K outputs.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn

from hctdmg.batch import Batch
from hctdmg.checkpoint import Checkpoint
from hctdmg.config import ModelConfig
from hctdmg.model import HctDmg, Output

Array = npt.NDArray[Any]
DataType = Literal["FP32", "BOOL", "INT64"]
"""Names of Triton."""

FINGERPRINT_LENGTH = 4
"""A SHA-256 is four numbers of 64 bits."""
CHECKPOINT_PARAMETER = "checkpoint_sha256"
"""Under this name an exported model says which checkpoint it is: ONNX's metadata, Triton's parameters."""


@dataclass(frozen=True)
class TensorSpec:
    """One tensor.

    Attributes:
        name: Its name.
        data_type: Its type.
        shape: Without the batch; -1 is any length.
    """

    name: str
    data_type: DataType
    shape: tuple[int, ...]


@dataclass(frozen=True)
class Signature:
    """What goes in and what comes out, in order."""

    inputs: tuple[TensorSpec, ...]
    outputs: tuple[TensorSpec, ...]


def signature(config: ModelConfig) -> Signature:
    """The tensors of a model of this shape: features and mask of each modality, then what `Output` says."""
    inputs = []
    for modality in config.modalities:
        inputs.append(TensorSpec(f"{modality.name}_features", "FP32", (-1, modality.width)))
        inputs.append(TensorSpec(f"{modality.name}_mask", "BOOL", (-1,)))
    num_modalities, num_outputs = len(config.modalities), config.num_outputs
    outputs = (
        TensorSpec("prediction", "FP32", (num_outputs,)),
        TensorSpec("unimodal", "FP32", (num_modalities, num_outputs)),
        TensorSpec("order", "INT64", (num_modalities,)),
        TensorSpec("checkpoint", "INT64", (FINGERPRINT_LENGTH,)),
    )
    return Signature(tuple(inputs), outputs)


def fingerprint(checkpoint_sha256: str) -> tuple[int, ...]:
    """A checkpoint's SHA-256 as the numbers of output "checkpoint"."""
    return tuple(np.frombuffer(bytes.fromhex(checkpoint_sha256), dtype=">i8").tolist())


class ServedModel(nn.Module):
    """The model behind its signature.

    Args:
        checkpoint: Loaded.
    """

    fingerprint_4: Tensor

    def __init__(self, checkpoint: Checkpoint) -> None:
        super().__init__()
        self.model: HctDmg = checkpoint.model
        self.names = checkpoint.manifest.model.names
        self.register_buffer("fingerprint_4", torch.tensor(fingerprint(checkpoint.sha256)))

    def forward(self, *inputs: Tensor) -> tuple[Tensor, ...]:
        """From the signature's inputs to its outputs."""
        features, masks = (dict(zip(self.names, inputs[first::2], strict=True)) for first in (0, 1))
        output: Output = self.model(Batch(features, masks))
        unimodal_BNK = torch.stack([output.unimodal[name] for name in self.names], dim=1)
        # Cloned, because one memory for all rows is nothing that a server can send.
        fingerprint_B4 = self.fingerprint_4.expand(unimodal_BNK.shape[0], FINGERPRINT_LENGTH).clone()
        return output.prediction_BK, unimodal_BNK, output.order_BN, fingerprint_B4


def to_tensors(batch: Batch, config: ModelConfig) -> dict[str, Tensor]:
    """A batch as the signature's inputs, in order."""
    tensors: dict[str, Tensor] = {}
    for name in config.names:
        tensors[f"{name}_features"] = batch.features[name]
        tensors[f"{name}_mask"] = batch.masks[name]
    return tensors


def to_output(arrays: Mapping[str, Array], config: ModelConfig, weights_N: Tensor) -> Output:
    """The signature's outputs as the model's own.

    Args:
        arrays: Each output by name.
        config: Shape of the model.
        weights_N: The gate's weights, which a checkpoint fixes.
    """
    prediction_BK, unimodal_BNK, order_BN = (
        torch.from_numpy(np.array(arrays[name])) for name in ("prediction", "unimodal", "order")
    )
    unimodal = dict(zip(config.names, unimodal_BNK.unbind(dim=1), strict=True))
    return Output(prediction_BK, unimodal, order_BN, weights_N, attention=None)
