"""A real Apache Kafka for tests: its jars from Maven, one broker in KRaft mode on free loopback ports.

Run `python -m tests.kafka_broker` to fetch the jars (once, into .cache/kafka), as CI does before the tests.
"""

import os
import shutil
import socket
import subprocess
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from kafka import KafkaAdminClient
from kafka.admin import NewTopic

from workers.config import KafkaConfig
from workers.kafka import client_options

REPO = Path(__file__).parent.parent
POM = REPO / "deploy" / "kafka" / "pom.xml"
CACHE = REPO / ".cache" / "kafka"
FETCH_TIMEOUT_S = 300.0
START_TIMEOUT_S = 60.0
STOP_TIMEOUT_S = 20.0
CHEAP = ("-Xmx320m", "-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1")
"""A broker here lives for minutes: to optimise its code would take more of two cores than that saves. Until it is up
it takes 4.5 s of CPU time so, 8 s without the last two."""


class KafkaMissingError(Exception):
    """There is no Java or no Maven here, or Maven can't fetch the jars."""


@dataclass(frozen=True)
class KafkaBroker:
    """A running broker.

    Attributes:
        bootstrap_servers: Its "host:port".
        folder: Its logs and data.
        pid: Of its Java process.
    """

    bootstrap_servers: str
    folder: Path
    pid: int

    def create_topics(
        self, topics: Mapping[str, int], max_message_bytes: Mapping[str, int] | None = None
    ) -> None:
        """Create topics.

        Args:
            topics: The number of partitions of each.
            max_message_bytes: Its largest message, where that is not the broker's default.
        """
        admin = KafkaAdminClient(**client_options(KafkaConfig(bootstrap_servers=self.bootstrap_servers)))
        limits = max_message_bytes or {}
        admin.create_topics(
            [
                NewTopic(
                    name,
                    number,
                    1,
                    topic_configs={"max.message.bytes": str(limits[name])} if name in limits else {},
                )
                for name, number in topics.items()
            ]
        )
        admin.close()


def fetch_jars() -> Path:
    """The folder with the jars that the pom pins, fetched by Maven unless they are there.

    Raises:
        KafkaMissingError: They can't be had.
    """
    for program in ("java", "mvn"):
        if shutil.which(program) is None:
            raise KafkaMissingError(f"no {program!r} here: install a Java 17 runtime and Maven")
    jars = CACHE / "libs"
    fetched = CACHE / "fetched-pom.xml"
    if fetched.is_file() and fetched.read_text() == POM.read_text():
        return jars
    shutil.rmtree(jars, ignore_errors=True)
    command = ["mvn", "-B", "-q", "-f", str(POM), "dependency:copy-dependencies", f"-DoutputDirectory={jars}"]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=FETCH_TIMEOUT_S)
    if done.returncode != 0:
        raise KafkaMissingError(f"Maven can't fetch Kafka: {done.stdout.strip()[-500:]}")
    fetched.write_text(POM.read_text())
    return jars


@contextmanager
def running_kafka() -> Iterator[KafkaBroker]:
    """A broker, from when it answers until the block is left; what it stored is deleted.

    Raises:
        KafkaMissingError: There is no Kafka to start.
    """
    folder = Path(tempfile.mkdtemp(prefix="hctdmg-kafka-"))
    try:
        port, controller_port = free_ports(2)
        settings = properties(port, controller_port, folder)
        with running_server(folder, settings, port) as pid:
            yield KafkaBroker(f"127.0.0.1:{port}", folder, pid)
    finally:
        shutil.rmtree(folder, ignore_errors=True)


@contextmanager
def running_server(
    folder: Path,
    settings: Mapping[str, object],
    port: int,
    format_options: Sequence[str] = (),
    java_options: Sequence[str] = (),
    *,
    standalone: bool = True,
) -> Iterator[int]:
    """Kafka's Java process, from when it listens until the block is left.

    Args:
        folder: Where it keeps its settings, log and data.
        settings: Its properties.
        port: Where it listens once it is up.
        format_options: Further options of `StorageTool format`, as the first users.
        java_options: Further options of the virtual machine.
        standalone: Whether it is the first of its quorum; not so where the settings name the voters.

    Yields:
        Its process id.

    Raises:
        KafkaMissingError: There is no Kafka to start.
    """
    config = folder / "server.properties"
    config.write_text("".join(f"{name}={value}\n" for name, value in settings.items()))
    java = ["java", *CHEAP, "-Dorg.slf4j.simpleLogger.defaultLogLevel=warn", *java_options]
    java += ["-cp", f"{fetch_jars()}/*"]
    _format(java, config, [*("--standalone",) * standalone, *format_options])
    with (folder / "server.log").open("wb") as log:
        process = subprocess.Popen([*java, "kafka.Kafka", config], stdout=log, stderr=log)
    try:
        wait_until_up(process, port, folder)
        yield process.pid
    finally:
        stop_process(process)


def _format(java: list[str], config: Path, options: Sequence[str]) -> None:
    command = [*java, "kafka.tools.StorageTool", "format", "-t", "hctdmg-tests-0000000000"]
    command += [*options, "-c", str(config)]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=60)
    if done.returncode != 0:
        raise RuntimeError(f"Kafka's storage can't be formatted: {done.stdout}{done.stderr}")


def properties(port: int, controller_port: int, folder: Path) -> dict[str, object]:
    """Settings of one broker that is its own controller."""
    return {
        "process.roles": "broker,controller",
        "node.id": "1",
        "controller.quorum.bootstrap.servers": f"127.0.0.1:{controller_port}",
        "listeners": f"PLAINTEXT://127.0.0.1:{port},CONTROLLER://127.0.0.1:{controller_port}",
        "advertised.listeners": f"PLAINTEXT://127.0.0.1:{port}",
        "controller.listener.names": "CONTROLLER",
        "listener.security.protocol.map": "PLAINTEXT:PLAINTEXT,CONTROLLER:PLAINTEXT",
        "log.dirs": folder / "data",
        "auto.create.topics.enable": "false",
        # One broker holds everything once.
        "offsets.topic.replication.factor": "1",
        "offsets.topic.num.partitions": "4",
        "transaction.state.log.replication.factor": "1",
        "transaction.state.log.min.isr": "1",
        "transaction.state.log.num.partitions": "4",
        # A group's first member need not wait for others; tests use short sessions.
        "group.initial.rebalance.delay.ms": "0",
        "group.min.session.timeout.ms": "1000",
    }


def free_ports(number: int) -> list[int]:
    """Ports of the loopback interface that nobody uses now."""
    sockets = [socket.socket() for _ in range(number)]
    try:
        for one in sockets:
            one.bind(("127.0.0.1", 0))
        return [one.getsockname()[1] for one in sockets]
    finally:
        for one in sockets:
            one.close()


def wait_until_up(process: "subprocess.Popen[bytes]", port: int, folder: Path) -> None:
    deadline_s = time.monotonic() + START_TIMEOUT_S
    while True:
        try:
            socket.create_connection(("127.0.0.1", port), timeout=1.0).close()
        except OSError:
            pass
        else:
            return
        if process.poll() is not None or time.monotonic() > deadline_s:
            raise RuntimeError(f"Kafka did not start: {(folder / 'server.log').read_text()[-2000:]}")
        time.sleep(0.05)


def stop_process(process: "subprocess.Popen[bytes]") -> None:
    process.terminate()
    try:
        process.wait(STOP_TIMEOUT_S)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()


if __name__ == "__main__":
    print(f"Kafka's jars are in {os.path.relpath(fetch_jars())}")
