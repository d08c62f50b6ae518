"""Checkpoints: what is saved is loaded, and whatever is damaged, foreign or mismatched is one clear error."""

import dataclasses
import json
import pickle
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from hctdmg.batch import collate
from hctdmg.checkpoint import load_checkpoint, read_manifest, save_checkpoint
from hctdmg.contract import FeatureContract, ModalityContract
from hctdmg.manifest import Calibration, CheckpointError, HeadCalibration, Manifest
from hctdmg.model import HctDmg
from tests.hctdmg.samples import make_model, make_sample, small_config


def make_manifest(model: HctDmg, **changes: Any) -> Manifest:
    widths = model.config.widths
    manifest = Manifest(
        name="tiny",
        version="1",
        description="Random weights.",
        model=model.config,
        features=FeatureContract(
            {
                name: ModalityContract(f"{name}-x", "1", width, 5.0, {"a": [1]})
                for name, width in widths.items()
            },
            "unaligned",
        ),
        calibration=Calibration(unimodal={name: HeadCalibration(1.5, 0.3) for name in widths}),
        training={"seed": 3, "data": {"rows": 10}},
        weights_sha256="",
    )
    return dataclasses.replace(manifest, **changes)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    model = make_model(small_config())
    save_checkpoint(tmp_path / "tiny", model, make_manifest(model))
    return tmp_path / "tiny"


def edit(folder: Path, change: Callable[[dict[str, Any]], Any]) -> None:
    path = folder / "manifest.json"
    fields = json.loads(path.read_text())
    change(fields)
    path.write_text(json.dumps(fields))


@pytest.mark.parametrize("labels", [(), ("happy", "sad")])
def test_what_is_saved_is_loaded(tmp_path: Path, labels: tuple[str, ...]) -> None:
    model = make_model(small_config(labels=labels), gate=[0.0, 1.0, 2.0])
    manifest = make_manifest(model)
    sha256 = save_checkpoint(tmp_path, model, manifest)
    loaded = load_checkpoint(str(tmp_path))
    assert loaded.sha256 == sha256
    assert dataclasses.replace(loaded.manifest, weights_sha256="") == manifest
    assert read_manifest(str(tmp_path)) == loaded.manifest
    batch = collate([make_sample(model.config, {"text": 3, "vision": 2})], model.config.widths)
    with torch.inference_mode():
        torch.testing.assert_close(
            loaded.model(batch).prediction_BK, model(batch).prediction_BK, rtol=0, atol=0
        )


def test_the_digest_covers_weights_and_manifest(tmp_path: Path) -> None:
    model = make_model(small_config())
    first = save_checkpoint(tmp_path / "a", model, make_manifest(model))
    assert save_checkpoint(tmp_path / "b", model, make_manifest(model)) == first
    assert save_checkpoint(tmp_path / "c", model, make_manifest(model, version="2")) != first
    other = make_model(small_config(), seed=1)
    assert save_checkpoint(tmp_path / "d", other, make_manifest(other)) != first


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda m: m.pop("features"), "missing key 'features'"),
        (lambda m: m.update(colour="red"), "unknown key 'colour'"),
        (lambda m: m.update(format="onnx"), "another program's"),
        (lambda m: m.update(format_version=2), "format_version 2.*update hctdmg"),
        (lambda m: m.update(weights_sha256="0" * 64), "sha256.*the manifest says 000000000000"),
        (lambda m: m["model"].update(dim="forty"), "manifest.model.dim: expected int, found 'forty'"),
        (lambda m: m["model"].update(dim=True), "manifest.model.dim: expected int"),
        (lambda m: m["model"].update(dim=41), "manifest.model: dim is 41"),
        (lambda m: m["model"].update(dim=48), r"needs \["),
        (lambda m: m["model"].update(num_layers_self=9), "model.safetensors: .* is nothing"),
        (
            lambda m: m["calibration"]["fused"].update(temperature=None),
            "temperature: expected a finite number",
        ),
        (lambda m: m["calibration"]["unimodal"].pop("audio"), "calibration.unimodal lacks 'audio'"),
        (lambda m: m["features"]["modalities"]["text"].update(width=13), "feature contract has widths"),
        (
            lambda m: m["features"].update(alignment="diagonal"),
            "alignment: expected one of 'unaligned', 'word'",
        ),
        (lambda m: m["model"].update(modalities={}), "modalities: expected a list"),
    ],
)
def test_a_manifest_that_does_not_fit_is_refused(
    folder: Path, change: Callable[[dict[str, Any]], Any], message: str
) -> None:
    edit(folder, change)
    with pytest.raises(CheckpointError, match=message) as caught:
        load_checkpoint(str(folder))
    assert "\n" not in str(caught.value)
    assert str(folder) in str(caught.value)


@pytest.mark.parametrize("junk", [b"", b"{", b"[]", b"null", b"\xff\xfe", b'{"format": 1}', b"[" * 100_000])
def test_a_manifest_that_is_none_is_refused(folder: Path, junk: bytes) -> None:
    (folder / "manifest.json").write_bytes(junk)
    with pytest.raises(CheckpointError, match="manifest"):
        load_checkpoint(str(folder))


@pytest.mark.parametrize("damage", [lambda w: w[:-1], lambda _: b"", lambda w: w[:100] + b"\x00" + w[101:]])
def test_damaged_weights_are_refused(folder: Path, damage: Callable[[bytes], bytes]) -> None:
    weights = folder / "model.safetensors"
    weights.write_bytes(damage(weights.read_bytes()))
    with pytest.raises(CheckpointError, match="damaged"):
        load_checkpoint(str(folder))


def test_a_pickle_in_place_of_weights_is_never_opened(folder: Path, tmp_path: Path) -> None:
    import hashlib

    class Hostile:
        def __reduce__(self) -> tuple[Any, ...]:
            return (Path.touch, (tmp_path / "owned",))

    weights = pickle.dumps(Hostile())
    (folder / "model.safetensors").write_bytes(weights)
    edit(folder, lambda m: m.update(weights_sha256=hashlib.sha256(weights).hexdigest()))
    with pytest.raises(CheckpointError, match="can't be read"):
        load_checkpoint(str(folder))
    assert not (tmp_path / "owned").exists()


def test_missing_files_are_named(folder: Path) -> None:
    (folder / "model.safetensors").unlink()
    with pytest.raises(CheckpointError, match=r"model.safetensors can't be read: No such file"):
        load_checkpoint(str(folder))
    with pytest.raises(CheckpointError, match="no checkpoint 'no-such-thing'"):
        load_checkpoint("no-such-thing")
    with pytest.raises(CheckpointError, match="no checkpoint"):
        load_checkpoint("../../etc")


def test_a_manifest_of_another_model_is_not_saved(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="another model"):
        save_checkpoint(tmp_path, make_model(small_config(2)), make_manifest(make_model(small_config(3))))


def test_contracts_name_each_difference() -> None:
    text = ModalityContract("words", "1", 260, None)
    mine = FeatureContract({"text": text, "audio": ModalityContract("mel", "1", 74, 10.0)}, "unaligned")
    theirs = FeatureContract({"text": dataclasses.replace(text, version="2", settings={"a": 1})}, "word")
    assert mine.differences(mine) == []
    assert mine.differences(theirs) == [
        "alignment: 'unaligned' != 'word'",
        "audio: present != absent",
        "text.version: '1' != '2'",
        "text.settings: {} != {'a': 1}",
    ]
