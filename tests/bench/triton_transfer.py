"""Whether a batch should reach a Triton server on the same machine through shared memory instead of gRPC.

    python -m tests.bench.triton_transfer      # prints the table, writes docs/results/triton_transfer.json

32 samples of 50 steps, the starter's widths, the real server, its Python backend. The same tensors go both ways in
turn, another one first in each round. Round trip: from the arrays to the answer. CPU: of the client alone.
"""

import argparse
import asyncio
import json
import os
import platform
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import tritonclient.grpc
import tritonclient.grpc.aio
from tritonclient.utils import shared_memory

from hctdmg.checkpoint import load_checkpoint
from hctdmg.predictor import Interpreter
from hctdmg.wire import Array, TensorSpec, signature, to_tensors
from tests.hctdmg.samples import make_sample
from tests.triton_server import running_triton
from workers.cli import run

RESULT = Path(__file__).parent.parent.parent / "docs" / "results" / "triton_transfer.json"
CHECKPOINT = "hct-dmg-starter"
MODEL = "hctdmg"
NUM_SAMPLES, NUM_STEPS = 32, 50
REGION = "hctdmg_batch"


@dataclass(frozen=True)
class Way:
    """What one way cost.

    Attributes:
        model: Of the server.
        name: "gRPC" or "shared memory".
        round_trip_ms: Each, by the clock.
        client_cpu_ms: Each, of the client's process.
    """

    model: str
    name: str
    round_trip_ms: list[float]
    client_cpu_ms: list[float]


def main() -> int:
    """Measure, print, write."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--rounds", type=int, default=40)
    arguments = parser.parse_args()
    specs, arrays = question()
    with tempfile.TemporaryDirectory() as folder:
        repository = Path(folder) / "repository"
        run(["export", CHECKPOINT, "--format", "triton", "--out", str(repository)])
        # This server has no ONNX Runtime: the Python backend alone.
        models = [MODEL]
        with running_triton(repository, models) as server:
            ways = [
                way
                for model in models
                for way in asyncio.run(measure(server.url, model, specs, arrays, arguments.rounds))
            ]
    record = {
        "command": f"python -m tests.bench.triton_transfer --rounds {arguments.rounds}",
        "machine": f"{os.cpu_count()} cores, {platform.machine()}, Python {platform.python_version()}",
        "date": time.strftime("%Y-%m-%d", time.gmtime()),
        "bytes": sum(array.nbytes for array in arrays.values()),
        "ways": [asdict(way) for way in ways],
    }
    RESULT.write_text(json.dumps(record, indent=1) + "\n")
    print(f"{record['bytes']} bytes a batch")
    for way in ways:
        print(
            f"{way.model}, {way.name}: {spread(way.round_trip_ms)} ms, client {spread(way.client_cpu_ms)} ms of CPU"
        )
    return 0


def question() -> tuple[tuple[TensorSpec, ...], dict[str, Array]]:
    """The tensors of one batch."""
    checkpoint = load_checkpoint(CHECKPOINT)
    config = checkpoint.manifest.model
    lengths = {modality.name: NUM_STEPS for modality in config.modalities}
    samples = [make_sample(config, lengths, number) for number in range(NUM_SAMPLES)]
    batch = Interpreter(checkpoint).ask(samples).batch
    assert batch is not None
    specs = signature(config).inputs
    tensors = to_tensors(batch, config)
    return specs, {spec.name: tensors[spec.name].numpy() for spec in specs}


async def measure(
    url: str, model: str, specs: tuple[TensorSpec, ...], arrays: dict[str, Array], num_rounds: int
) -> list[Way]:
    """Both ways in turn."""
    ways = {name: Way(model, name, [], []) for name in ("gRPC", "shared memory")}
    client = tritonclient.grpc.aio.InferenceServerClient(url)
    with region(sum(array.nbytes for array in arrays.values())) as handle:
        size = sum(array.nbytes for array in arrays.values())
        await client.register_system_shared_memory(REGION, f"/{REGION}", size)
        makers: dict[str, Callable[[], list[Any]]] = {
            "gRPC": lambda: through_grpc(specs, arrays),
            "shared memory": lambda: through_memory(handle, specs, arrays),
        }
        for number in range(num_rounds + 2):
            for name in sorted(makers, reverse=bool(number % 2)):
                begun_s, begun_cpu_s = time.perf_counter(), time.process_time()
                await client.infer(model, makers[name]())
                if number >= 2:  # the first warm the server up
                    ways[name].round_trip_ms.append(1000 * (time.perf_counter() - begun_s))
                    ways[name].client_cpu_ms.append(1000 * (time.process_time() - begun_cpu_s))
        await client.unregister_system_shared_memory(REGION)
    await client.close()
    return list(ways.values())


@contextmanager
def region(num_bytes: int) -> Iterator[Any]:
    """Memory that the server on this machine can map."""
    handle = shared_memory.create_shared_memory_region(REGION, f"/{REGION}", num_bytes)
    try:
        yield handle
    finally:
        shared_memory.destroy_shared_memory_region(handle)


def through_grpc(specs: tuple[TensorSpec, ...], arrays: dict[str, Array]) -> list[Any]:
    """The tensors in the request."""
    inputs = []
    for spec in specs:
        inputs.append(tritonclient.grpc.InferInput(spec.name, arrays[spec.name].shape, spec.data_type))
        inputs[-1].set_data_from_numpy(arrays[spec.name])
    return inputs


def through_memory(handle: Any, specs: tuple[TensorSpec, ...], arrays: dict[str, Array]) -> list[Any]:
    """The tensors in the region, and where they lie in the request."""
    inputs, offset = [], 0
    for spec in specs:
        array = np.ascontiguousarray(arrays[spec.name])
        shared_memory.set_shared_memory_region(handle, [array], offset=offset)
        inputs.append(tritonclient.grpc.InferInput(spec.name, array.shape, spec.data_type))
        inputs[-1].set_shared_memory(REGION, array.nbytes, offset)
        offset += array.nbytes
    return inputs


def spread(values: list[float]) -> str:
    """Median and quartiles."""
    low, middle, high = statistics.quantiles(values, n=4)
    return f"{middle:.2f} ({low:.2f} to {high:.2f})"


if __name__ == "__main__":
    sys.exit(main())
