"""The exported graph says what the checkpoint says, whatever the batch holds."""

import functools
import tempfile
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest
import torch
from google.protobuf import text_format
from hypothesis import given, settings
from hypothesis import strategies as st
from tritonclient.grpc import model_config_pb2

import hctdmg.export.onnx as onnx_export
from hctdmg.batch import collate
from hctdmg.checkpoint import Checkpoint, load_checkpoint, save_checkpoint
from hctdmg.export.onnx import ExportError, export_onnx
from hctdmg.export.triton import config_text
from hctdmg.model import assign_roles
from hctdmg.wire import CHECKPOINT_PARAMETER, ServedModel, fingerprint, signature, to_tensors
from tests.hctdmg.samples import make_model, make_sample, small_config
from tests.hctdmg.test_checkpoint import make_manifest

TOLERANCE = 1e-5
Exported = tuple[ServedModel, Checkpoint, onnxruntime.InferenceSession]


@functools.cache
def exported(num_modalities: int) -> Exported:
    """A model whose primary is its second modality, exported once for all tests."""
    config = small_config(num_modalities, labels=("happy", "sad", "angry") if num_modalities == 2 else ())
    model = make_model(config, gate=[0.5, 1.5, 1.0][:num_modalities])
    with tempfile.TemporaryDirectory() as folder:
        save_checkpoint(Path(folder) / "checkpoint", model, make_manifest(model))
        checkpoint = load_checkpoint(str(Path(folder) / "checkpoint"))
        file = Path(folder) / "new" / "model.onnx"
        assert export_onnx(checkpoint, file) < TOLERANCE
        onnx.checker.check_model(file, full_check=True)
        session = onnxruntime.InferenceSession(file.read_bytes(), providers=["CPUExecutionProvider"])
    return ServedModel(checkpoint).eval(), checkpoint, session


@settings(max_examples=60, deadline=None)
@given(
    num_modalities=st.sampled_from([2, 3]),
    rows=st.lists(
        st.tuples(*[st.integers(0, 40)] * 3).filter(lambda row: any(row[:2])), min_size=1, max_size=6
    ),
)
def test_onnx_answers_as_torch_for_any_lengths_and_absences(
    num_modalities: int, rows: list[tuple[int, ...]]
) -> None:
    served, checkpoint, session = exported(num_modalities)
    config = checkpoint.manifest.model
    samples = [
        make_sample(config, dict(zip(config.names, row, strict=False)), seed) for seed, row in enumerate(rows)
    ]
    inputs = to_tensors(collate(samples, config.widths), config)
    with torch.inference_mode():
        wanted = served(*inputs.values())
    found = session.run(None, {name: tensor.numpy() for name, tensor in inputs.items()})
    for spec, ours, theirs in zip(signature(config).outputs, wanted, found, strict=True):
        np.testing.assert_allclose(theirs, ours.numpy(), atol=TOLERANCE, rtol=TOLERANCE, err_msg=spec.name)
        assert theirs.shape == (len(rows), *spec.shape)
    # Of each sample its own primary: the second modality, or what takes its place.
    present = [[length > 0 for length in row[:num_modalities]] for row in rows]
    by_weight = [1, 2, 0] if num_modalities == 3 else [1, 0]
    primaries = [next(index for index in by_weight if row[index]) for row in present]
    assert found[2][:, 0].tolist() == primaries


def test_the_file_has_the_signature_and_names_its_checkpoint() -> None:
    _, checkpoint, session = exported(3)
    spec = signature(checkpoint.manifest.model)
    types = {"FP32": "tensor(float)", "BOOL": "tensor(bool)", "INT64": "tensor(int64)"}
    for tensors, ours in ((session.get_inputs(), spec.inputs), (session.get_outputs(), spec.outputs)):
        found = [
            (
                tensor.name,
                tensor.type,
                tuple(-1 if isinstance(size, str) else size for size in tensor.shape[1:]),
            )
            for tensor in tensors
        ]
        assert found == [(one.name, types[one.data_type], one.shape) for one in ours]
        assert {tensor.shape[0] for tensor in tensors} == {"batch"}
    assert session.get_modelmeta().custom_metadata_map[CHECKPOINT_PARAMETER] == checkpoint.sha256


def test_a_graph_that_says_something_else_is_not_handed_over(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    _, checkpoint, _ = exported(2)
    program = onnx_export._program(ServedModel(checkpoint).eval(), checkpoint.manifest.model)
    # The graph of the weights as they are, the checkpoint with others.
    other = make_model(checkpoint.manifest.model, seed=5)
    monkeypatch.setattr(onnx_export, "_program", lambda *_: program)
    with pytest.raises(ExportError, match="differs from the checkpoint"):
        export_onnx(Checkpoint(checkpoint.manifest, other, checkpoint.sha256), tmp_path / "model.onnx")


@settings(max_examples=30, deadline=None)
@given(lengths=st.tuples(*[st.integers(1, 9)] * 3), order=st.permutations([0, 1, 2]))
def test_the_graphs_way_to_roles_equals_the_short_one(lengths: tuple[int, ...], order: list[int]) -> None:
    """Samples of one order take a shorter way, which an exported graph does not have."""
    model = make_model(small_config(), gate=[float(index) for index in order])
    sample = make_sample(model.config, dict(zip(model.config.names, lengths, strict=True)))
    batch = collate([sample, sample], model.config.widths)
    with torch.inference_mode():
        short = model(batch).prediction_BK
    with pytest.MonkeyPatch.context() as patch, torch.inference_mode():
        patch.setattr(torch.compiler, "is_exporting", lambda: True)
        streams = [batch.features[name] for name in model.config.names]
        by_role, _ = assign_roles(streams[:1] * 2, [batch.masks["text"]] * 2, torch.tensor([[0, 1], [0, 1]]))
        assert by_role[0] is not streams[0]  # gathered, indeed
        torch.testing.assert_close(model(batch).prediction_BK, short, atol=1e-6, rtol=1e-6)


@pytest.mark.parametrize("backend", ["python", "onnxruntime"])
def test_tritons_config_is_what_tritons_own_parser_reads(backend: str) -> None:
    _, checkpoint, _ = exported(3)
    spec = signature(checkpoint.manifest.model)
    text = config_text("hctdmg", backend, spec, checkpoint.sha256)
    config = text_format.Parse(text, model_config_pb2.ModelConfig())
    for tensors, ours in ((config.input, spec.inputs), (config.output, spec.outputs)):
        types = model_config_pb2.DataType
        found = [(one.name, types.Name(one.data_type), tuple(one.dims)) for one in tensors]
        assert found == [(one.name, f"TYPE_{one.data_type}", one.shape) for one in ours]
    assert config.backend == backend
    assert config.HasField("dynamic_batching")
    assert config.parameters[CHECKPOINT_PARAMETER].string_value == checkpoint.sha256
    # ONNX Runtime's backend would put requests of different lengths end to end, not pad them.
    assert {one.allow_ragged_batch for one in config.input} == {backend == "python"}


def test_a_fingerprint_is_the_whole_checksum() -> None:
    sha256 = "00000000000000018000000000000000ffffffffffffffff7fffffffffffffff"
    assert fingerprint(sha256) == (1, -(2**63), -1, 2**63 - 1)
