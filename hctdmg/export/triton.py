"""`--format triton`: a checkpoint as a Triton model repository with two models, each with its own config.

`hctdmg` runs in Triton's Python backend, from the checkpoint itself; `hctdmg_onnx` in its ONNX Runtime backend.
Both have the same signature, and name their checkpoint among the parameters. Knows Triton's files. Does not start
a server.
"""

import json
import shutil
from pathlib import Path

from hctdmg.checkpoint import MANIFEST, WEIGHTS, Checkpoint
from hctdmg.export.onnx import FILE, export_onnx
from hctdmg.wire import CHECKPOINT_PARAMETER, Signature, TensorSpec, signature

PYTHON_MODEL = "hctdmg"
ONNX_MODEL = "hctdmg_onnx"
PYTHON_MODEL_FILE = Path(__file__).with_name("triton_model.py")
"""Not imported: its imports exist on a server only."""
VERSION = "1"
"""A repository holds one checkpoint; another one is another repository, or another name."""
MAX_BATCH_SIZE = 128
"""Samples in one run on the server, of several replicas together; a replica sends `model.max_batch_size` at most."""
QUEUE_DELAY_US = 1000
"""How long the server waits for other replicas' requests to run with: a millisecond, little beside a run of a full
batch on a CPU."""


def export_triton(checkpoint: Checkpoint, source: Path, folder: Path) -> float:
    """Write the repository.

    Args:
        checkpoint: Loaded.
        source: Its folder, which is copied.
        folder: Made if needed; models of our names are replaced, others stay.

    Returns:
        The greatest difference between the ONNX model and torch that was found.

    Raises:
        ExportError: The ONNX model's answers differ from the checkpoint's.
    """
    for name in (PYTHON_MODEL, ONNX_MODEL):
        shutil.rmtree(folder / name, ignore_errors=True)
    difference = export_onnx(checkpoint, folder / ONNX_MODEL / VERSION / FILE)
    _write_config(folder, ONNX_MODEL, "onnxruntime", checkpoint)
    version = folder / PYTHON_MODEL / VERSION
    (version / "checkpoint").mkdir(parents=True)
    for file in (MANIFEST, WEIGHTS):
        shutil.copyfile(source / file, version / "checkpoint" / file)
    shutil.copyfile(PYTHON_MODEL_FILE, version / "model.py")
    _write_config(folder, PYTHON_MODEL, "python", checkpoint)
    return difference


def _write_config(folder: Path, name: str, backend: str, checkpoint: Checkpoint) -> None:
    spec = signature(checkpoint.manifest.model)
    (folder / name / "config.pbtxt").write_text(config_text(name, backend, spec, checkpoint.sha256))


def config_text(name: str, backend: str, spec: Signature, checkpoint_sha256: str) -> str:
    """A model's `config.pbtxt`.

    Requests are padded and masked by who sends them, and the server batches requests together. The Python backend
    takes requests of different lengths at once and pads them to the longest; ONNX Runtime's backend can't, and
    batches those of equal lengths.
    """
    ragged = backend == "python"
    return (
        f"name: {json.dumps(name)}\n"
        f"backend: {json.dumps(backend)}\n"
        f"max_batch_size: {MAX_BATCH_SIZE}\n"
        f"version_policy {{ specific {{ versions: [{VERSION}] }} }}\n"
        + "".join(f"input {_tensor(tensor, ragged)}\n" for tensor in spec.inputs)
        + "".join(f"output {_tensor(tensor, False)}\n" for tensor in spec.outputs)
        + f"dynamic_batching {{ max_queue_delay_microseconds: {QUEUE_DELAY_US} }}\n"
        f"parameters {{ key: {json.dumps(CHECKPOINT_PARAMETER)} "
        f"value {{ string_value: {json.dumps(checkpoint_sha256)} }} }}\n"
    )


def _tensor(tensor: TensorSpec, ragged: bool) -> str:
    dims = ", ".join(map(str, tensor.shape))
    last = " allow_ragged_batch: true" if ragged else ""
    return f"{{ name: {json.dumps(tensor.name)} data_type: TYPE_{tensor.data_type} dims: [{dims}]{last} }}"
