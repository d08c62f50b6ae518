from dataclasses import replace
from pathlib import Path

import pytest

from hctdmg.checkpoint import load_checkpoint, save_checkpoint
from pipelines.errors import ConfigError
from tests.checkpoints import save_random_checkpoint
from workers.app import build_app, preflight
from workers.cli import run
from workers.config import KafkaConfig, ModelSettings, Settings
from workers.embedded import API_VERSION, EmbeddedBroker

TOPICS = {"video.segments": 1, "affect.events": 1, "video.segments.dlq": 1}


def settings(broker: EmbeddedBroker, checkpoint: Path) -> Settings:
    kafka = KafkaConfig(bootstrap_servers=broker.bootstrap_servers, api_version=API_VERSION)
    return Settings(kafka=kafka, model=ModelSettings(checkpoint=str(checkpoint)))


def test_with_broker_topics_and_checkpoint_it_may_start(tmp_path: Path) -> None:
    checkpoint = save_random_checkpoint(tmp_path)
    with EmbeddedBroker(TOPICS) as broker:
        preflight(settings(broker, checkpoint))
        build_app(settings(broker, checkpoint).model_dump())


def test_what_is_missing_or_does_not_fit_is_told_in_one_line(tmp_path: Path) -> None:
    checkpoint = save_random_checkpoint(tmp_path / "good")
    with EmbeddedBroker(TOPICS) as broker:
        for broken, what in (
            (settings(broker, tmp_path / "none"), "none"),
            (settings(broker, damaged(checkpoint, tmp_path / "damaged")), "damaged"),
            (settings(broker, foreign(checkpoint, tmp_path / "foreign")), "audio.version"),
        ):
            with pytest.raises(ConfigError, match=what) as caught:
                preflight(broken)
            assert "\n" not in str(caught.value)


def damaged(checkpoint: Path, folder: Path) -> Path:
    folder.mkdir()
    (folder / "manifest.json").write_bytes((checkpoint / "manifest.json").read_bytes())
    (folder / "model.safetensors").write_bytes((checkpoint / "model.safetensors").read_bytes()[:-8])
    return folder


def foreign(checkpoint: Path, folder: Path) -> Path:
    """A checkpoint that was trained on another version's audio features."""
    loaded = load_checkpoint(str(checkpoint))
    contract = loaded.manifest.features
    audio = replace(contract.modalities["audio"], version="0.0")
    features = replace(contract, modalities={**contract.modalities, "audio": audio})
    save_checkpoint(folder, loaded.model, replace(loaded.manifest, features=features))
    return folder


@pytest.mark.parametrize(
    ("override", "what"),
    [
        ("kafka.bootstrap_servers=127.0.0.1:1", "127.0.0.1:1"),
        ("kafka.group=mine", "group_id"),
        ("flow.max_attempts=many", "flow.max_attempts"),
    ],
)
def test_hctdmg_run_tells_it_before_anything_starts(
    override: str, what: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(["run", "--set", override]) == 2
    captured = capsys.readouterr()
    assert captured.out == ""
    (error,) = [line for line in captured.err.splitlines() if line.startswith("error:")]
    assert error.startswith("error: ")
    assert what in error
