"""`--format onnx`: a checkpoint as one ONNX file, checked before it is handed over.

The batch and every modality's number of steps are free, masks are inputs, and a sample without its primary falls
back as in the model itself. Knows ONNX. Does not know who will run it.
"""

import contextlib
import io
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from hctdmg.batch import Batch
from hctdmg.checkpoint import Checkpoint
from hctdmg.config import ModelConfig
from hctdmg.wire import CHECKPOINT_PARAMETER, ServedModel, signature, to_tensors

FILE = "model.onnx"
OPSET = 18
"""The exporter's own; ONNX Runtime runs it since 1.14 (Triton 23.02)."""
TOLERANCE = 1e-4
"""Greatest difference to torch, of outputs whose size is about 1. Some 1e-6 are seen: other kernels sum in other
orders. A hundredfold of that is an error in the graph."""
CHECKED = ((1, 1), (2, 5), (7, 33))
"""Samples and longest sequences of the batches that an export is checked with."""


class ExportError(Exception):
    """The exported model does not say what the checkpoint says, or a package is missing. The message is one line."""


def export_onnx(checkpoint: Checkpoint, file: Path) -> float:
    """Write a checkpoint as ONNX and compare it with torch.

    Args:
        checkpoint: Loaded.
        file: Replaced if there.

    Returns:
        The greatest difference to torch that was found.

    Raises:
        ExportError: The graph's answers differ from the checkpoint's.
    """
    served = ServedModel(checkpoint).eval()
    program = _program(served, checkpoint.manifest.model)
    program.model.metadata_props[CHECKPOINT_PARAMETER] = checkpoint.sha256
    file.parent.mkdir(parents=True, exist_ok=True)
    program.save(file)
    difference = _compare(served, checkpoint.manifest.model, file)
    if not difference <= TOLERANCE:
        raise ExportError(f"{file} differs from the checkpoint by {difference:.2g}, more than {TOLERANCE:g}")
    return difference


def _program(served: ServedModel, config: ModelConfig) -> Any:
    try:
        import onnxruntime  # noqa: F401 - for the comparison: missed here, before the work
        import onnxscript
    except ImportError:
        raise ExportError("exporting needs more packages: pip install 'hctdmg[export]'") from None
    op = onnxscript.opset18

    def stable_sort(x_N: Any, stable: bool = True, dim: int = -1, descending: bool = False) -> Any:  # noqa: ARG001
        # Of equal values ONNX takes the one that comes first, so this is stable.
        return op.TopK(x_N, op.Shape(x_N), axis=dim, largest=int(descending), sorted=1)

    spec = signature(config)
    example = to_tensors(random_batch(config, 3, 7, seed=0), config)
    batch = torch.export.Dim("batch")
    steps = {name: torch.export.Dim(f"{name}_steps") for name in config.names}
    dynamic = tuple({0: batch, 1: steps[name.rpartition("_")[0]]} for name in example)
    with warnings.catch_warnings(), contextlib.redirect_stderr(io.StringIO()):
        warnings.simplefilter("ignore")  # the exporter's own, about its own parts
        return torch.onnx.export(
            served,
            tuple(example.values()),
            dynamo=True,
            dynamic_shapes=(dynamic,),
            input_names=[tensor.name for tensor in spec.inputs],
            output_names=[tensor.name for tensor in spec.outputs],
            opset_version=OPSET,
            custom_translation_table={torch.ops.aten.sort.stable: stable_sort},
            verbose=False,
        )


def _compare(served: ServedModel, config: ModelConfig, file: Path) -> float:
    import onnxruntime

    session = onnxruntime.InferenceSession(file, providers=["CPUExecutionProvider"])
    worst = 0.0
    for seed, (num_samples, num_steps) in enumerate(CHECKED):
        inputs = to_tensors(random_batch(config, num_samples, num_steps, seed), config)
        with torch.inference_mode():
            wanted: tuple[Tensor, ...] = served(*inputs.values())
        found = session.run(None, {name: tensor.numpy() for name, tensor in inputs.items()})
        for ours, theirs in zip(wanted, found, strict=True):
            # Of equals exactly: the order and the fingerprint are no measurements.
            difference = np.abs(ours.numpy() - theirs) if ours.is_floating_point() else ours.numpy() != theirs
            worst = max(worst, float(difference.max()))
    return worst


def random_batch(config: ModelConfig, num_samples: int, num_steps: int, seed: int) -> Batch:
    """Samples of random lengths, with one modality of each always there and the others often absent."""
    random = torch.Generator().manual_seed(seed)
    features, masks = {}, {}
    always_B = torch.randint(len(config.modalities), (num_samples, 1), generator=random)
    for index, modality in enumerate(config.modalities):
        lengths_B1 = torch.randint(num_steps + 1, (num_samples, 1), generator=random)
        lengths_B1 = torch.where(always_B == index, lengths_B1.clamp(min=1), lengths_B1)
        mask_BT = torch.arange(num_steps)[None] < lengths_B1
        x_BTD = torch.randn(num_samples, num_steps, modality.width, generator=random)
        features[modality.name], masks[modality.name] = x_BTD * mask_BT[..., None], mask_BT
    return Batch(features, masks)
