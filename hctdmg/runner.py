"""Runs a model on batches, on one device, in one precision, in one of three ways.

    eager      operation by operation, as written
    compile    each block by torch.compile: all blocks share what is compiled; needs a C++ compiler on a CPU
    graphs     as CUDA graphs, recorded once for each shape (`hctdmg.graphs`); on a GPU only

In bf16 the transformers compute in bfloat16. Streams, gate and heads stay in float32, and with them everything that
incongruity is judged from. Does not know what an output means.

Shape suffixes: B samples, N modalities, K outputs.
"""

import copy
import ctypes
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

from hctdmg.batch import Batch
from hctdmg.graphs import Graphs
from hctdmg.layers import Block
from hctdmg.model import HctDmg, Output

Precision = Literal["fp32", "bf16"]
Execution = Literal["eager", "compile", "graphs"]

TOLERANCE: dict[Precision, float] = {"fp32": 1e-5, "bf16": 0.05}
"""Greatest difference of an output to the plain model in float32, in any way of running it. In bf16 relative to 1 or
the output, whichever is larger: numbers have 8 bits (0.4 %), and 15 blocks on the way add some of them up."""
WARM_UP_STEPS = 50
"""Steps of each modality in the batches that come before the first: as many as 5 s of voice have."""
KEPT_BYTES = 2**30
"""What the C library may keep for the next run, instead of returning each freed tensor to the kernel and asking for
fresh pages again: a quarter of the time of a batch of 32 x 50 steps."""
_MALLOPT_TRIM_THRESHOLD, _MALLOPT_MMAP_THRESHOLD = -1, -3


@dataclass(frozen=True)
class _Launched:
    """Work that a device may still be at.

    Attributes:
        packed_BK: The heads' outputs side by side, fused and then each modality's: one copy brings all.
        order_BN: Modality index by role.
    """

    packed_BK: Tensor
    order_BN: Tensor


class Runner:
    """Runs one model.

    Args:
        model: Moved to the device, and its transformers to the precision, in place.
        device: A torch device.
        precision: Of the transformers.
        execution: How.

    Raises:
        ValueError: CUDA graphs are asked for on something else.
    """

    def __init__(
        self,
        model: HctDmg,
        device: str = "cpu",
        precision: Precision = "fp32",
        execution: Execution = "eager",
    ) -> None:
        self.device = torch.device(device)
        if execution == "graphs" and self.device.type != "cuda":
            raise ValueError(
                f"execution is 'graphs' on device {device!r}: only cuda has graphs, take 'eager'"
            )
        if self.device.type == "cpu":
            keep_memory()
        self._gate = copy.deepcopy(model.gate).cpu()
        self._config = model.config
        self._weights_N = self._gate.weights_N().detach()
        self.model = lower_transformers(model.to(self.device).eval(), precision)
        self._call: Callable[..., Output] = self.model
        if execution == "compile":
            compile_blocks(self.model)
        elif execution == "graphs":
            self._call = Graphs(self.model)

    @torch.inference_mode()
    def run(self, batches: Sequence[Batch]) -> list[Output]:
        """Run batches; a GPU is given all of them before the first answer is waited for.

        Returns:
            The outputs on the CPU, in order.
        """
        launched = [self._launch(batch) for batch in batches]
        return [self._fetch(one) for one in launched]

    def warm_up(self, num_samples: int) -> None:
        """Run batches of one and of so many samples: libraries are loaded, kernels chosen or compiled."""
        for size in sorted({1, num_samples}):
            widths = self._config.widths
            features = {name: torch.ones(size, WARM_UP_STEPS, width) for name, width in widths.items()}
            masks = {name: torch.ones(size, WARM_UP_STEPS, dtype=torch.bool) for name in widths}
            self.run([Batch(features, masks)])

    def _launch(self, batch: Batch) -> _Launched:
        order = self._common_order(batch)
        on_device = batch.pinned().to(self.device) if self.device.type == "cuda" else batch.to(self.device)
        output = (self.model if order is None else self._call)(on_device, order=order)
        return _Launched(torch.cat([output.prediction_BK, *output.unimodal.values()], dim=1), output.order_BN)

    def _common_order(self, batch: Batch) -> tuple[int, ...] | None:
        """The roles of all samples; None when they differ. Found on the CPU, before a GPU has anything to do."""
        present_BN = torch.stack([batch.masks[name].any(dim=1) for name in self._config.names], dim=1)
        order_BN = self._gate.order_BN(present_BN)
        return tuple(order_BN[0].tolist()) if bool((order_BN == order_BN[0]).all()) else None

    def _fetch(self, launched: _Launched) -> Output:
        prediction_BK, *unimodal = torch.split(launched.packed_BK.cpu(), self._config.num_outputs, dim=1)
        return Output(
            prediction_BK,
            dict(zip(self._config.names, unimodal, strict=True)),
            launched.order_BN.cpu(),
            self._weights_N,
            attention=None,
        )


def lower_transformers(model: HctDmg, precision: Precision) -> HctDmg:
    """Put the transformers' weights into a precision, in place."""
    if precision == "bf16":
        for part in (model.stage1, model.stage2, model.self_attention):
            part.to(torch.bfloat16)
    return model


def compile_blocks(model: HctDmg) -> None:
    """Have each block compiled when it is first run, for any number of samples and steps."""
    for module in model.modules():
        if isinstance(module, Block):
            module.compile(dynamic=True)


def keep_memory() -> None:
    """Have the C library keep KEPT_BYTES of freed memory; where it can't be told so, nothing changes."""
    library = ctypes.CDLL(None)
    if hasattr(library, "mallopt"):
        library.mallopt(_MALLOPT_MMAP_THRESHOLD, KEPT_BYTES)
        library.mallopt(_MALLOPT_TRIM_THRESHOLD, KEPT_BYTES)
