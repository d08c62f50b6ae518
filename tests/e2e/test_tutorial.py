"""The tutorial's commands, as they stand on its page, lead from a manifest to events of the new checkpoint."""

import json
import os
import re
import shlex
import subprocess
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import jsonschema
import pytest

import pipelines.schemas
from hctdmg.data.own import load_features

REPO = Path(__file__).parent.parent.parent
PAGE = (REPO / "docs" / "tutorial.md").read_text(encoding="utf-8")
COMMANDS = [
    line
    for block in re.findall(r"^```sh\n(.*?)^```$", PAGE, re.MULTILINE | re.DOTALL)
    for line in block.splitlines()
]
SCHEMA = json.loads((Path(pipelines.schemas.__file__).parent / "affect-event-1.0.json").read_text())


@dataclass(frozen=True)
class Ran:
    command: str
    status: int
    out: str
    err: str


def run(command: Sequence[str], folder: Path) -> Ran:
    path = os.pathsep.join((str(Path(sys.executable).parent), os.environ["PATH"]))
    # COLUMNS: tables as wide as on the page, whatever terminal the tests run in.
    environment = os.environ | {"PATH": path, "PYTHONPATH": str(REPO), "COLUMNS": "120"}
    done = subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, timeout=600)
    return Ran(shlex.join(command), done.returncode, done.stdout, done.stderr)


@dataclass(frozen=True)
class Walk:
    folder: Path
    steps: list[Ran]

    def out(self, words: str) -> str:
        """What the one command with these words printed."""
        (step,) = (step for step in self.steps if words in step.command)
        return step.out


@pytest.fixture(scope="module")
def walk(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Walk]:
    folder = tmp_path_factory.mktemp("tutorial")
    steps: list[Ran] = []
    for command in COMMANDS:
        steps.append(run(shlex.split(command), folder))
        assert steps[-1].status == 0, (command, steps[-1].err)
    yield Walk(folder, steps)


@pytest.mark.e2e
@pytest.mark.timeout(1200)
def test_every_command_of_the_page_works_in_its_order(walk: Walk) -> None:
    names = [" ".join(step.command.split()[:2]) for step in walk.steps]
    order = [
        "python -m",
        "hctdmg extract",
        "hctdmg train",
        "hctdmg evaluate",
        "hctdmg analyze",
        "hctdmg demo",
    ]
    assert [names.index(name) for name in order] == sorted(names.index(name) for name in order)
    features = load_features(walk.folder / "features")
    splits = [example.split for example in features.examples]
    assert [splits.count(name) for name in ("train", "valid", "test")] == [18, 6, 6]
    # Words, a voice and a face in every clip: else the tutorial would teach less than it says.
    assert all(min(example.stored.num_steps.values()) > 0 for example in features.examples)
    assert (walk.folder / "report" / "report.html").is_file()


@pytest.mark.e2e
@pytest.mark.timeout(1200)
def test_the_new_checkpoint_answers_in_events_of_the_schema(walk: Walk) -> None:
    (line,) = walk.out("--json").splitlines()
    event = json.loads(line)
    jsonschema.validate(event, SCHEMA)
    assert event["model"]["name"] != "hct-dmg-starter"
    assert event["affect"]["label"] == "positive"
    assert event["affect"]["sentiment"]["score"] > 1
    assert all(one["present"] for one in event["modalities"].values())
    assert re.search(r"june-displea\S* +0 +negative", walk.out("hctdmg demo"))


@pytest.mark.e2e
@pytest.mark.timeout(1200)
def test_a_checkpoint_that_needs_another_extractor_is_refused_in_one_line(walk: Walk) -> None:
    manifest = walk.folder / "run" / "checkpoint" / "manifest.json"
    text = manifest.read_text()
    value = json.loads(text)
    value["features"]["modalities"]["vision"]["settings"]["smile_prior"]["mean"] += 0.25
    manifest.write_text(json.dumps(value))
    try:
        refused = run(
            ["hctdmg", "analyze", "clips/june-pleased.mp4", "--checkpoint", "run/checkpoint"], walk.folder
        )
    finally:
        manifest.write_text(text)
    assert refused.status == 2
    assert refused.out == ""
    assert refused.err.count("\n") == 1
    assert refused.err.startswith("error: the checkpoint needs other features than this version extracts")
    assert "vision.settings" in refused.err
