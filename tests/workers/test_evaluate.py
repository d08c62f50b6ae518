"""`hctdmg evaluate`: the figures are those of the scores themselves, whatever the checkpoint and the labels."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from sklearn.metrics import accuracy_score, f1_score

from hctdmg.checkpoint import load_checkpoint
from hctdmg.data.fingerprint import fingerprint
from hctdmg.data.read import read_dataset
from hctdmg.data.scale import on_cmu_scale
from hctdmg.training.network import predict_split
from hctdmg.training.peer_checkpoint import load_peer
from hctdmg.training.scores import sentiment_scores
from tests.hctdmg.test_page import read_page
from tests.small_data import SETTINGS, mult_file, sims_file, small_world
from workers.cli import run

Json = dict[str, Any]
QUICK = ("--set", "num_epochs=2", "--set", "num_threads=1")


def evaluate(capsys: pytest.CaptureFixture[str], *arguments: str | Path) -> Json:
    capsys.readouterr()
    assert run(["evaluate", *map(str, arguments), "--json"]) == 0
    (line,) = capsys.readouterr().out.splitlines()
    record: Json = json.loads(line)
    return record


@pytest.fixture(scope="module")
def sims(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """A file as CH-SIMS', and a run on it."""
    folder = tmp_path_factory.mktemp("sims")
    source = sims_file(folder / "sims.pkl", small_world())
    assert run(["train", str(source), "--out", str(folder / "run"), *SETTINGS, "--set", "num_epochs=20"]) == 0
    return source, folder / "run"


def test_figures_are_those_of_the_scores_and_the_page_shows_them(
    sims: tuple[Path, Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    source, folder = sims
    record = evaluate(capsys, folder, source, "--out", tmp_path / "report")
    split = on_cmu_scale(read_dataset(source)).splits["test"]
    assert abs(split.labels_NK).max() > 2  # stretched from [-1, 1]
    loaded = load_checkpoint(str(folder / "checkpoint"))
    predicted_N = predict_split(loaded.model, split)[:, 0].astype(np.float64)
    truth_N = split.labels_NK[:, 0].astype(np.float64)
    for name, expected in sentiment_scores(predicted_N, truth_N).items():
        found = record["scores"][name]
        assert (found["value"], found["floor"]) == (expected.value, expected.floor), name
        assert found["lower"] <= found["value"] <= found["upper"], name
    assert record["scores"]["mae"]["value"] == pytest.approx(np.abs(predicted_N - truth_N).mean())
    assert record["scores"]["mae"]["value"] < record["scores"]["mae"]["floor"]
    assert json.loads((tmp_path / "report" / "report.json").read_text()) == record
    page = read_page(tmp_path / "report" / "report.html")
    assert page.found == []
    # One file has one digest, on whatever scale its labels are.
    trained_on = json.loads((folder / "run.json").read_text())["data"]["sha256"]
    assert record["data"]["sha256"] == trained_on == fingerprint(read_dataset(source))
    mae = f"{record['scores']['mae']['value']:.4g}"
    needed = {mae, loaded.sha256, record["data"]["sha256"], str(source), "recipe.fit.seed", "1111"}
    assert needed <= set(page.text)
    assert any("stretched to run from -3 to 3" in text for text in page.text)


def test_the_flag_is_held_against_peoples_labels_of_each_modality(
    sims: tuple[Path, Path], capsys: pytest.CaptureFixture[str]
) -> None:
    source, folder = sims
    flags = evaluate(capsys, folder, source)["incongruity"]
    split = on_cmu_scale(read_dataset(source)).splits["test"]
    shown = [
        [float(split.unimodal[name][row]) for name in split.unimodal if split.masks[name][row].any()]
        for row in range(split.num_samples)
    ]
    assert flags["num_contradicting"] == sum(min(one) < -0.5 and max(one) > 0.5 for one in shown) > 0
    assert flags["num_samples"] == 96
    assert flags["auroc"]["lower"] <= flags["auroc"]["value"] <= flags["auroc"]["upper"]
    assert flags["auroc"]["value"] > 0.65
    assert flags["readings"]["text"]["right"] > 0.7
    assert flags["readings"]["text"]["r"] > 0.8
    assert 0 <= flags["insufficient_share"] < 1
    calibration = load_checkpoint(str(folder / "checkpoint")).manifest.calibration
    assert flags["threshold"] == calibration.incongruity_threshold
    assert calibration.false_positive_rate == 0.05
    valid = evaluate(capsys, folder, source, "--split", "valid")["incongruity"]
    assert valid["false_positive_rate"] <= 0.05


def test_without_peoples_labels_of_the_modalities_nothing_is_said_of_the_flag(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    source = mult_file(tmp_path / "mosi.pkl", small_world())
    assert (
        run(["train", str(source), "--out", str(tmp_path / "run"), *SETTINGS, "--set", "num_epochs=1"]) == 0
    )
    assert run(["evaluate", str(tmp_path / "run"), str(source), "--out", str(tmp_path / "report")]) == 0
    out = capsys.readouterr().out
    assert json.loads((tmp_path / "report" / "report.json").read_text())["incongruity"] is None
    assert "acc2_nonzero" in out
    assert "incongruity" not in out


def test_a_peers_emotions_are_scored_with_intervals(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    source = mult_file(tmp_path / "iemocap.pkl", small_world(), emotions=True)
    assert run(["train", str(source), "--out", str(tmp_path / "run"), "--model", "ef-lstm", *QUICK]) == 0
    record = evaluate(capsys, tmp_path / "run" / "checkpoint", source, "--out", tmp_path / "report")
    network, _, sha256 = load_peer(tmp_path / "run" / "checkpoint")
    split = read_dataset(source).splits["test"]
    predicted_NK = predict_split(network, split) > 0
    assert record["checkpoint"] == {"name": "ef-lstm", "sha256": sha256}
    for column, name in enumerate(("neutral", "happy", "sad", "angry")):
        truth_N = split.labels_NK[:, column] > 0.5
        accuracy, f1 = record["scores"][f"{name} accuracy"], record["scores"][f"{name} f1"]
        assert accuracy["value"] == pytest.approx(accuracy_score(truth_N, predicted_NK[:, column]))
        assert f1["value"] == pytest.approx(f1_score(truth_N, predicted_NK[:, column], average="weighted"))
        assert accuracy["floor"] == pytest.approx(max(truth_N.mean(), 1 - truth_N.mean()))
        assert accuracy["lower"] <= accuracy["value"] <= accuracy["upper"]
        assert f1["lower"] <= f1["value"] <= f1["upper"]
    assert read_page(tmp_path / "report" / "report.html").found == []


def test_what_does_not_fit_is_one_line(
    sims: tuple[Path, Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    source, folder = sims
    damaged = tmp_path / "damaged"
    damaged.mkdir()
    (damaged / "manifest.json").write_text('{"format": "hctdmg-peer"}')
    emotions = mult_file(tmp_path / "emotions.pkl", small_world(), emotions=True)
    for arguments, message in (
        ([folder, emotions], "the checkpoint answers with sentiment, the data is labelled with neutral"),
        (["hct-dmg-starter", source], "the checkpoint needs widths"),
        ([damaged, source], "missing key"),
        (["nowhere", source], "no checkpoint 'nowhere'"),
        ([folder, tmp_path / "nothing.pkl"], "there is no such file or folder"),
    ):
        capsys.readouterr()
        assert run(["evaluate", *map(str, arguments)]) == 2
        captured = capsys.readouterr()
        assert captured.out == ""
        (error,) = [line for line in captured.err.splitlines() if not line.startswith("warning:")]
        assert error.startswith("error:")
        assert message in error
