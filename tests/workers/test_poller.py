import time

import pytest
from kafka import KafkaConsumer

from tests.kafka_broker import KafkaBroker
from tests.topics import make_topics, wait_until
from workers.kafka import open_consumer
from workers.poller import Poller

pytestmark = pytest.mark.kafka


POLL_S = 0.003
"""As short as a join lasts, so that most joins are over when nobody waits for them."""
MAX_GENERATION = 40
"""Two joins, and a few that ended in the very moment a poll did; more than a hundred where each ends unheard."""


@pytest.mark.parametrize("pause_s", [0.0, 0.05])
def test_a_join_that_outlasts_its_poll_leads_to_partitions_and_not_to_join_after_join(
    kafka_broker: KafkaBroker, pause_s: float
) -> None:
    for _ in range(10):
        config = make_topics(kafka_broker, 2).config
        consumer = open_consumer(config, "impatient", 2**20)
        poller = Poller(consumer)
        consumer.subscribe([config.input_topic])

        def has_partitions(poller: Poller = poller, consumer: KafkaConsumer = consumer) -> bool:
            poller.poll(POLL_S, 1)
            time.sleep(pause_s)  # as when what is finished is published
            return len(consumer.assignment()) == 2

        wait_until(has_partitions, "two partitions", 20)
        assert consumer.group_metadata().generation_id < MAX_GENERATION
        consumer.close(autocommit=False)
