"""CUDA graphs of a model: all its kernels recorded once for a shape, then started by one call.

A graph works in tensors of its own. A batch is copied into those of the smallest recorded shape that holds it: samples
are rounded up to a power of two, steps to a multiple of 8; what is added is masked. Knows tensors and CUDA.
"""

from collections import OrderedDict

import torch
from torch import Tensor

from hctdmg.batch import Batch
from hctdmg.model import HctDmg, Output

MAX_GRAPHS = 64
"""Beyond that the one that was used longest ago is dropped."""
STEP_MULTIPLE = 8
NUM_TRIALS = 3
"""Runs before a recording, in which libraries choose their kernels and take their memory; PyTorch's advice."""

_Key = tuple[int, tuple[int, ...], tuple[int, ...]]


class Graphs:
    """Runs a model as CUDA graphs.

    Args:
        model: On a GPU, in evaluation mode.
    """

    def __init__(self, model: HctDmg) -> None:
        self._model = model
        self._graphs: OrderedDict[_Key, _Graph] = OrderedDict()

    def __call__(self, batch: Batch, order: tuple[int, ...]) -> Output:
        """As the model itself; the output's tensors hold until the next call."""
        steps = tuple(_rounded(mask_BT.shape[1]) for mask_BT in batch.masks.values())
        key = (1 << (batch.num_samples - 1).bit_length(), steps, order)
        graph = self._graphs.get(key)
        if graph is None:
            graph = self._graphs[key] = _Graph(self._model, key, next(iter(batch.masks.values())).device)
            if len(self._graphs) > MAX_GRAPHS:
                self._graphs.popitem(last=False)
        self._graphs.move_to_end(key)
        return graph.replay(batch)


class _Graph:
    def __init__(self, model: HctDmg, key: _Key, device: torch.device) -> None:
        num_samples, steps, order = key
        self._static = Batch(
            {
                name: torch.zeros(num_samples, num_steps, width, device=device)
                for (name, width), num_steps in zip(model.config.widths.items(), steps, strict=True)
            },
            {
                name: torch.zeros(num_samples, num_steps, dtype=torch.bool, device=device)
                for name, num_steps in zip(model.config.names, steps, strict=True)
            },
        )
        stream = torch.cuda.Stream(device)  # type: ignore[no-untyped-call]
        stream.wait_stream(torch.cuda.current_stream(device))
        with torch.cuda.stream(stream):
            for _ in range(NUM_TRIALS):
                model(self._static, order=order)
        torch.cuda.current_stream(device).wait_stream(stream)
        self._graph = torch.cuda.CUDAGraph()
        with torch.cuda.graph(self._graph):
            self._output: Output = model(self._static, order=order)

    def replay(self, batch: Batch) -> Output:
        for name in batch.features:
            _fill(self._static.features[name], batch.features[name])
            _fill(self._static.masks[name], batch.masks[name])
        self._graph.replay()
        rows = slice(batch.num_samples)
        output = self._output
        unimodal = {name: x_BK[rows] for name, x_BK in output.unimodal.items()}
        return Output(output.prediction_BK[rows], unimodal, output.order_BN[rows], output.weights_N, None)


def _rounded(num_steps: int) -> int:
    return -(-num_steps // STEP_MULTIPLE) * STEP_MULTIPLE


def _fill(static: Tensor, values: Tensor) -> None:
    static.zero_()
    static[: values.shape[0], : values.shape[1]].copy_(values)
