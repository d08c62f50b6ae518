"""Fixtures that every room's tests share: test media, a real Kafka, and what must not be skipped in CI."""

import os
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from tests.kafka_broker import KafkaBroker, KafkaMissingError, running_kafka

REPO = Path(__file__).parent.parent


def skip_or_fail(reason: str) -> None:
    """Skip where a real part is missing; in CI, where nothing may be missing, fail."""
    if os.environ.get("CI") == "true":
        pytest.fail(f"CI must run this: {reason}")
    pytest.skip(reason)


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
