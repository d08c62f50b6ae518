"""The application starts although a replica dies meanwhile: only what Serve gave up is given up."""

from pathlib import Path

import pytest

from tests import frail_app
from tests.checkpoints import save_random_checkpoint
from tests.kafka_broker import KafkaBroker
from tests.segments import configured, inline
from tests.topics import make_topics, wait_until
from workers import config_file
from workers.run import running

pytestmark = [pytest.mark.kafka, pytest.mark.e2e]


def test_a_replica_that_dies_while_others_start_is_waited_for(
    kafka_broker: KafkaBroker, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(config_file, "IMPORT_PATH", frail_app.IMPORT_PATH)
    topics = make_topics(kafka_broker, 1)
    checkpoint = str(save_random_checkpoint(tmp_path / "checkpoint"))
    config = configured(topics, tmp_path, {"model.checkpoint": checkpoint})
    with running(config):
        topics.send([inline(0, "cam/1")])
        wait_until(lambda: topics.committed()[0] == 1, "it is answered", 60)
