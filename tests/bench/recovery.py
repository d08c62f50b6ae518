"""How long until a killed consumer publishes again, at the shipped settings.

    python -m tests.bench.recovery --kills 10     # prints the table, writes docs/results/recovery.json

Starts a real Kafka and the shipped application, keeps cheap segments coming, kills the consumer's process again and
again, and looks for the first event that was sent after each kill and committed. What the workers log goes to stderr.
"""

import argparse
import json
import os
import platform
import random
import signal
import statistics
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from kafka import KafkaConsumer, TopicPartition

from tests.kafka_broker import running_kafka
from tests.segments import configured, inline
from tests.topics import Topics, make_topics, wait_until
from workers.kafka import client_options
from workers.run import Application, running

REPO = Path(__file__).parent.parent.parent
RESULT = REPO / "docs" / "results" / "recovery.json"
NUM_PARTITIONS = 4
RATE_HZ = 20
GIVE_UP_S = 90.0


def main() -> int:
    """Measure, print, write."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--kills", type=int, default=10)
    arguments = parser.parse_args()
    with running_kafka() as broker, tempfile.TemporaryDirectory() as folder:
        topics = make_topics(broker, NUM_PARTITIONS)
        config = configured(topics, Path(folder), {})
        with running(config, relay_logs=True) as application, load(topics):
            recoveries_s = [kill_one(application, topics) for _ in range(arguments.kills)]
    record = {
        "command": f"python -m tests.bench.recovery --kills {arguments.kills}",
        "machine": {"cpus": os.cpu_count(), "system": platform.platform(), "load_1min": os.getloadavg()[0]},
        "recovery_s": [round(one, 2) for one in recoveries_s],
        "median_s": round(statistics.median(recoveries_s), 2),
        "max_s": round(max(recoveries_s), 2),
    }
    RESULT.write_text(json.dumps(record, indent=1) + "\n")
    print(json.dumps(record, indent=1))
    return 0


@contextmanager
def load(topics: Topics) -> Iterator[None]:
    """Segments come at a steady rate while the body runs."""
    over = threading.Event()

    def feed() -> None:
        number = 0
        while not over.wait(1 / RATE_HZ):
            topics.send([inline(number % NUM_PARTITIONS, f"recovery/{number}", number // NUM_PARTITIONS)])
            number += 1

    feeder = threading.Thread(target=feed)
    feeder.start()
    try:
        yield
    finally:
        over.set()
        feeder.join()


def kill_one(application: Application, topics: Topics) -> float:
    """Kill the consumer in mid-stream.

    Returns:
        Seconds until the first event that was sent after that has been committed.
    """
    with reader(topics) as consumer:
        wait_until(lambda: bool(consumer.poll(timeout_ms=100)), "events", GIVE_UP_S)
        (status,) = application.statuses()
        time.sleep(random.uniform(0, 1))  # anywhere between two health checks
        killed_at_s = time.time()
        os.kill(status.pid, signal.SIGKILL)

        def is_back() -> bool:
            batches = consumer.poll(timeout_ms=50)
            return any(one.timestamp / 1000 > killed_at_s for batch in batches.values() for one in batch)

        wait_until(is_back, "an event after the kill", GIVE_UP_S)
        took_s = time.time() - killed_at_s
    print(
        f"killed at {time.strftime('%H:%M:%S', time.localtime(killed_at_s))}: {took_s:.2f} s", file=sys.stderr
    )
    return took_s


@contextmanager
def reader(topics: Topics) -> Iterator[KafkaConsumer]:
    """Of committed events, from now on."""
    consumer = KafkaConsumer(**client_options(topics.config), isolation_level="read_committed")
    places = [TopicPartition(topics.config.output_topic, number) for number in range(NUM_PARTITIONS)]
    consumer.assign(places)
    consumer.seek_to_end(*places)
    try:
        yield consumer
    finally:
        consumer.close()


if __name__ == "__main__":
    sys.exit(main())
