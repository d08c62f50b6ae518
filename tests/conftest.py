"""Fixtures that every room's tests share: test media, a real Kafka, and what must not be skipped in CI."""

import logging
import os
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.checkpoints import save_random_checkpoint
from tests.kafka_broker import KafkaBroker, KafkaMissingError, running_kafka
from tests.secure_kafka import SecureKafka, running_secure_kafka
from tests.triton_server import TritonMissingError, TritonServer, fetch_server, running_triton
from workers.cli import run
from workers.telemetry import OURS

QUIET = logging.NullHandler()
REPO = Path(__file__).parent.parent


def skip_or_fail(reason: str) -> None:
    """Skip where a real part is missing; in CI, where nothing may be missing, fail."""
    if os.environ.get("CI") == "true":
        pytest.fail(f"CI must run this: {reason}")
    pytest.skip(reason)


@pytest.fixture(autouse=True)
def _logging_of_one_test_only() -> Iterator[None]:
    """What a test sets up does not outlive it: clients that it leaves behind would write after pytest's last line."""
    names = [None, *OURS, "kafka"]
    before = {name: logging.getLogger(name).handlers[:] for name in names}
    yield
    for name, handlers in before.items():
        logging.getLogger(name).handlers = handlers
    logging.getLogger("kafka").addHandler(QUIET)


@pytest.fixture(scope="session")
def media_dir() -> Path:
    """Folder with faces/, speech/ and odd/: real files that stay outside the repository."""
    root = Path(os.environ.get("HCTDMG_TEST_MEDIA", REPO.parent / "shared"))
    if not (root / "media" / "faces").is_dir():
        skip_or_fail(f"no test media in {root}: set HCTDMG_TEST_MEDIA to the folder that holds media/")
    return root / "media"


@pytest.fixture(scope="session")
def kafka_broker() -> Iterator[KafkaBroker]:
    """A real Apache Kafka, without topics; each test makes its own."""
    with ExitStack() as stack:
        try:
            broker = stack.enter_context(running_kafka())
        except KafkaMissingError as error:
            skip_or_fail(str(error))
        yield broker


@pytest.fixture(scope="session")
def secure_kafka() -> Iterator[SecureKafka]:
    """A real Apache Kafka with TLS, log-in and ACLs; each test makes its own topics and rights."""
    with ExitStack() as stack:
        try:
            broker = stack.enter_context(running_secure_kafka())
        except KafkaMissingError as error:
            skip_or_fail(str(error))
        yield broker


@dataclass(frozen=True)
class TritonExport:
    """A checkpoint with random weights, and the model repository made from it."""

    checkpoint: Path
    repository: Path


@pytest.fixture(scope="session")
def triton_export(tmp_path_factory: pytest.TempPathFactory) -> TritonExport:
    """What `hctdmg export --format triton` writes."""
    try:
        fetch_server()
    except TritonMissingError as error:
        skip_or_fail(str(error))
    folder = tmp_path_factory.mktemp("triton")
    checkpoint = save_random_checkpoint(folder / "checkpoint")
    assert run(["export", str(checkpoint), "--format", "triton", "--out", str(folder / "models")]) == 0
    return TritonExport(checkpoint, folder / "models")


@pytest.fixture(scope="session")
def triton_server(triton_export: TritonExport) -> Iterator[TritonServer]:
    """A real tritonserver with the export; no test stops it."""
    with running_triton(triton_export.repository, ["hctdmg"]) as server:
        yield server
