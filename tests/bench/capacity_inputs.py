"""What the capacity page reckons from: costs of one segment that other benches have measured, and what is assumed.

Knows their results' fields. Does not know what is reckoned.
"""

import json
import statistics
from dataclasses import dataclass, fields, replace
from pathlib import Path

from hctdmg.checkpoint import load_checkpoint

RESULTS = Path(__file__).parent.parent.parent / "docs" / "results"
FLOAT_BYTES = 4


@dataclass(frozen=True)
class Measured:
    """Of one segment of 720p, from committed results.

    Attributes:
        segment_s: Its length.
        segment_bytes: Of its media.
        decode_s: One core.
        extract_s: One core; text, sound and faces, and aligning.
        infer_s: One core, the model on a single segment: a batch costs less.
        feature_bytes: From extractor to model.
        extractor_bytes: Memory.
        consumer_bytes: Memory.
        model_bytes: Memory.
    """

    segment_s: float
    segment_bytes: int
    decode_s: float
    extract_s: float
    infer_s: float
    feature_bytes: int
    extractor_bytes: float
    consumer_bytes: float
    model_bytes: float


@dataclass(frozen=True)
class Assumed:
    """What was not measured here: change it by `--assume NAME=VALUE`.

    Attributes:
        consumer_cpu_s: One core of the consumer for a segment: two handle calls at 4 ms, which was measured once but
            has no committed result, and 2 ms for Kafka.
        extractor_cpu_s: One core of an extractor beside the work itself: 2 ms to take a call, by the same trial.
        model_cpu_s: One core of the model's replica beside the model: the same.
        target_busy: Share of its time that a replica works; that of the autoscaling.
        cores_per_node: Of a CPU node.
        spare_cores_per_node: Kept for Ray and the system.
        gpu_items_per_s: Of one GPU, in large batches. NOT MEASURED: an aim of the project.
        models_per_gpu: Replicas that share one.
        message_bytes: A segment by reference, with its headers.
        event_bytes: An event, with its headers.
        kafka_replication: Copies of each record.
        kafka_retention_h: How long records are kept.
        broker_bytes_per_s: That one broker takes in, copies included.
        partitions_per_broker: Replicas of partitions that one broker holds well.
        group_members: Consumers that one group rebalances well.
        replicas_per_shard: Replicas that one Serve controller keeps in step well.
        node_bytes_per_s: Network of a node.
        in_flight_per_consumer: `flow.max_in_flight_segments`.
        wait_s: Of a segment beside its work: commit interval, batch, hand-over.
    """

    consumer_cpu_s: float = 0.010
    extractor_cpu_s: float = 0.002
    model_cpu_s: float = 0.002
    target_busy: float = 0.6
    cores_per_node: float = 32
    spare_cores_per_node: float = 2
    gpu_items_per_s: float = 100_000
    models_per_gpu: float = 4
    message_bytes: float = 500
    event_bytes: float = 2_000
    kafka_replication: float = 3
    kafka_retention_h: float = 72
    broker_bytes_per_s: float = 100e6
    partitions_per_broker: float = 2_000
    group_members: float = 500
    replicas_per_shard: float = 1_000
    node_bytes_per_s: float = 25e9 / 8
    in_flight_per_consumer: float = 64
    wait_s: float = 0.2


def assume(texts: list[str]) -> Assumed:
    """The assumptions, some of them changed."""
    known = {field.name for field in fields(Assumed)}
    changes: dict[str, float] = {}
    for text in texts:
        name, _, value = text.partition("=")
        if name not in known:
            raise SystemExit(f"--assume {text}: no such assumption; there are {', '.join(sorted(known))}")
        changes[name] = float(value)
    return replace(Assumed(), **changes)


def read_measured(results: Path) -> Measured:
    """The costs, from what other benches have written."""
    stages = json.loads((results / "stages.json").read_text())
    soak = json.loads((results / "soak.json").read_text())["samples_s_mb"]
    median_s = {name: statistics.median(values) for name, values in stages["seconds"].items()}
    _, _, length, _, size, *_ = (part.strip() for part in stages["clip"].split(","))
    features = load_checkpoint("hct-dmg-starter").manifest.features.modalities
    # Sound has no steps in the stages' clip; its rate tells how many a segment with sound has.
    steps = {**stages["num_steps"], "audio": float(length.split()[0]) * (features["audio"].rate_hz or 0)}
    return Measured(
        segment_s=float(length.split()[0]),
        segment_bytes=int(size.split()[0]),
        decode_s=median_s["decode"],
        extract_s=median_s["extract"] + median_s["align"] + median_s["fetch"],
        infer_s=median_s["infer"],
        feature_bytes=int(sum(FLOAT_BYTES * one.width * steps[name] for name, one in features.items())),
        extractor_bytes=_memory(soak, "extractors"),
        consumer_bytes=_memory(soak, "consumer"),
        model_bytes=_memory(soak, "model"),
    )


def _memory(samples: dict[str, list[list[float]]], kind: str) -> float:
    return 1e6 * max(values[-1][1] for name, values in samples.items() if name.startswith(kind))
