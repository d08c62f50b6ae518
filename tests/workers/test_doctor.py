import importlib.metadata
import json
from pathlib import Path

import pytest

from workers.cli import run
from workers.config import KafkaConfig, ModelSettings, Settings
from workers.doctor import Finding, examine
from workers.embedded import API_VERSION, EmbeddedBroker

TOPICS = {"video.segments": 1, "affect.events": 1, "video.segments.dlq": 1}


def look(settings: Settings, with_broker: bool = False) -> dict[str, Finding]:
    return {finding.name: finding for finding in examine(settings, with_broker)}


def test_here_everything_needed_is_there(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["doctor", "--json"]) == 0
    findings = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    names = {finding["name"] for finding in findings}
    assert {"python", "packages", "decoders", "checkpoint", "feature contract", "ray serve", "gpu"} <= names
    assert "broker" not in names
    for finding in findings:
        assert (finding["fix"] is None) == (finding["status"] == "ok")
    assert run(["doctor"]) == 0
    table = capsys.readouterr().out
    assert all(name in table for name in names)


def test_a_missing_checkpoint_fails_with_a_fix(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["doctor", "--set", "model.checkpoint=nowhere", "--json"]) == 1
    findings = {finding["name"]: finding for finding in map(json.loads, capsys.readouterr().out.splitlines())}
    assert findings["checkpoint"]["status"] == "fail"
    assert "nowhere" in findings["checkpoint"]["detail"]
    assert "feature contract" not in findings


def test_a_gpu_is_only_missed_where_the_settings_want_one() -> None:
    import torch

    wanted = look(Settings(model=ModelSettings(device="cuda")))["gpu"]
    assert wanted.status == ("ok" if torch.cuda.is_available() else "fail")
    assert look(Settings())["gpu"].status == "ok"


def test_a_package_of_the_wrong_version_fails(monkeypatch: pytest.MonkeyPatch) -> None:
    needed = ["numpy>=99", "no-such-package", "pytest>=99; extra == 'dev'"]
    monkeypatch.setattr(importlib.metadata, "requires", lambda _: needed)
    found = look(Settings())["packages"]
    assert found.status == "fail"
    assert "numpy is" in found.detail
    assert "no-such-package is missing" in found.detail
    assert "pytest" not in found.detail


def test_programs_that_only_the_tests_need_are_a_warning(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    found = look(Settings())["java"]
    assert found.status == "warn"
    assert found.fix is not None


def test_the_broker_is_looked_at_when_one_is_named() -> None:
    with EmbeddedBroker(TOPICS) as broker:
        kafka = KafkaConfig(bootstrap_servers=broker.bootstrap_servers, api_version=API_VERSION)
        assert look(Settings(kafka=kafka), with_broker=True)["broker"].status == "ok"
        elsewhere = kafka.model_copy(update={"input_topic": "nowhere"})
        found = look(Settings(kafka=elsewhere), with_broker=True)["broker"]
    assert found.status == "fail"
    assert "nowhere" in found.detail
