"""The model inside Triton's Python backend; an export copies this file as `model.py` beside the checkpoint.

Needs torch, numpy, safetensors and this package on the server. Tensors come and go as DLPack: the backend's way
over numpy arrays gives empty tensors, without an error, when numpy is 2.x. Knows Triton's calls. Calibrates nothing.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
import torch.utils.dlpack
import triton_python_backend_utils as backend
from torch import Tensor
from torch.nn import functional as F

from hctdmg.checkpoint import load_checkpoint
from hctdmg.wire import ServedModel, signature


class TritonPythonModel:
    """What the backend calls."""

    def initialize(self, args: dict[str, str]) -> None:
        """Load the checkpoint and run it once, so that the first request does not wait for it."""
        checkpoint = load_checkpoint(str(Path(__file__).parent / "checkpoint"))
        on_gpu = args["model_instance_kind"] == "GPU"
        self._device = f"cuda:{args['model_instance_device_id']}" if on_gpu else "cpu"
        self._served = ServedModel(checkpoint).to(self._device).eval()
        self._spec = signature(checkpoint.manifest.model)
        types = {"FP32": torch.float32, "BOOL": torch.bool}
        shapes = [(1, *(abs(length) for length in tensor.shape)) for tensor in self._spec.inputs]
        self._run(
            [
                torch.ones(shape, dtype=types[tensor.data_type], device=self._device)
                for tensor, shape in zip(self._spec.inputs, shapes, strict=True)
            ]
        )

    def execute(self, requests: Sequence[Any]) -> list[Any]:
        """Answer requests in one batch, however long each is."""
        inputs = [
            merge([_received(request, tensor.name, self._device) for request in requests])
            for tensor in self._spec.inputs
        ]
        counts = [len(_received(request, self._spec.inputs[0].name, "cpu")) for request in requests]
        parts = zip(*(torch.split(output, counts) for output in self._run(inputs)), strict=True)
        return [backend.InferenceResponse(self._sent(part)) for part in parts]

    def _run(self, inputs: list[Tensor]) -> list[Tensor]:
        with torch.inference_mode():
            return [output.cpu() for output in self._served(*inputs)]

    def _sent(self, outputs: Sequence[Tensor]) -> list[Any]:
        return [
            backend.Tensor.from_dlpack(tensor.name, output.contiguous())
            for tensor, output in zip(self._spec.outputs, outputs, strict=True)
        ]


def _received(request: Any, name: str, device: str) -> Tensor:
    tensor = backend.get_input_tensor_by_name(request, name)
    return torch.utils.dlpack.from_dlpack(tensor.to_dlpack()).to(device)


def merge(tensors: list[Tensor]) -> Tensor:
    """Batches (B, T, ...) one after the other, padded with zeros to the longest T."""
    num_steps = max(tensor.shape[1] for tensor in tensors)
    return torch.cat(
        [F.pad(tensor, (0, 0) * (tensor.dim() - 2) + (0, num_steps - tensor.shape[1])) for tensor in tensors]
    )
