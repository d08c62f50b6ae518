"""The worker without delivery: fire and forget, no receipts, no commits. The yardstick of `tests.bench.delivery`.

The product has no such mode. A session's publisher is exchanged for one that keeps no promise; the rest is the
worker's own code.
"""

from typing import Any

from kafka import KafkaConsumer, KafkaProducer

import workers.session
from workers.config import KafkaConfig
from workers.kafka import client_options
from workers.publisher import Batch


class Unreliable:
    """In place of `workers.publisher.Publisher`."""

    def __init__(self, config: KafkaConfig, identity: str, consumer: KafkaConsumer) -> None:  # noqa: ARG002
        self._config = config
        self._producer = KafkaProducer(
            **client_options(config), acks=0, enable_idempotence=False, linger_ms=5, metrics_enabled=False
        )

    def publish(self, batch: Batch, *_: Any) -> bool:
        """Hand everything to the client, and look at nothing."""
        for partition, entries in batch.items():
            for entry in entries:
                answer = entry.future.result()
                self._producer.send(
                    self._config.output_topic,
                    key=answer.key,
                    value=answer.value,
                    headers=list(answer.headers),
                    partition=partition,
                )
        return True

    def close(self) -> None:
        """Let go of the connection."""
        self._producer.close(timeout=1.0)


def make_unreliable() -> None:
    """From now on sessions of this process keep no promise."""
    vars(workers.session)["Publisher"] = Unreliable
