"""Lag and replicas through a spike of the load: up while it is behind, down once it has been quiet, no swing.

    python -m tests.bench.scaling --out docs/results        # writes scaling.json and scaling.png; five minutes

The application of deploy/ray/rayservice.yaml on a Ray cluster of three nodes, all on this machine and with resources
that Ray believes in: a head, a CPU node, a GPU node. Kafka, Ray, Serve and the policy are real; an extractor waits for
a quarter of a second for each segment instead of using a core (tests/slow_app.py), so what is shown is the control and
not a speed.
"""

import argparse
import json
import os
import platform
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from unittest import mock

import matplotlib as mpl
import ray
import yaml
from confluent_kafka import Producer
from ray import serve
from ray.cluster_utils import Cluster
from ray.serve._private.constants import SERVE_NAMESPACE

from tests import slow_app
from tests.checkpoints import save_random_checkpoint
from tests.kafka_broker import KafkaBroker, running_kafka
from tests.segments import inline, tone
from tests.topics import Topics, make_topics
from workers import config_file
from workers.config_file import ConfigFile, read_config_file
from workers.run import Application, running

mpl.use("Agg")

import matplotlib.pyplot as plt

MANIFEST = Path(__file__).parent.parent.parent / "deploy" / "ray" / "rayservice.yaml"
NUM_PARTITIONS = 4
SEGMENT_S = 2.0
SAMPLE_S = 0.5
NODES = ({"num_cpus": 0}, {"num_cpus": 16, "resources": {"cpu_node": 1}}, {"num_cpus": 4, "num_gpus": 1})
"""As the manifest's: a head without replicas, a CPU node, a GPU node."""
WATCHED = ("SegmentConsumer", "FeatureExtractor", "HctDmgReplica")
MAX_EXTRACTORS = 6
RULES = {"target_behind_s": 4.0, "clear_within_s": 15.0, "settle_s": 8.0, "hold_s": 25.0}
"""The shipped rules, some five times as fast, so that it does not take half an hour."""
MEASURED = {"metrics_interval_s": 1.0, "look_back_period_s": 8.0}
"""So is what Serve measures; its own are 10 s and 30 s."""


@dataclass(frozen=True)
class Phase:
    """A stretch of steady load.

    Attributes:
        until_s: When it ends.
        rate_hz: Segments a second.
    """

    until_s: float
    rate_hz: float


SPIKE = (Phase(40, 1), Phase(100, 12), Phase(240, 1))


@dataclass(frozen=True)
class Sample:
    """One look.

    Attributes:
        at_s: Since the load began.
        behind_s: Video sent and not answered.
        replicas: Of each deployment: those that run, and those that start.
    """

    at_s: float
    behind_s: float
    replicas: dict[str, tuple[int, int]]


def main() -> int:
    """Run, write, draw."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--out", type=Path, required=True, help="folder")
    out = parser.parse_args().out
    with running_kafka() as broker:
        samples, nodes = spike(broker, SPIKE)
    record = {
        "command": " ".join(["python -m tests.bench.scaling", *sys.argv[1:]]),
        "machine": f"{os.cpu_count()} cores, {platform.machine()}, Python {platform.python_version()}",
        "date": time.strftime("%Y-%m-%d", time.gmtime()),
        "rules": RULES,
        "phases": [asdict(phase) for phase in SPIKE],
        "segment_s": SEGMENT_S,
        "nodes": nodes,
        "samples": [asdict(sample) for sample in samples],
    }
    (out / "scaling.json").write_text(json.dumps(record) + "\n")
    plot(samples, SPIKE, out / "scaling.png")
    print(f"most behind {max(one.behind_s for one in samples):.0f} s, extractors {steps(samples)}")
    return 0


def spike(
    broker: KafkaBroker,
    phases: tuple[Phase, ...],
    is_over: Callable[[list[Sample]], bool] = lambda _: False,
) -> tuple[list[Sample], dict[str, list[str]]]:
    """Run the application through the phases.

    Args:
        broker: Where the segments go.
        phases: The load.
        is_over: Whether enough was seen; else all phases are waited for.

    Returns:
        What was seen, and for each deployment the kinds of nodes that its replicas were on at the end.
    """
    topics = make_topics(broker, NUM_PARTITIONS)
    with (
        tempfile.TemporaryDirectory() as place,
        cluster() as address,
        mock.patch.object(config_file, "IMPORT_PATH", slow_app.IMPORT_PATH),
    ):
        config = manifest_config(topics, Path(place))
        with running(config, address) as application, load(topics, phases) as num_sent:
            samples = watch(application, num_sent, phases[-1].until_s, is_over)
            return samples, placement()


@contextmanager
def cluster() -> Iterator[str]:
    """A Ray cluster of three nodes on this machine; yields its address."""
    made = Cluster(initialize_head=True, head_node_args={**NODES[0], "include_dashboard": False})
    try:
        for node in NODES[1:]:
            made.add_node(**node)
        yield made.address
    finally:
        made.shutdown()


def manifest_config(topics: Topics, folder: Path) -> ConfigFile:
    """The manifest's `serveConfigV2` on these topics, with slow extractors, one consumer and quick rules."""
    document = yaml.safe_load(yaml.safe_load(MANIFEST.read_text())["spec"]["serveConfigV2"])
    (application,) = document["applications"]
    application["import_path"] = slow_app.IMPORT_PATH
    application["autoscaling_policy"]["policy_kwargs"] = RULES
    bounds = {"SegmentConsumer": (1, 1), "FeatureExtractor": (1, MAX_EXTRACTORS), "HctDmgReplica": (1, 2)}
    for deployment in application["deployments"]:
        num_min, num_max = bounds[deployment["name"]]
        deployment["autoscaling_config"] |= {"min_replicas": num_min, "max_replicas": num_max, **MEASURED}
    path = folder / "ray_config.yaml"
    path.write_text(yaml.safe_dump(document))
    names = ("bootstrap_servers", "input_topic", "output_topic", "dead_letter_topic", "group_id")
    checkpoint = save_random_checkpoint(folder / "checkpoint")
    settings = {f"kafka.{name}": getattr(topics.config, name) for name in names} | {
        "model.checkpoint": str(checkpoint),
        "flow.max_concurrent_extractions": 1,
    }
    return read_config_file(path, [f"{name}={json.dumps(value)}" for name, value in settings.items()])


@contextmanager
def load(topics: Topics, phases: tuple[Phase, ...]) -> Iterator[list[int]]:
    """Segments at each phase's rate, over all partitions; yields how many were sent."""
    over, num_sent, media = threading.Event(), [0], tone(SEGMENT_S)
    producer = Producer({"bootstrap.servers": topics.config.bootstrap_servers, "linger.ms": 5})

    def send() -> None:
        begun_s = due_s = time.monotonic()
        while not over.wait(max(0.0, due_s - time.monotonic())):
            rate_hz = next((one.rate_hz for one in phases if due_s - begun_s < one.until_s), 0.0)
            if not rate_hz:
                return
            number = num_sent[0]
            topics.produce(producer, inline(number % NUM_PARTITIONS, f"spike/{number}", number, media))
            producer.poll(0)
            num_sent[0] += 1
            due_s += 1 / rate_hz

    sender = threading.Thread(target=send)
    sender.start()
    try:
        yield num_sent
    finally:
        over.set()
        sender.join()
        producer.flush()


def watch(
    application: Application,
    num_sent: list[int],
    seconds: float,
    is_over: Callable[[list[Sample]], bool],
) -> list[Sample]:
    """Look twice a second."""
    samples: list[Sample] = []
    begun_s = time.monotonic()
    while (at_s := time.monotonic() - begun_s) < seconds and not is_over(samples):
        progress = [one.progress for one in application.statuses() if one.progress is not None]
        num_answered = sum(one.num_events + one.num_dead_letters for one in progress)
        deployments = serve.status().applications[application.name].deployments
        states = {name: deployments[name].replica_states for name in WATCHED if name in deployments}
        replicas = {name: (one.get("RUNNING", 0), one.get("STARTING", 0)) for name, one in states.items()}
        samples.append(Sample(round(at_s, 2), (num_sent[0] - num_answered) * SEGMENT_S, replicas))
        time.sleep(SAMPLE_S)
    return samples


def placement() -> dict[str, list[str]]:
    """The kind of node that each deployment's replicas are on."""
    kinds: dict[str, str] = {}
    for node in ray.nodes():
        has = node["Resources"]
        kinds[node["NodeID"]] = "gpu" if "GPU" in has else "cpu" if "cpu_node" in has else "head"

    found: dict[str, set[str]] = {}
    for actor in ray.util.list_named_actors(all_namespaces=True):
        if actor["namespace"] != SERVE_NAMESPACE:
            continue
        for name in WATCHED:
            if f"#{name}#" in actor["name"]:
                handle = ray.get_actor(actor["name"], namespace=SERVE_NAMESPACE)
                node = ray._private.state.actors(handle._actor_id.hex())["Address"]["NodeID"]
                found.setdefault(name, set()).add(kinds[node])
    return {name: sorted(places) for name, places in found.items()}


def steps(samples: list[Sample], name: str = "FeatureExtractor") -> list[int]:
    """The numbers of replicas, started or starting, one after another."""
    counts = [sum(one.replicas[name]) for one in samples if name in one.replicas]
    return [count for index, count in enumerate(counts) if index == 0 or count != counts[index - 1]]


def plot(samples: list[Sample], phases: tuple[Phase, ...], path: Path) -> None:
    """Lag above, replicas below."""
    figure, (above, below) = plt.subplots(2, 1, figsize=(9, 5.5), dpi=120, sharex=True, layout="constrained")
    at_s = [one.at_s for one in samples]
    above.plot(at_s, [one.behind_s for one in samples], color="#2f5d8a")
    above.set_ylabel("video behind, s")
    rates = ", then ".join(f"{phase.rate_hz:g}" for phase in phases)
    above.set_title(f"A load of {rates} segments a second, of {SEGMENT_S:g} s each", fontsize=10)
    for name, colour in (("FeatureExtractor", "#d9822b"), ("HctDmgReplica", "#4c9f70")):
        running = [one.replicas.get(name, (0, 0))[0] for one in samples]
        wanted = [sum(one.replicas.get(name, (0, 0))) for one in samples]
        below.step(at_s, wanted, where="post", color=colour, linestyle=":", label=f"{name}, wanted")
        below.step(at_s, running, where="post", color=colour, label=f"{name}, running")
    below.set_ylabel("replicas")
    below.set_xlabel("s")
    below.legend(fontsize=8, loc="upper right")
    for axes in (above, below):
        for phase in phases[:-1]:
            axes.axvline(phase.until_s, color="#8a929c", linewidth=0.8)
    figure.savefig(path)
    plt.close(figure)


if __name__ == "__main__":
    sys.exit(main())
