"""The command `hctdmg doctor`: is everything here that the worker needs, and if not, what to do.

Knows what to look at. Changes nothing and leaves nothing running.
"""

import importlib
import importlib.metadata
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from typing import Literal

from rich.console import Console
from rich.table import Table

from hctdmg.checkpoint import Checkpoint, load_checkpoint
from hctdmg.manifest import CheckpointError
from pipelines.errors import ConfigError
from workers.config import Settings
from workers.handshake import BrokerError
from workers.output import EXIT_FAILURE, print_json, working

Status = Literal["ok", "warn", "fail"]

NEEDED_DECODERS = ("h264", "aac", "mpeg1video", "mpeg2video", "mpeg4", "mp2", "mp3", "flac", "pcm_s16le")
OTHER_DECODERS = ("hevc", "vp8", "vp9", "av1", "opus", "vorbis")
STYLES = {"ok": "green", "warn": "yellow", "fail": "bold red"}
REINSTALL = "make setup, or in the repository: pip install --force-reinstall ."


@dataclass(frozen=True)
class Finding:
    """One thing that was looked at.

    Attributes:
        name: What.
        status: "fail" only for what the worker can't do without.
        detail: What was found.
        fix: What to do about it; None when it is ok.
    """

    name: str
    status: Status
    detail: str
    fix: str | None = None


def doctor(settings: Settings, with_broker: bool, as_json: bool) -> int:
    """Run the command.

    Args:
        settings: Which checkpoint, which broker.
        with_broker: Whether to look at the broker too.
        as_json: Findings as JSON lines instead of a table.

    Returns:
        The exit status: 1 when something needed is missing.
    """
    findings = []
    with working("looking"):
        for finding in examine(settings, with_broker):
            findings.append(finding)
            if as_json:
                print_json(asdict(finding))
    if not as_json:
        Console().print(_table(findings))
    return EXIT_FAILURE if any(finding.status == "fail" for finding in findings) else 0


def examine(settings: Settings, with_broker: bool) -> Iterator[Finding]:
    """Look at one thing after the other."""
    yield python()
    yield packages()
    yield decoders()
    yield from checkpoint(settings.model.checkpoint)
    yield ray()
    yield gpu(settings.model.device)
    if settings.model.backend == "triton":
        yield triton(settings)
    yield java()
    if with_broker:
        yield broker(settings)


def python() -> Finding:
    """The interpreter's version."""
    version = ".".join(map(str, sys.version_info[:3]))
    if (3, 11) <= sys.version_info[:2] < (3, 14):
        return Finding("python", "ok", version)
    return Finding("python", "fail", version, "use Python 3.11, 3.12 or 3.13")


def packages() -> Finding:
    """Whether every package that we depend on is installed, in a version that we know."""
    from packaging.requirements import Requirement

    wrong = []
    for line in importlib.metadata.requires("hctdmg") or ():
        requirement = Requirement(line)
        if requirement.marker is not None and not requirement.marker.evaluate({"extra": ""}):
            continue
        try:
            version = importlib.metadata.version(requirement.name)
        except importlib.metadata.PackageNotFoundError:
            wrong.append(f"{requirement.name} is missing")
            continue
        if not requirement.specifier.contains(version, prereleases=True):
            wrong.append(f"{requirement.name} is {version}, needed is {requirement.specifier}")
    if wrong:
        return Finding(
            "packages", "fail", "; ".join(wrong), "make setup, or in the repository: pip install -U ."
        )
    shown = ", ".join(f"{name} {importlib.metadata.version(name)}" for name in ("torch", "ray", "av"))
    return Finding("packages", "ok", shown)


def decoders() -> Finding:
    """Which codecs PyAV can read."""
    import av

    missing = [name for name in (*NEEDED_DECODERS, *OTHER_DECODERS) if name not in av.codecs_available]
    if set(missing) & set(NEEDED_DECODERS):
        return Finding(
            "decoders", "fail", f"PyAV lacks {', '.join(missing)}", "pip install --force-reinstall av"
        )
    if missing:
        return Finding("decoders", "warn", f"PyAV lacks {', '.join(missing)}", "convert such videos to H.264")
    return Finding("decoders", "ok", f"{len(NEEDED_DECODERS) + len(OTHER_DECODERS)} of the usual ones")


def checkpoint(name: str) -> Iterator[Finding]:
    """Whether the checkpoint loads, each of its extractors starts, and they agree about the features."""
    try:
        loaded = load_checkpoint(name)
    except CheckpointError as error:
        yield Finding(
            "checkpoint", "fail", str(error), "name a shipped checkpoint or a folder that holds one"
        )
        return
    manifest = loaded.manifest
    yield Finding("checkpoint", "ok", f"{manifest.name} {manifest.version}, sha256 {loaded.sha256[:12]}")
    found = list(extractors(loaded))
    yield from found
    if all(finding.status == "ok" for finding in found):
        yield contract(loaded)


def extractors(loaded: Checkpoint) -> Iterator[Finding]:
    """Whether each extractor finds what it needs (token vectors, cascades)."""
    from pipelines.features import Extractor
    from pipelines.prepare import EXTRACTORS

    for modality, wanted in loaded.manifest.features.modalities.items():
        name = f"extractor {wanted.extractor} ({modality})"
        make = EXTRACTORS.get(wanted.extractor)
        if make is None:
            known = ", ".join(EXTRACTORS)
            yield Finding(
                name, "fail", f"this version has only {known}", "use a checkpoint trained on features of one"
            )
            continue

        def width(make: Callable[[], Extractor] = make) -> str:
            return f"{make().contract.width} features a step"

        yield _try(name, width, REINSTALL)


def contract(loaded: Checkpoint) -> Finding:
    """Whether the extractors make the features that the checkpoint was trained on."""
    from pipelines.prepare import extractor_contract

    wanted = loaded.manifest.features
    names = {name: modality.extractor for name, modality in wanted.modalities.items()}
    differences = wanted.differences(extractor_contract(names, wanted.alignment))
    if differences:
        fix = "use the version of hctdmg that the checkpoint was made with, or train anew"
        return Finding("feature contract", "fail", "; ".join(differences), fix)
    return Finding("feature contract", "ok", "the extractors match the checkpoint")


def ray() -> Finding:
    """Whether Ray Serve can be imported."""

    def version() -> str:
        importlib.import_module("ray.serve")
        return importlib.metadata.version("ray")

    return _try("ray serve", version, "pip install --force-reinstall 'ray[serve]'")


def gpu(device: str) -> Finding:
    """Whether there is a GPU; needed only when the settings ask for one."""
    import torch

    if torch.cuda.is_available():
        return Finding("gpu", "ok", torch.cuda.get_device_name())
    if device.startswith("cuda"):
        fix = "set model.device to auto or cpu, or install the GPU's driver"
        return Finding("gpu", "fail", f"model.device is {device}, but torch finds no GPU", fix)
    return Finding("gpu", "ok", "none; the model runs on the CPU")


def java() -> Finding:
    """Whether the tests on a real Kafka can run; the worker needs no Java."""
    missing = [program for program in ("java", "mvn") if shutil.which(program) is None]
    if missing:
        fix = "only for the tests: install a Java 17 runtime and Maven"
        return Finding(
            "java", "warn", f"no {' and no '.join(missing)}: tests on a real Kafka are skipped", fix
        )
    answer = subprocess.run(["java", "-version"], capture_output=True, text=True, check=False, timeout=30)  # noqa: S607
    lines = (answer.stderr or answer.stdout).splitlines()
    return Finding("java", "ok", f"{lines[0] if lines else 'java'} (only the tests need it)")


def broker(settings: Settings) -> Finding:
    """Whether the broker answers, lets us in, has the topics, and grants what the worker needs."""
    from workers.kafka import check_broker

    kafka = settings.kafka

    def check() -> str:
        check_broker(kafka)
        topics = ", ".join((kafka.input_topic, kafka.output_topic, kafka.dead_letter_topic))
        way = kafka.security.sasl_mechanism
        log_in = kafka.security.protocol if way is None else f"{kafka.security.protocol}, {way}"
        return f"{kafka.bootstrap_servers} ({log_in}) has {topics} and lets the worker use them"

    return _try("broker", check, "correct the settings")


def triton(settings: Settings) -> Finding:
    """Whether the model server answers and serves our checkpoint."""

    def check() -> str:
        from workers.triton import check_server

        return check_server(settings.model, load_checkpoint(settings.model.checkpoint))

    return _try("triton", check, "start the server on an export of the checkpoint, or correct model.triton")


def _try(name: str, check: Callable[[], str], fix: str) -> Finding:
    """A check that fails with whatever the part under examination raises."""
    try:
        return Finding(name, "ok", check())
    except BrokerError as error:
        return Finding(name, "fail", error.what, error.fix)
    except ConfigError as error:
        return Finding(name, "fail", str(error), fix)
    except Exception as error:  # noqa: BLE001 - whatever is wrong with it, the user wants to hear it
        return Finding(name, "fail", f"{type(error).__name__}: {error}", fix)


def _table(findings: list[Finding]) -> Table:
    table = Table(box=None, show_header=False, padding=(0, 2, 0, 0))
    for finding in findings:
        style = STYLES[finding.status]
        detail = (
            finding.detail if finding.fix is None else f"{finding.detail}\n[bold]fix:[/bold] {finding.fix}"
        )
        table.add_row(f"[{style}]{finding.status}[/{style}]", finding.name, detail)
    return table
