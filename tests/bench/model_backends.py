"""From features to calibrated answers by each way of running the model: here, on a Triton server, in ONNX Runtime.

Each gets the same samples, in turn, and one thread. Triton is a real server on this machine, asked over gRPC, one
request at a time: without other replicas' requests to run together. Knows the model's sides. Does not know segments.
"""

import asyncio
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from hctdmg.batch import Sample
from hctdmg.checkpoint import Checkpoint, find_checkpoint, load_checkpoint
from hctdmg.export.onnx import FILE
from hctdmg.export.triton import ONNX_MODEL, PYTHON_MODEL, VERSION, export_triton
from hctdmg.predictor import Interpreter, Prediction
from hctdmg.wire import signature, to_output, to_tensors
from tests.bench.plain_loop import CHECKPOINT
from tests.triton_server import running_triton
from workers.config import ModelSettings, TritonConfig
from workers.replica import LocalPredictor
from workers.triton import TritonPredictor

Ask = Callable[[Sequence[Sample]], list[Prediction]]


@dataclass(frozen=True)
class Speed:
    """One way at one shape.

    Attributes:
        backend: Which way.
        batch: Samples.
        steps: Of each modality of each.
        items_per_s: In each round.
    """

    backend: str
    batch: int
    steps: int
    items_per_s: list[float]


def measure_backends(batches: Sequence[int], steps: Sequence[int], num_rounds: int) -> list[Speed]:
    """Every way at every shape; the first round of each warms up."""
    checkpoint = load_checkpoint(CHECKPOINT)
    with tempfile.TemporaryDirectory() as place:
        export_triton(checkpoint, find_checkpoint(CHECKPOINT), Path(place))
        with running_triton(Path(place), [PYTHON_MODEL]) as server, asyncio.Runner() as loop:
            settings = ModelSettings(device="cpu", num_threads=1, max_batch_size=max(batches))
            remote = ModelSettings(
                backend="triton",
                triton=TritonConfig(url=server.url, timeout_s=60),
                max_batch_size=max(batches),
            )
            local, triton = LocalPredictor(checkpoint, settings), TritonPredictor(checkpoint, remote)
            backends: dict[str, Ask] = {
                "local": lambda samples: loop.run(local.predict(samples)),
                "Triton": lambda samples: loop.run(triton.predict(samples)),
                "ONNX Runtime": _onnx(checkpoint, Path(place) / ONNX_MODEL / VERSION / FILE),
            }
            return [
                speed
                for batch in batches
                for length in steps
                for speed in _at_shape(backends, checkpoint, batch, length, num_rounds)
            ]


def _at_shape(
    backends: dict[str, Ask], checkpoint: Checkpoint, batch: int, steps: int, num_rounds: int
) -> list[Speed]:
    random = np.random.default_rng(0)
    widths = checkpoint.manifest.model.widths
    samples = [
        {name: random.standard_normal((steps, width), np.float32) for name, width in widths.items()}
        for _ in range(batch)
    ]
    found: dict[str, list[float]] = {name: [] for name in backends}
    for number in range(num_rounds + 1):
        for name, ask in backends.items():
            begun_s = time.perf_counter()
            predictions = ask(samples)
            took_s = time.perf_counter() - begun_s
            assert len(predictions) == batch
            if number:
                found[name].append(round(batch / took_s, 2))
    return [Speed(name, batch, steps, values) for name, values in found.items()]


def _onnx(checkpoint: Checkpoint, file: Path) -> Ask:
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    session = onnxruntime.InferenceSession(file, options, providers=["CPUExecutionProvider"])
    config, interpreter = checkpoint.manifest.model, Interpreter(checkpoint)
    names = [tensor.name for tensor in signature(config).outputs]
    weights_N = checkpoint.model.gate.weights_N().detach()

    def ask(samples: Sequence[Sample]) -> list[Prediction]:
        question = interpreter.ask(samples)
        assert question.batch is not None
        tensors = {name: tensor.numpy() for name, tensor in to_tensors(question.batch, config).items()}
        arrays = dict(zip(names, session.run(None, tensors), strict=True))
        return interpreter.answer(question, to_output(arrays, config, weights_N))

    return ask
