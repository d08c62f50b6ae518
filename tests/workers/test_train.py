"""`hctdmg train`: run folders, resuming after a kill, what is served of it, and one line for every mistake."""

import dataclasses
import hashlib
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from hctdmg.baselines.registry import CONVOLUTIONAL, NAMES
from hctdmg.checkpoint import load_checkpoint
from hctdmg.data.dataset import Dataset
from hctdmg.data.own import Example, FeatureSet, save_features, save_sample
from hctdmg.data.synthetic import make_dataset
from hctdmg.training.build import build_network
from hctdmg.training.calibrate import calibrate
from hctdmg.training.recipe import make_recipe
from pipelines.prepare import DEFAULT_EXTRACTORS, extractor_contract
from tests.small_data import SETTINGS, WORLD, as_classes, mult_file, small_world
from workers.cli import run
from workers.clips import SCRIPTS, draw_clips

Json = dict[str, Any]


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A pickle as MulT's."""
    return mult_file(tmp_path_factory.mktemp("data") / "mosi_data.pkl", small_world())


def train(source: Path | str, out: Path, *options: str, epochs: int = 2) -> int:
    return run(
        ["train", str(source), "--out", str(out), *SETTINGS, "--set", f"num_epochs={epochs}", *options]
    )


def metrics(folder: Path) -> list[Json]:
    """Without the seconds, which differ."""
    lines = (folder / "metrics.jsonl").read_text().splitlines()
    return [{key: value for key, value in json.loads(line).items() if key != "seconds"} for line in lines]


def own_set(folder: Path, data: Dataset, task: str = "regression", names: tuple[str, ...] = ()) -> Path:
    """A folder as `hctdmg extract` fills: the real extractors' contract, invented features, the data's labels."""
    contract, examples = extractor_contract(DEFAULT_EXTRACTORS), []
    for split_name, split in data.splits.items():
        for row in range(24):
            sample = {}
            for name, one in contract.modalities.items():
                x_TD = split.features[name][row][split.masks[name][row]]
                # The label's traces in the first columns, nothing in the others.
                sample[name] = np.pad(x_TD, ((0, 0), (0, one.width - x_TD.shape[1])))
            stored = save_sample(folder, f"{split_name}{row}", sample)
            labels = tuple(float(label) for label in split.labels_NK[row])
            examples.append(Example(f"{split_name} {row}", split_name, labels, stored))  # type: ignore[arg-type]
    save_features(folder, FeatureSet(contract, task, names, (-3.0, 3.0), tuple(examples)))  # type: ignore[arg-type]
    return folder


def test_a_run_folder_holds_all_that_is_needed_to_repeat_it(
    source: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert train(source, tmp_path / "a", "--json") == 0
    *epochs, last = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert [epoch["epoch"] for epoch in epochs] == [1, 2]
    assert sum(epochs[0]["gate_weights"].values()) == pytest.approx(1)
    record = json.loads((tmp_path / "a" / "run.json").read_text())
    assert record["recipe"]["fit"]["seed"] == 1111
    assert record["recipe"]["preset"] == "mosi"
    assert len(record["data"]["sha256"]) == 64
    assert record["data"]["rows"] == {"train": 160, "valid": 64, "test": 96}
    assert {"torch", "numpy", "hctdmg", "python", "machine"} <= set(record["versions"])
    assert record["command"][0] == "hctdmg"
    assert (tmp_path / "a" / "curves.svg").read_text().startswith("<?xml")
    loaded = load_checkpoint(str(tmp_path / "a" / "checkpoint"))
    assert loaded.sha256 == last["checkpoint_sha256"] == record["checkpoint_sha256"]
    assert loaded.manifest.training["data"]["sha256"] == record["data"]["sha256"]
    # Repeated from what it says of itself: to the bit.
    assert train(source, tmp_path / "b") == 0
    assert load_checkpoint(str(tmp_path / "b" / "checkpoint")).sha256 == loaded.sha256
    assert metrics(tmp_path / "b") == metrics(tmp_path / "a")


def test_calibration_computes_with_the_threads_of_training(
    source: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen = []

    def watched(*arguments: Any) -> Any:
        seen.append(torch.get_num_threads())
        return calibrate(*arguments)

    monkeypatch.setattr("hctdmg.training.run.calibrate", watched)
    before = torch.get_num_threads()
    assert train(source, tmp_path, "--set", "num_threads=3", epochs=1) == 0
    assert seen == [3]
    assert torch.get_num_threads() == before


def test_a_run_that_is_killed_and_resumed_ends_as_if_it_had_not_been(tmp_path: Path) -> None:
    # Many short epochs: whoever watches is sure to see it in the middle.
    source = mult_file(tmp_path / "few.pkl", make_dataset(WORLD, 64, 24, 24, 0))
    whole, broken = tmp_path / "whole", tmp_path / "broken"
    assert train(source, whole, *KILLABLE, epochs=NUM_EPOCHS) == 0
    process = in_a_process(source, broken)
    deadline_s = time.monotonic() + 200
    while len(_lines(broken)) < 2 and process.poll() is None:
        assert time.monotonic() < deadline_s
        time.sleep(0.01)
    process.send_signal(signal.SIGKILL)
    assert process.wait(60) == -signal.SIGKILL
    assert 2 <= len(_lines(broken)) < NUM_EPOCHS
    assert not (broken / "checkpoint").exists()
    assert train(source, broken, *KILLABLE, "--resume", epochs=NUM_EPOCHS) == 0
    assert metrics(broken) == metrics(whole)
    for name in ("model.safetensors", "manifest.json"):
        assert digest(broken / "checkpoint" / name) == digest(whole / "checkpoint" / name), name
    # Once more: nothing is left to do, and nothing changes.
    assert train(source, broken, *KILLABLE, "--resume", epochs=NUM_EPOCHS) == 0
    assert digest(broken / "checkpoint" / "manifest.json") == digest(whole / "checkpoint" / "manifest.json")


KILLABLE = ("--set", "modality_dropout=0.3", "--set", "plateau_patience=1")
"""Modality dropout and a rate that falls, so that chance and the schedule's count must be as they were."""


NUM_EPOCHS = 30


def in_a_process(source: Path, out: Path) -> "subprocess.Popen[bytes]":
    """The real command."""
    arguments = [
        "train",
        str(source),
        "--out",
        str(out),
        *SETTINGS,
        "--set",
        f"num_epochs={NUM_EPOCHS}",
        *KILLABLE,
    ]
    return subprocess.Popen(
        [sys.executable, "-c", "from workers.cli import main; main()", *arguments],
        stderr=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
    )


def _lines(folder: Path) -> list[str]:
    path = folder / "metrics.jsonl"
    return path.read_text().splitlines() if path.is_file() else []


def digest(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


def test_a_run_is_neither_overwritten_nor_resumed_as_another(
    source: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert train(source, tmp_path, epochs=1) == 0
    capsys.readouterr()
    assert train(source, tmp_path, epochs=1) == 2
    assert "holds a run already: add --resume" in capsys.readouterr().err
    before = (tmp_path / "run.json").read_bytes()
    assert train(source, tmp_path, "--resume", "--set", "learning_rate=0.5") == 2
    assert "is of another run (learning_rate: 0.004 there, 0.5 here)" in capsys.readouterr().err
    for setting, message in (
        ("residual_dropout=0.5", "residual_dropout: 0.1 there, 0.5 here"),
        ("num_heads=4", "num_heads: 2 there, 4 here"),
        ("kernel_size.audio=5", "kernel_size.audio: None there, 5 here"),
    ):
        assert train(source, tmp_path, "--resume", "--set", setting) == 2
        assert f"is of another run ({message})" in capsys.readouterr().err
    assert (tmp_path / "run.json").read_bytes() == before


@pytest.mark.parametrize("model", ["hct-dmg", "lf-lstm"])
def test_features_of_another_extractor_than_it_was_trained_on_are_not_scored(
    model: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder, out = own_set(tmp_path / "features", small_world()), tmp_path / "run"
    settings = SETTINGS if model == "hct-dmg" else []
    arguments = ["train", str(folder), "--out", str(out), "--model", model, *settings]
    assert run([*arguments, "--set", "num_epochs=1"]) == 0
    assert run(["evaluate", str(out), str(folder)]) == 0
    path = folder / "features.json"
    path.write_text(path.read_text().replace('"extractor": "haar-smile",', '"extractor": "haar-frown",'))
    capsys.readouterr()
    assert run(["evaluate", str(out), str(folder)]) == 2
    assert "vision.extractor: 'haar-smile' != 'haar-frown'" in capsys.readouterr().err


def test_a_checkpoint_of_a_public_data_set_is_not_served(
    source: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert train(source, tmp_path / "run", epochs=1) == 0
    assert "It can be evaluated, not served" in capsys.readouterr().out
    (clip,) = draw_clips(tmp_path, SCRIPTS[:1])
    assert run(["analyze", str(clip.path), "--checkpoint", str(tmp_path / "run" / "checkpoint")]) == 2
    err = capsys.readouterr().err
    assert err.count("\n") == 1
    assert "trained on ready-made features" in err
    assert "it can be evaluated, not served" in err


@pytest.mark.parametrize("task", ["regression", "classes"])
def test_a_checkpoint_of_own_features_is_served_as_it_is(
    task: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    data = small_world() if task == "regression" else as_classes(small_world())
    folder = own_set(tmp_path / "features", data, task, data.label_names)
    assert train(folder, tmp_path / "run", epochs=1) == 0
    assert "preset own" in capsys.readouterr().err
    (clip,) = draw_clips(tmp_path, SCRIPTS[:1])
    checkpoint = tmp_path / "run" / "checkpoint"
    assert run(["analyze", str(clip.path), "--checkpoint", str(checkpoint), "--json"]) == 0
    events = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert {event["model"]["checkpoint_sha256"] for event in events} == {
        load_checkpoint(str(checkpoint)).sha256
    }
    if task == "classes":
        assert {event["affect"]["label"] for event in events} <= {*data.label_names}
        assert sum(events[0]["affect"]["emotions"].values()) == pytest.approx(1)
    else:
        assert -3 <= events[0]["affect"]["sentiment"]["score"] <= 3


def test_own_features_of_another_version_are_refused_by_the_worker(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = own_set(tmp_path / "features", small_world())
    path = folder / "features.json"
    path.write_text(path.read_text().replace('"extractor": "haar-smile",', '"extractor": "haar-frown",'))
    assert train(folder, tmp_path / "run", epochs=1) == 0
    capsys.readouterr()
    (clip,) = draw_clips(tmp_path, SCRIPTS[:1])
    assert run(["analyze", str(clip.path), "--checkpoint", str(tmp_path / "run" / "checkpoint")]) == 2
    assert "vision: this version has no extractor 'haar-frown'" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("options", "status", "message"),
    [
        (["--model", "multt"], 2, "no model 'multt'; did you mean mult?"),
        (["--preset", "mose"], 2, "no preset 'mose'; did you mean mos"),
        (["--set", "num_epoch=3"], 2, "no setting 'num_epoch'; did you mean num_epochs?"),
        (["--set", "num_epochs"], 2, "--set num_epochs: KEY=VALUE is needed"),
        (["--set", "num_epochs=many"], 2, "num_epochs: Input should be a valid integer"),
        (["--set", "dim=[1"], 2, "--set dim=[1: the value is no YAML"),
        (["--set", "dim=7"], 2, "dim is 7"),
        (["--set", "attention_dropout=1.5"], 2, "attention_dropout is 1.5"),
        (["--set", "amp=true"], 2, "amp is for a GPU: leave it out, or set device=cuda"),
        (["--set", "kernel_size.text=2"], 2, "kernel_size is 2"),
        (["--set", "kernel_size.smell=3"], 2, "no setting 'kernel_size.smell'"),
        (["--model", "mult"], 2, "only hct-dmg has this setting"),
        (["--set", "learning_rate=1e30"], 1, "lower learning_rate"),
    ],
)
def test_what_can_not_be_is_one_line(
    options: list[str],
    status: int,
    message: str,
    source: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert train(source, tmp_path, *options) == status
    errors = [line for line in capsys.readouterr().err.splitlines() if line.startswith("error:")]
    assert len(errors) == 1
    assert message in errors[0]
    assert not (tmp_path / "checkpoint").exists()


@pytest.mark.parametrize(
    ("setting", "message"),
    [
        ("kernel_size.text=5", "kernel_size.text: ef-lstm has no convolution"),
        ("unimodal_weight=7", "unimodal_weight: only hct-dmg has this setting"),
        ("unimodal_weighting=gate", "unimodal_weighting: only hct-dmg has this setting"),
        ("unimodal_truth=sample", "unimodal_truth: only hct-dmg has this setting"),
        ("gate_freeze_epochs=3", "gate_freeze_epochs: only hct-dmg has this setting"),
    ],
)
def test_a_peer_refuses_a_setting_that_would_do_nothing(
    setting: str, message: str, source: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    arguments = ["train", str(source), "--out", str(tmp_path / "run"), "--model", "ef-lstm"]
    assert run([*arguments, "--set", setting, "--set", "num_epochs=1"]) == 2
    assert message in capsys.readouterr().err


def test_kernels_are_set_of_the_models_that_have_convolutions() -> None:
    data = small_world()
    for name in NAMES:
        has_some = any(isinstance(one, torch.nn.Conv1d) for one in build_network(name, data, 1).modules())
        assert has_some == (name in CONVOLUTIONAL), name
        recipe = make_recipe(name, "mosi", [], data)
        assert bool(recipe.kernel_sizes) == has_some, name


def test_data_that_can_not_be_used_is_one_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    hostile, empty = tmp_path / "hostile.pkl", tmp_path / "empty.pkl"
    hostile.write_bytes(b"cposix\nsystem\n(S'true'\ntR.")
    empty.write_bytes(b"")
    nothing = own_set(
        tmp_path / "features",
        dataclasses.replace(small_world(), splits={"train": small_world().splits["train"]}),
    )
    for source, message in (
        (hostile, "it calls posix.system"),
        (empty, "is damaged"),
        (tmp_path / "nowhere.pkl", "there is no such file or folder"),
        (tmp_path, "features.json"),
        (nothing, "valid: none of 0 samples has any modality"),
    ):
        assert train(source, tmp_path / "run") in (1, 2)
        assert message in capsys.readouterr().err
        assert not (tmp_path / "run" / "checkpoint").exists()


def test_a_folder_that_can_not_be_made_is_one_line(source: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert train(source, Path("/proc/nope/x"), epochs=1) == 2
    assert capsys.readouterr().err.splitlines()[-1].startswith("error: --out /proc/nope/x: No such file")


def test_without_the_extra_the_command_says_which_it_needs(tmp_path: Path) -> None:
    code = "import sys; sys.modules['scipy'] = None; from workers.cli import main; main()"
    command = [sys.executable, "-c", code, "train", "synthetic", "--out", str(tmp_path)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 2
    assert done.stderr.splitlines()[-1].startswith("error: this needs scipy")
    assert done.stderr.endswith(": pip install 'hctdmg[train]'\n")


def test_four_emotions_take_their_preset_and_a_peer_its_own_form(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    source = mult_file(tmp_path / "iemocap_data.pkl", small_world(), emotions=True)
    out = tmp_path / "run"
    assert run(["train", str(source), "--out", str(out), "--model", "lf-lstm", "--set", "num_epochs=1"]) == 0
    assert "lf-lstm, preset iemocap" in capsys.readouterr().err
    manifest = json.loads((out / "checkpoint" / "manifest.json").read_text())
    assert (manifest["format"], manifest["model"], manifest["num_outputs"]) == ("hctdmg-peer", "lf-lstm", 4)
    (clip,) = draw_clips(tmp_path, SCRIPTS[:1])
    assert run(["analyze", str(clip.path), "--checkpoint", str(out / "checkpoint")]) == 2
    assert "holds 'lf-lstm', a model to compare HCT-DMG with" in capsys.readouterr().err
