"""A real Apache Kafka of several brokers whose members can be killed, frozen and started again, one by one.

Each node is broker and controller. Ports and data stay, so that a node that starts again is the same member.
Knows Kafka's processes. Does not know who uses them or why a node has to suffer.
"""

import os
import shutil
import signal
import subprocess
import tempfile
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from confluent_kafka import KafkaException
from confluent_kafka.admin import AdminClient, NewTopic

from tests.kafka_broker import fetch_jars, free_ports, stop_process, wait_until_up

CLUSTER_ID = "hctdmg-chaos-000000000"
HEAP_MB = 256
ADMIN_TIMEOUT_S = 10.0
START_TIMEOUT_S = 90.0
"""Three JVMs that start at once on a busy machine."""
POLL_S = 0.2


@dataclass
class Node:
    """One broker.

    Attributes:
        number: Its node id, from 1.
        port: Where clients connect.
        controller_port: Where the controllers talk.
        folder: Its settings, data and log.
        process: Its Java process; None before the first start.
    """

    number: int
    port: int
    controller_port: int
    folder: Path
    process: "subprocess.Popen[bytes] | None" = None

    @property
    def is_alive(self) -> bool:
        """Whether it has a process, frozen or not."""
        return self.process is not None and self.process.poll() is None


@dataclass
class KafkaCluster:
    """The running nodes.

    Attributes:
        nodes: Each node by its id.
        java: The command that all Java processes begin with.
    """

    nodes: dict[int, Node]
    java: list[str]
    _admin: list[AdminClient] = field(default_factory=list)

    @property
    def bootstrap_servers(self) -> str:
        """All nodes' "host:port"."""
        return ",".join(f"127.0.0.1:{node.port}" for node in self.nodes.values())

    @property
    def num_replicas(self) -> int:
        """Copies of each partition."""
        return min(3, len(self.nodes))

    def start(self, number: int) -> None:
        """Start a node that does not run; it is not waited for."""
        node = self.nodes[number]
        assert not node.is_alive, f"node {number} runs already"
        with (node.folder / "server.log").open("ab") as log:
            command = [*self.java, "kafka.Kafka", str(node.folder / "server.properties")]
            node.process = subprocess.Popen(command, stdout=log, stderr=log, start_new_session=True)

    def kill(self, number: int) -> None:
        """SIGKILL a node."""
        process = self.nodes[number].process
        assert process is not None
        process.kill()
        process.wait(10)

    def freeze(self, number: int) -> None:
        """SIGSTOP a node: its connections stay open and answer nothing."""
        self._signal(number, signal.SIGSTOP)

    def thaw(self, number: int) -> None:
        """SIGCONT a node."""
        self._signal(number, signal.SIGCONT)

    def create_topics(self, topics: Mapping[str, int], timeout_s: float = 60.0) -> None:
        """Create topics with a number of partitions each, as soon as the cluster is ready for it."""
        deadline_s = time.monotonic() + timeout_s
        for name, number in topics.items():
            while True:
                new = NewTopic(name, number, replication_factor=self.num_replicas)
                try:
                    self._ask().create_topics([new], operation_timeout=10, request_timeout=10)[name].result(
                        15
                    )
                except KafkaException as error:
                    if "exists" in str(error):
                        break
                    if time.monotonic() > deadline_s:
                        raise
                    time.sleep(POLL_S)
                else:
                    break

    def leader(self, topic: str, partition: int) -> int | None:
        """The node that leads a partition; None while there is none."""
        found = self._ask().list_topics(topic, timeout=ADMIN_TIMEOUT_S).topics[topic].partitions[partition]
        return found.leader if found.leader in self.nodes else None

    def is_in_sync(self) -> bool:
        """Whether every replica of every partition is in sync, the brokers' own topics included."""
        try:
            topics = self._ask().list_topics(timeout=ADMIN_TIMEOUT_S).topics.values()
        except KafkaException:
            return False
        partitions = [partition for topic in topics for partition in topic.partitions.values()]
        return all(len(one.isrs) == self.num_replicas and one.leader in self.nodes for one in partitions)

    def wait_until_in_sync(self, timeout_s: float) -> bool:
        """Wait until every replica is in sync again.

        Returns:
            Whether that is so in time.
        """
        deadline_s = time.monotonic() + timeout_s
        while not self.is_in_sync():
            if time.monotonic() > deadline_s:
                return False
            time.sleep(POLL_S)
        return True

    def _ask(self) -> AdminClient:
        if not self._admin:
            options = {
                "bootstrap.servers": self.bootstrap_servers,
                "reconnect.backoff.max.ms": 1000,
                "log_level": 0,
            }
            self._admin.append(AdminClient(options))
        return self._admin[0]

    def _signal(self, number: int, what: signal.Signals) -> None:
        process = self.nodes[number].process
        if process is not None and process.poll() is None:
            os.kill(process.pid, what)


@contextmanager
def running_cluster(num_nodes: int) -> Iterator[KafkaCluster]:
    """A cluster, from when all its nodes answer until the block is left; what it stored is deleted.

    Raises:
        KafkaMissingError: There is no Kafka to start.
    """
    jars = fetch_jars()
    folder = Path(tempfile.mkdtemp(prefix="hctdmg-cluster-"))
    ports = free_ports(2 * num_nodes)
    nodes = {
        number: Node(number, ports[2 * number - 2], ports[2 * number - 1], folder / str(number))
        for number in range(1, num_nodes + 1)
    }
    quiet = "-Dorg.slf4j.simpleLogger.defaultLogLevel=warn"
    # The serial collector and the first compiler alone: cheap on few cores, and broker speed is not the load.
    tuning = [f"-Xmx{HEAP_MB}m", "-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1"]
    cluster = KafkaCluster(nodes, ["java", *tuning, quiet, "-cp", f"{jars}/*"])
    try:
        for node in nodes.values():
            node.folder.mkdir(parents=True)
            (node.folder / "server.properties").write_text(_properties(node, list(nodes.values())))
            _format(cluster.java, node)
        for number in nodes:
            cluster.start(number)
        for node in nodes.values():
            assert node.process is not None
            wait_until_up(node.process, node.port, node.folder)
        yield cluster
    finally:
        for node in nodes.values():
            if node.process is not None and node.process.poll() is None:
                node.process.send_signal(signal.SIGCONT)
                node.process.kill() if num_nodes > 1 else stop_process(node.process)
                node.process.wait()
        shutil.rmtree(folder, ignore_errors=True)


def _format(java: list[str], node: Node) -> None:
    command = [*java, "kafka.tools.StorageTool", "format", "-t", CLUSTER_ID, "-c"]
    done = subprocess.run(
        [*command, str(node.folder / "server.properties")],
        capture_output=True,
        text=True,
        check=False,
        timeout=START_TIMEOUT_S,
    )
    if done.returncode != 0:
        raise RuntimeError(
            f"the storage of node {node.number} can't be formatted: {done.stdout}{done.stderr}"
        )


def _properties(node: Node, nodes: list[Node]) -> str:
    copies, in_sync = min(3, len(nodes)), min(2, len(nodes))
    settings = {
        "process.roles": "broker,controller",
        "node.id": node.number,
        "controller.quorum.voters": ",".join(f"{n.number}@127.0.0.1:{n.controller_port}" for n in nodes),
        "listeners": f"PLAINTEXT://127.0.0.1:{node.port},CONTROLLER://127.0.0.1:{node.controller_port}",
        "advertised.listeners": f"PLAINTEXT://127.0.0.1:{node.port}",
        "controller.listener.names": "CONTROLLER",
        "listener.security.protocol.map": "PLAINTEXT:PLAINTEXT,CONTROLLER:PLAINTEXT",
        "log.dirs": node.folder / "data",
        "auto.create.topics.enable": "false",
        "default.replication.factor": copies,
        "min.insync.replicas": in_sync,
        "unclean.leader.election.enable": "false",
        "offsets.topic.replication.factor": copies,
        "offsets.topic.num.partitions": 3,
        "transaction.state.log.replication.factor": copies,
        "transaction.state.log.min.isr": in_sync,
        "transaction.state.log.num.partitions": 3,
        "group.initial.rebalance.delay.ms": 0,
        "group.min.session.timeout.ms": 1000,
        "num.network.threads": 2,
        "num.io.threads": 4,
        "log.cleaner.dedupe.buffer.size": 2 * 2**20,
        "share.coordinator.state.topic.replication.factor": copies,
        "share.coordinator.state.topic.min.isr": in_sync,
    }
    return "".join(f"{name}={value}\n" for name, value in settings.items())
