"""The whole application with `model.backend: triton`, on a real server that goes away and comes back."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.conftest import TritonExport
from tests.segments import tone
from tests.triton_server import running_triton
from workers.cli import run
from workers.config_file import SHIPPED, read_config_file
from workers.embedded import API_VERSION, EmbeddedBroker
from workers.run import running

pytestmark = [pytest.mark.e2e, pytest.mark.triton]

TOPICS = {"video.segments": 2, "affect.events": 2, "video.segments.dlq": 2}
SAID = ["--transcript", "I love this, it is wonderful"]


def test_a_worker_on_triton_gives_the_events_of_a_single_process(
    triton_export: TritonExport, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    checkpoint = str(triton_export.checkpoint)
    sounds = [tmp_path / f"{name}.wav" for name in ("before", "meanwhile")]
    for number, sound in enumerate(sounds):
        sound.write_bytes(tone(1.0 + number))
    wanted = []
    for sound in sounds:
        assert run(["analyze", str(sound), *SAID, "--checkpoint", checkpoint, "--json"]) == 0
        wanted += events_of(capsys)

    with (
        EmbeddedBroker(TOPICS) as broker,
        running_triton(triton_export.repository, ["hctdmg"]) as server,
    ):
        settings = [
            f"kafka.bootstrap_servers={broker.bootstrap_servers}",
            f"kafka.api_version='{API_VERSION}'",
            f"media.allowed_roots=[{tmp_path}]",
            f"model.checkpoint={checkpoint}",
            "model.backend=triton",
            f"model.triton.url={server.url}",
            "model.triton.timeout_s=60",
        ]
        options = [option for setting in settings for option in ("--set", setting)]
        submitting = [*SAID, "--segments-dir", str(tmp_path / "segments"), *options]
        watching = ["watch", "--from-beginning", "--timeout-s", "120", "--json", *options, "--max-events"]
        with running(read_config_file(SHIPPED, settings)):
            assert run(["submit", str(sounds[0]), *submitting]) == 0
            assert run([*watching, "1"]) == 0
            server.kill()
            assert run(["submit", str(sounds[1]), *submitting]) == 0
            server.start()
            capsys.readouterr()
            assert run([*watching, "2"]) == 0
    found = sorted(events_of(capsys), key=lambda event: str(event["stream_id"]))
    assert [event["stream_id"] for event in found] == ["before", "meanwhile"]
    for local, remote in zip(wanted, found, strict=True):
        assert remote["model"].pop("backend") == "triton"
        assert local["model"].pop("backend") == "local"
        for part in ("event_id", "affect", "incongruity", "modalities", "model"):
            assert dict(leaves(remote[part])) == pytest.approx(dict(leaves(local[part])), abs=1e-4)


def events_of(capsys: pytest.CaptureFixture[str]) -> list[dict[str, Any]]:
    return [json.loads(line) for line in capsys.readouterr().out.splitlines()]


def leaves(value: object, path: str = "") -> Iterator[tuple[str, Any]]:
    """Everything that is no container, with the way to it."""
    if isinstance(value, dict):
        for key, item in value.items():
            yield from leaves(item, f"{path}.{key}")
    elif isinstance(value, list):
        for index, item in enumerate(value):
            yield from leaves(item, f"{path}.{index}")
    else:
        yield path, value
