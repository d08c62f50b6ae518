"""What delivery costs: exactly-once against at-least-once against none at all, on a real Apache Kafka.

    python -m tests.bench.delivery --out docs/results/delivery.json      # then: python -m tests.bench.delivery_page
    python -m tests.bench.delivery --against ../other-checkout                 # whether a change makes it cheaper
    python -m tests.bench.delivery --profile                                   # where a session's CPU time goes

First a session alone, whose segments are answered at once: the cost of delivery itself. Then the whole
application with cheap real segments (0.3 s of a tone). "None" is fire and forget (`tests.bench.unreliable`): no
receipts, no commits; the product has no such mode. The modes take turns in each round, in another order each time.

Throughput: of a backlog, after its first tenth. Latency: from when a segment is published to when a read_committed
reader has its event, at a steady rate well below capacity. CPU: of the process of the session, or by process of the
application, per segment.
"""

import argparse
import json
import os
import platform
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
from confluent_kafka import Consumer, Producer

from tests.bench.delivery_tables import MODES, as_profile, as_tables, spread
from tests.bench.processes import Cpu
from tests.checkpoints import save_random_checkpoint
from tests.kafka_broker import KafkaBroker, running_kafka
from tests.segments import configured, inline
from tests.topics import Message, Topics, make_topics
from workers import config_file
from workers.config import FlowConfig, Settings
from workers.run import running

REPO = Path(__file__).parent.parent.parent
NUM_PARTITIONS = 4
COMMIT_INTERVAL_S = 0.1
WIDE = 1024
"""Records in flight: with the shipped 64 and a commit every 100 ms, no mode could pass 640 events a second."""
SENT = "bench-sent"
WAIT_S = 180.0
LATENCY_S = 5.0
SESSION_RATE_HZ, APPLICATION_RATE_HZ = 200.0, 10.0


def main() -> int:
    """Measure, print, write."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--out", type=Path)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--segments", type=int, default=20_000)
    parser.add_argument("--application-rounds", type=int, default=3)
    parser.add_argument("--application-segments", type=int, default=600)
    parser.add_argument("--profile", action="store_true", help="of one exactly-once session; needs py-spy")
    parser.add_argument(
        "--against",
        type=Path,
        help="another checkout: CPU of one exactly-once session, its code and ours in turn",
    )
    arguments = parser.parse_args()
    with running_kafka() as broker:
        if arguments.against:
            print(compare(broker, arguments.against, arguments.rounds, arguments.segments))
            return 0
        if arguments.profile:
            print(profile(broker, arguments.segments))
            return 0
        session = [
            run_session(broker, mode, arguments.segments) | {"round": number, "mode": mode}
            for number in range(arguments.rounds)
            for mode in turned(MODES, number)
        ]
        application = [
            run_application(broker, mode, arguments.application_segments) | {"round": number, "mode": mode}
            for number in range(arguments.application_rounds)
            for mode in turned(MODES, number)
        ]
    record = {
        "command": " ".join(["python -m tests.bench.delivery", *sys.argv[1:]]),
        "machine": f"{os.cpu_count()} cores, {platform.machine()}, Python {platform.python_version()}",
        "date": time.strftime("%Y-%m-%d", time.gmtime()),
        "segments": arguments.segments,
        "application_segments": arguments.application_segments,
        "commit_interval_s": COMMIT_INTERVAL_S,
        "session": session,
        "application": application,
    }
    if arguments.out:
        arguments.out.write_text(json.dumps(record, indent=1) + "\n")
    print(as_tables(record))
    return 0


def turned(modes: Sequence[str], number: int) -> Sequence[str]:
    """The modes, beginning with another one in each round."""
    return [*modes[number % len(modes) :], *modes[: number % len(modes)]]


def run_session(broker: KafkaBroker, mode: str, num_segments: int) -> dict[str, Any]:
    """One session in a process of its own: a backlog, then a steady rate."""
    topics = topics_of(broker, mode)
    send(topics, num_segments)
    with session_process(topics, mode, num_segments) as process:
        measured = told(process, "done")
        with reading(topics) as reader:
            latencies_s = steady(topics, reader, SESSION_RATE_HZ)
    return {
        "events_per_s": measured["events_per_s"],
        "cpu_ms": {"session": measured["cpu_ms"]},
        **percentiles(latencies_s),
    }


@contextmanager
def session_process(
    topics: Topics, mode: str, num_segments: int, code: Path = REPO
) -> Iterator["subprocess.Popen[str]"]:
    settings = Settings(kafka=topics.config, flow=FlowConfig(max_in_flight_segments=WIDE))
    task = {
        "mode": mode,
        "settings": settings.model_dump(mode="json"),
        "num_events": num_segments,
        "header": SENT,
    }
    process = subprocess.Popen(
        [sys.executable, "-m", "tests.bench.one_session", json.dumps(task)],
        cwd=code,
        env={**os.environ, "PYTHONPATH": str(code)},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    try:
        yield process
    finally:
        process.communicate(timeout=WAIT_S)


def told(process: "subprocess.Popen[str]", event: str) -> dict[str, Any]:
    """The process's line about an event."""
    assert process.stdout is not None
    for line in process.stdout:
        found: dict[str, Any] = json.loads(line)
        if found["event"] == event:
            return found
    raise RuntimeError(f"the process ended before it was {event!r}")


def run_application(broker: KafkaBroker, mode: str, num_segments: int) -> dict[str, Any]:
    """The whole application: a backlog, then a steady rate."""
    topics = topics_of(broker, mode)
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place)
        settings = {
            "model.checkpoint": str(save_random_checkpoint(folder / "checkpoint")),
            "kafka.commit_interval_s": COMMIT_INTERVAL_S,
            "telemetry.log_level": "ERROR",
        }
        before = config_file.IMPORT_PATH
        config_file.IMPORT_PATH = "tests.bench.unreliable_app:build_app" if mode == "none" else before
        try:
            config = configured(topics, folder, settings)
            with running(config), reading(topics) as reader:
                steady(topics, reader, APPLICATION_RATE_HZ, seconds=2.0)  # warms up every replica
                cpu = Cpu()
                begun_s = time.monotonic()
                send(topics, num_segments)
                events = read(reader, num_segments)
                took_s = time.monotonic() - begun_s
                cpu_ms = cpu.spent_ms(num_segments)
                latencies_s = steady(topics, reader, APPLICATION_RATE_HZ)
        finally:
            config_file.IMPORT_PATH = before
    work_ms = 1000 * statistics.mean(sum(json.loads(value)["timings_s"].values()) for value, _ in events)
    return {
        "events_per_s": num_segments / took_s,
        "cpu_ms": cpu_ms,
        "work_ms": work_ms,
        **percentiles(latencies_s),
    }


def topics_of(broker: KafkaBroker, mode: str) -> Topics:
    delivery = "at_least_once" if mode == "none" else mode
    return make_topics(broker, NUM_PARTITIONS, delivery=delivery, commit_interval_s=COMMIT_INTERVAL_S)


def segment(number: int) -> Message:
    one = inline(number % NUM_PARTITIONS, f"bench/{number}", number // NUM_PARTITIONS)
    stamp = f"00-{time.time_ns():032d}-{0:016d}-01".encode()
    headers = [(name, value) for name, value in one.headers if name != "traceparent"]
    return Message(one.partition, one.key, one.value, (*headers, ("traceparent", stamp), (SENT, stamp)))


def send(topics: Topics, number: int) -> None:
    """A backlog."""
    for begin in range(0, number, 2000):
        topics.send([segment(one) for one in range(begin, min(number, begin + 2000))])


@contextmanager
def reading(topics: Topics) -> Iterator[Consumer]:
    """A read_committed reader that stands at the end of the output."""
    reader = Consumer(
        {
            "bootstrap.servers": topics.config.bootstrap_servers,
            "group.id": f"reader-of-{topics.config.group_id}",
            "isolation.level": "read_committed",
            "fetch.wait.max.ms": 20,
            "auto.offset.reset": "latest",
        }
    )
    is_placed: list[bool] = []
    reader.subscribe([topics.config.output_topic], on_assign=lambda *_: is_placed.append(True))
    while not is_placed:
        reader.poll(0.1)
    while reader.poll(0.5) is not None:
        pass
    yield reader
    reader.close()


def read(reader: Consumer, number: int) -> list[tuple[bytes, float]]:
    """So many events, and for each the seconds since its segment was published."""
    return [(message.value(), since_sent_s(message)) for message in received(reader, number)]


def received(reader: Consumer, number: int) -> Iterator[Any]:
    """So many messages, each as it comes.

    Raises:
        RuntimeError: They did not come in time.
    """
    deadline_s = time.monotonic() + WAIT_S
    for num_received in range(number):
        while (message := reader.poll(0.05)) is None or message.error() is not None:
            if time.monotonic() > deadline_s:
                raise RuntimeError(f"{num_received} of {number} events within {WAIT_S:g} s")
        yield message


def since_sent_s(message: Any) -> float:
    """By the stamp that its segment carried."""
    headers = dict(message.headers())
    stamp = headers.get(SENT) or headers["traceparent"]
    return (time.time_ns() - int(stamp.split(b"-")[1])) / 1e9


def steady(topics: Topics, reader: Consumer, rate_hz: float, seconds: float = LATENCY_S) -> list[float]:
    """Publish at a rate and read what comes: the latencies."""
    producer = Producer({"bootstrap.servers": topics.config.bootstrap_servers, "linger.ms": 0})
    number, latencies_s = int(rate_hz * seconds), []
    begun_s = time.monotonic()
    for one in range(number):
        topics.produce(producer, segment(one))
        producer.poll(0)
        while (wait_s := begun_s + (one + 1) / rate_hz - time.monotonic()) > 0:
            latencies_s += read_for(reader, wait_s)
    producer.flush()
    latencies_s += [late_s for _, late_s in read(reader, number - len(latencies_s))]
    return latencies_s


def read_for(reader: Consumer, seconds: float) -> list[float]:
    message = reader.poll(seconds)
    if message is None or message.error() is not None:
        return []
    return [since_sent_s(message)]


def percentiles(latencies_s: Sequence[float]) -> dict[str, float]:
    return {f"p{number}_s": float(np.percentile(latencies_s, number)) for number in (50, 99)}


def compare(broker: KafkaBroker, other: Path, rounds: int, num_segments: int) -> str:
    """CPU per segment of one exactly-once session with this code and with another's, in turn."""
    spent_ms: dict[str, list[float]] = {"there": [], "here": []}
    for number in range(rounds):
        for name in turned(tuple(spent_ms), number):
            topics = topics_of(broker, "exactly_once")
            send(topics, num_segments)
            code = REPO if name == "here" else other.resolve()
            with session_process(topics, "exactly_once", num_segments, code) as process:
                spent_ms[name].append(told(process, "done")["cpu_ms"])
    return "\n".join(
        f"{name}: {spread(values, '.4f')} ms of CPU per segment" for name, values in spent_ms.items()
    )


def profile(broker: KafkaBroker, num_segments: int) -> str:
    """Every thread of an exactly-once session, sampled by py-spy while it works off a backlog."""
    topics = topics_of(broker, "exactly_once")
    send(topics, num_segments)
    with tempfile.NamedTemporaryFile(suffix=".txt") as file:
        with session_process(topics, "exactly_once", num_segments) as process:
            told(process, "consumes")
            command = ["py-spy", "record", "--rate", "200", "--gil", "--format", "raw", "-o", file.name]
            spy = subprocess.Popen([*command, "--pid", str(process.pid)], stdout=subprocess.DEVNULL)
            told(process, "done")
            spy.send_signal(2)
            spy.wait(30)
        return as_profile(Path(file.name).read_text())


if __name__ == "__main__":
    sys.exit(main())
