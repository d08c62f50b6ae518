"""How long the segments of three partitions take while the fourth is held by slow or poisonous ones.

    python -m tests.bench.isolation        # prints the table, writes docs/results/isolation.json and .md

The whole application on a real Apache Kafka, with two extractors, a random model and cheap segments, so that
waiting and not computing is what is seen. Latency: from the input message's time to its event's.
"""

import argparse
import json
import math
import os
import platform
import socket
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from unittest import mock

from kafka.consumer.fetcher import ConsumerRecord

from pipelines.events import AffectEvent
from tests.checkpoints import save_random_checkpoint
from tests.kafka_broker import running_kafka
from tests.segments import by_reference, configured, inline
from tests.topics import Message, Topics, make_topics, wait_until
from workers import config_file
from workers.run import running

RESULTS = Path(__file__).parent.parent.parent / "docs" / "results"
HELD, OTHERS = 0, (1, 2, 3)
DEADLINE_S = 4.0
NUM_HELD = 4
"""Segments that hold their partition, in each scenario."""


@dataclass(frozen=True)
class Scenario:
    """What was seen while the held partition had segments of one kind.

    Attributes:
        name: The kind.
        num_held: Segments in the held partition.
        num_dead_letters: What became dead letters of them.
        held_s: From the first of them until the last is answered; None without any.
        num_others: Segments of the other partitions.
        p50_s: Their median latency.
        p99_s: Their 99th percentile.
        max_s: Their longest.
    """

    name: str
    num_held: int
    num_dead_letters: int
    held_s: float | None
    num_others: int
    p50_s: float
    p99_s: float
    max_s: float


def main() -> int:
    """Measure, print, write."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--seconds", type=float, default=20.0, help="of each scenario")
    parser.add_argument("--rate", type=float, default=5.0, help="segments a second, all others together")
    arguments = parser.parse_args()
    scenarios = measure(arguments.seconds, arguments.rate)
    record = {
        "command": f"python -m tests.bench.isolation --seconds {arguments.seconds:g} --rate {arguments.rate:g}",
        "machine": f"{os.cpu_count()} cores, {platform.machine()}, Python {platform.python_version()}",
        "load_average": round(os.getloadavg()[1], 1),
        "segment_deadline_s": DEADLINE_S,
        "scenarios": [asdict(scenario) for scenario in scenarios],
    }
    table = as_table(record, scenarios)
    (RESULTS / "isolation.json").write_text(json.dumps(record, indent=1) + "\n")
    (RESULTS / "isolation.md").write_text(table)
    print(table)
    return 0


def measure(seconds: float, rate: float) -> list[Scenario]:
    """Start everything, then one scenario after the other."""
    with tempfile.TemporaryDirectory() as name, running_kafka() as broker, _silent_host() as host:
        folder = Path(name)
        topics = make_topics(broker, 1 + len(OTHERS))
        settings = {
            "model.checkpoint": str(save_random_checkpoint(folder / "checkpoint")),
            "media.allowed_schemes": ["http"],
            "media.allowed_hosts": [host],
            "media.fetch_timeout_s": 60.0,
            "flow.segment_deadline_s": DEADLINE_S,
        }
        kinds: dict[str, list[Message]] = {
            "none": [],
            "those whose media do not come": [
                by_reference(HELD, f"slow/{n}", f"http://{host}/{n}") for n in _numbers()
            ],
            "those that hang in an extractor": [inline(HELD, f"hang/{n}") for n in _numbers()],
            "those that kill their extractor": [inline(HELD, f"die/{n}") for n in _numbers()],
            "those that hang or kill, by turns": [
                inline(HELD, f"{'die' if n % 2 else 'hang'}/mixed/{n}") for n in _numbers()
            ],
        }
        with mock.patch.object(config_file, "IMPORT_PATH", "tests.poison:build_app"):
            config = configured(topics, folder, settings)
            with running(config):
                observe(topics, "warm-up", [], 5.0, rate)
                return [observe(topics, kind, held, seconds, rate) for kind, held in kinds.items()]


def observe(topics: Topics, name: str, held: Sequence[Message], seconds: float, rate: float) -> Scenario:
    """One scenario: the held partition's segments first, then the others' at a steady rate."""
    before = {number: offset or 0 for number, offset in topics.committed().items()}
    topics.send(held)
    num_others = int(seconds * rate)
    begun_s = time.monotonic()
    for number in range(num_others):
        time.sleep(max(0.0, begun_s + number / rate - time.monotonic()))
        topics.send([inline(OTHERS[number % len(OTHERS)], f"{name}/{number}", number)])
    wanted = sum(before.values()) + len(held) + num_others
    wait_until(lambda: sum(offset or 0 for offset in topics.committed().values()) == wanted, name, 180)

    sent_ms = {
        (one.partition, one.offset): one.timestamp for one in topics.read(topics.config.input_topic, wanted)
    }
    answered_ms = {
        place: timestamp
        for place, timestamp in [*_events(topics.events(0)), *_letters(topics.dead_letters(0))]
        if place[1] >= before[place[0]]
    }
    waits_s = sorted((ms - sent_ms[place]) / 1000 for place, ms in answered_ms.items() if place[0] != HELD)
    of_held = [place for place in answered_ms if place[0] == HELD]
    held_ms = [answered_ms[place] for place in of_held]
    num_letters = sum(
        place[0] == HELD and place[1] >= before[HELD] for place, _ in _letters(topics.dead_letters(0))
    )
    return Scenario(
        name=name,
        num_held=len(held),
        num_dead_letters=num_letters,
        held_s=(max(held_ms) - min(sent_ms[place] for place in of_held)) / 1000 if of_held else None,
        num_others=len(waits_s),
        p50_s=_percentile(waits_s, 50),
        p99_s=_percentile(waits_s, 99),
        max_s=waits_s[-1],
    )


def as_table(record: dict[str, object], scenarios: Sequence[Scenario]) -> str:
    """The record as Markdown."""
    conditions = (
        f"`{record['command']}`, {record['machine']}, load average {record['load_average']}; "
        f"`flow.segment_deadline_s` {DEADLINE_S:g}. Written by the command."
    )
    lines = [
        "# One partition held, three others",
        "",
        conditions,
        "",
        "| Segments in the held partition | Dead letters | Held for, s | Others | p50, s | p99, s | Longest, s |",
        "|---|---:|---:|---:|---:|---:|---:|",
    ]
    for one in scenarios:
        held = "" if one.held_s is None else f"{one.held_s:.1f}"
        kind = one.name if not one.num_held else f"{one.num_held} of {one.name}"
        lines.append(
            f"| {kind} | {one.num_dead_letters} | {held} | {one.num_others} "
            f"| {one.p50_s:.2f} | {one.p99_s:.2f} | {one.max_s:.2f} |"
        )
    return "\n".join(lines) + "\n"


@contextmanager
def _silent_host() -> Iterator[str]:
    """Host and port where connections are made and nothing is ever said."""
    with socket.socket() as listening:
        listening.bind(("127.0.0.1", 0))
        listening.listen(100)
        yield f"127.0.0.1:{listening.getsockname()[1]}"


def _numbers() -> range:
    return range(NUM_HELD)


def _events(records: Sequence[ConsumerRecord]) -> Iterator[tuple[tuple[int, int], int]]:
    for record in records:
        source = AffectEvent.model_validate_json(record.value).source
        assert source is not None
        yield (source.partition, source.offset), record.timestamp


def _letters(records: Sequence[ConsumerRecord]) -> Iterator[tuple[tuple[int, int], int]]:
    for record in records:
        found = dict(record.headers)
        place = int(found["dlq-source-partition"]), int(found["dlq-source-offset"])
        yield place, record.timestamp


def _percentile(values: Sequence[float], percent: float) -> float:
    """The smallest value that so many percent do not exceed; the values sorted."""
    return values[max(0, math.ceil(len(values) * percent / 100) - 1)]


if __name__ == "__main__":
    sys.exit(main())
