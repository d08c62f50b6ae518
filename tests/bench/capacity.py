"""What a thousand, a hundred thousand and ten million live streams would take, and what gives first.

    python -m tests.bench.capacity --out docs/results      # from docs/results/*.json; then: tests.bench.capacity_page

Arithmetic on measured costs of one segment, and a simulation of the queue before the extractors. Nothing of that size
was run. What was measured and what is assumed stand side by side in the result (`measured`, `assumed`); no figure for a
GPU is measured. Prices are not in it: node-hours are.
"""

import argparse
import json
import math
import sys
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from tests.bench.capacity_inputs import RESULTS, Assumed, Measured, assume, read_measured
from tests.bench.mdc_queue import simulate

STREAMS = (1_000, 100_000, 10_000_000)


@dataclass(frozen=True)
class Plan:
    """What a number of streams takes.

    Attributes:
        streams: Live, all the time.
        segments_per_s: Of all.
        extractors: Replicas, one core each.
        consumers: Replicas, one core each.
        consumers_bound_by: "cores", or "window": what is in flight.
        models: Replicas on one core each.
        cpu_nodes: For all of them.
        gpus: Instead of the models' cores: what the replicas' own Python asks for.
        gpu_share: How much of those GPUs' own capacity is used; by a figure that is not measured.
        partitions: Of the input topic.
        brokers: For bytes, and for partitions; the larger.
        shards: Clusters of Ray, each with its own topics and group.
        media_bytes_per_s: Fetched.
        media_requests_per_s: To the store.
        feature_bytes_per_s: Between extractors and models.
        kafka_bytes_per_s: Into the brokers, without copies.
        kafka_bytes_stored: With copies.
        memory_bytes: Of all replicas.
        node_busy_network: Share of its network that a CPU node uses for media.
        core_hours_per_1000_stream_hours: The price driver.
        shares: Of the cores, by what they do.
    """

    streams: int
    segments_per_s: float
    extractors: int
    consumers: int
    consumers_bound_by: str
    models: int
    cpu_nodes: int
    gpus: int
    gpu_share: float
    partitions: int
    brokers: int
    shards: int
    media_bytes_per_s: float
    media_requests_per_s: float
    feature_bytes_per_s: float
    kafka_bytes_per_s: float
    kafka_bytes_stored: float
    memory_bytes: float
    node_busy_network: float
    core_hours_per_1000_stream_hours: float
    shares: dict[str, float]


def main() -> int:
    """Reckon, write."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--out", type=Path, required=True, help="folder")
    parser.add_argument("--assume", action="append", default=[], metavar="NAME=VALUE")
    arguments = parser.parse_args()
    measured, assumed = read_measured(RESULTS), assume(arguments.assume)
    record: dict[str, Any] = {
        "command": " ".join(["python -m tests.bench.capacity", *sys.argv[1:]]),
        "measured": asdict(measured),
        "assumed": asdict(assumed),
        "plans": [asdict(plan(streams, measured, assumed)) for streams in STREAMS],
        "limits": {str(streams): limits(plan(streams, measured, assumed), assumed) for streams in STREAMS},
        "waits": waits(measured, assumed),
        "variations": variations(measured, assumed),
    }
    (arguments.out / "capacity.json").write_text(json.dumps(record, indent=1) + "\n")
    for one in record["plans"]:
        print(f"{one['streams']:>10} streams: {one['cpu_nodes']} CPU nodes, {one['partitions']} partitions")
    return 0


def plan(streams: int, measured: Measured, assumed: Assumed) -> Plan:
    """Size all parts for so many streams."""
    rate = streams / measured.segment_s
    spent = seconds(measured, assumed)
    consume_cores, model_cores = rate * spent.pop("consumer"), rate * spent.pop("model")
    extract_cores = rate * sum(spent.values())
    in_flight = rate * (measured.decode_s + measured.extract_s + measured.infer_s + assumed.wait_s)
    by_cores = math.ceil(consume_cores / assumed.target_busy)
    by_window = math.ceil(in_flight / (assumed.in_flight_per_consumer * assumed.target_busy))
    extractors, consumers = math.ceil(extract_cores / assumed.target_busy), max(by_cores, by_window)
    models = math.ceil(model_cores / assumed.target_busy)
    cores = extractors + consumers + models
    cpu_nodes = math.ceil(cores / (assumed.cores_per_node - assumed.spare_cores_per_node))
    gpus = math.ceil(models / assumed.models_per_gpu)
    partitions = 2 ** math.ceil(math.log2(2 * consumers))
    kafka_bytes_per_s = rate * (assumed.message_bytes + assumed.event_bytes)
    brokers_by_bytes = kafka_bytes_per_s * assumed.kafka_replication / assumed.broker_bytes_per_s
    brokers_by_partitions = 2 * partitions * assumed.kafka_replication / assumed.partitions_per_broker
    shards = max(
        (extractors + consumers + models) / assumed.replicas_per_shard, consumers / assumed.group_members
    )
    return Plan(
        streams=streams,
        segments_per_s=rate,
        extractors=extractors,
        consumers=consumers,
        consumers_bound_by="cores" if by_cores >= by_window else "window",
        models=models,
        cpu_nodes=cpu_nodes,
        gpus=gpus,
        gpu_share=rate / (gpus * assumed.gpu_items_per_s),
        partitions=partitions,
        brokers=max(3, math.ceil(max(brokers_by_bytes, brokers_by_partitions))),
        shards=math.ceil(shards),
        media_bytes_per_s=rate * measured.segment_bytes,
        media_requests_per_s=rate,
        feature_bytes_per_s=rate * measured.feature_bytes,
        kafka_bytes_per_s=kafka_bytes_per_s,
        kafka_bytes_stored=kafka_bytes_per_s * 3600 * assumed.kafka_retention_h * assumed.kafka_replication,
        memory_bytes=extractors * measured.extractor_bytes
        + consumers * measured.consumer_bytes
        + models * measured.model_bytes,
        node_busy_network=rate * measured.segment_bytes / (cpu_nodes * assumed.node_bytes_per_s),
        core_hours_per_1000_stream_hours=1000 * cores / streams,
        shares=_shares(seconds(measured, assumed)),
    )


def seconds(measured: Measured, assumed: Assumed) -> dict[str, float]:
    """Of one core, for one segment, by what they are spent on; all but the last two by an extractor."""
    return {
        "decode": measured.decode_s,
        "extract": measured.extract_s,
        "an extractor's own": assumed.extractor_cpu_s,
        "consumer": assumed.consumer_cpu_s,
        "model": measured.infer_s + assumed.model_cpu_s,
    }


def _shares(spent: dict[str, float]) -> dict[str, float]:
    total = sum(spent.values())
    return {name: spent_s / total for name, spent_s in spent.items()}


def limits(found: Plan, assumed: Assumed) -> dict[str, float]:
    """How many times over each limit one shard that took all would be; below 1 it is kept. The largest comes first."""
    replicas = found.extractors + found.consumers + found.models
    used = {
        "replicas of one Serve controller": replicas / assumed.replicas_per_shard,
        "members of one consumer group": found.consumers / assumed.group_members,
        "partitions of a cluster of 100 brokers": 2
        * found.partitions
        * assumed.kafka_replication
        / (100 * assumed.partitions_per_broker),
        "network of a CPU node, for media": found.node_busy_network,
        "bytes into a cluster of 100 brokers": found.kafka_bytes_per_s
        * assumed.kafka_replication
        / (100 * assumed.broker_bytes_per_s),
    }
    return dict(sorted(used.items(), key=lambda one: -one[1]))


def waits(measured: Measured, assumed: Assumed) -> list[dict[str, float]]:
    """How long segments wait for an extractor: simulated, with arrivals at random and work that takes the same time."""
    work_s = measured.decode_s + measured.extract_s + assumed.extractor_cpu_s
    found = []
    for num_servers in (4, 40, 400, 4000):
        for busy in (0.6, 0.75, 0.9, 0.95):
            wait_s = simulate(num_servers, busy, work_s, max(100_000, 100 * num_servers))
            found.append(
                {
                    "extractors": num_servers,
                    "busy": busy,
                    "mean_s": float(wait_s.mean()),
                    "p99_s": float(np.percentile(wait_s, 99)),
                }
            )
    return found


def variations(measured: Measured, assumed: Assumed) -> list[dict[str, Any]]:
    """What a change would do to the nodes for a hundred thousand streams; each by itself."""
    base = plan(STREAMS[1], measured, assumed)
    double = 2 * measured.segment_s
    changes: dict[str, tuple[Measured, Assumed]] = {
        "as it is": (measured, assumed),
        "half the time for faces and sound": (replace(measured, extract_s=measured.extract_s / 2), assumed),
        "half the time for decoding": (replace(measured, decode_s=measured.decode_s / 2), assumed),
        "both": (
            replace(measured, extract_s=measured.extract_s / 2, decode_s=measured.decode_s / 2),
            assumed,
        ),
        f"segments of {double:g} s (work grows with length)": (
            replace(
                measured,
                segment_s=double,
                segment_bytes=2 * measured.segment_bytes,
                decode_s=2 * measured.decode_s,
                extract_s=2 * measured.extract_s,
            ),
            assumed,
        ),
        "replicas 80 % busy": (measured, replace(assumed, target_busy=0.8)),
    }
    found = []
    for name, inputs in changes.items():
        one = plan(STREAMS[1], *inputs)
        found.append(
            {
                "change": name,
                "cpu_nodes": one.cpu_nodes,
                "of_before": one.cpu_nodes / base.cpu_nodes,
                "consumers": one.consumers,
                "media_requests_per_s": one.media_requests_per_s,
            }
        )
    return found


if __name__ == "__main__":
    sys.exit(main())
