"""The settings: the `args` of `ray_config.yaml`, validated once, frozen, unknown keys refused.

Knows names, defaults and limits. Does not know what any setting does beyond its docstring.
"""

import difflib
import os
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError, ValidationInfo, field_validator
from pydantic.fields import FieldInfo

from pipelines.errors import ConfigError
from pipelines.media import MediaConfig
from workers.security import SecurityConfig

Seconds = Annotated[float, Field(gt=0)]
Count = Annotated[int, Field(gt=0)]


class KafkaConfig(BaseModel):
    """Group `kafka`.

    Attributes:
        bootstrap_servers: "host:port", several separated by commas.
        input_topic: Where segments are read.
        output_topic: Where affect events are written.
        dead_letter_topic: Where segments that can't be answered are written.
        group_id: Consumer group; also the stem of every consumer's identity.
        instance: Name of this instance of the application; two that overlap must differ, as in a blue-green
            upgrade, and one that restarts should keep its name. Null takes the name of the Ray session, which
            stays as long as Ray's cluster.
        delivery: "exactly_once" writes results and offsets in one transaction; "at_least_once" commits
            offsets after the results' delivery reports.
        auto_offset_reset: Where a group without a committed offset begins.
        commit_interval_s: Longest time that a finished result waits for its transaction.
        transaction_timeout_s: The broker aborts a transaction older than this; bounds what a dead worker
            holds back.
        session_timeout_s: A consumer that is silent for this long loses its partitions; one that is back
            sooner keeps them.
        max_poll_interval_s: A consumer that does not poll for this long loses its partitions.
        request_timeout_s: Longest wait for one answer of the broker.
        api_version: Broker's version as "major.minor", to skip asking it; null asks. "2.3" for the embedded
            broker.
        security: TLS and log-in.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    bootstrap_servers: str = "localhost:9092"
    input_topic: str = "video.segments"
    output_topic: str = "affect.events"
    dead_letter_topic: str = "video.segments.dlq"
    group_id: Annotated[str, Field(min_length=1)] = "hctdmg"
    instance: Annotated[str, Field(min_length=1)] | None = None
    delivery: Literal["exactly_once", "at_least_once"] = "exactly_once"
    auto_offset_reset: Literal["earliest", "latest"] = "earliest"
    commit_interval_s: Seconds = 0.1
    transaction_timeout_s: Annotated[float, Field(gt=0, le=10)] = 10.0
    session_timeout_s: Seconds = 30.0
    max_poll_interval_s: Seconds = 300.0
    request_timeout_s: Annotated[float, Field(ge=1, le=300)] = 30.0
    api_version: Annotated[str, Field(pattern=r"^\d+\.\d+$")] | None = None
    security: SecurityConfig = SecurityConfig()


class TritonConfig(BaseModel):
    """Group `model.triton`: used when `model.backend` is "triton".

    Attributes:
        url: The server's gRPC service as "host:port".
        model_name: "hctdmg" is the export's Python model, "hctdmg_onnx" its ONNX model.
        model_version: The version that must answer; no other is asked.
        timeout_s: Longest wait for one answer. A batch that took longer is tried again.
        tls: Whether to connect by TLS.
        tls_ca_file: Certificates (PEM) of those who may sign the server's; null takes gRPC's own list.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    url: Annotated[str, Field(pattern=r"^[^/\s]+:\d+$")] = "localhost:8001"
    model_name: Annotated[str, Field(min_length=1)] = "hctdmg"
    model_version: Annotated[str, Field(pattern=r"^\d+$")] = "1"
    timeout_s: Seconds = 10.0
    tls: bool = False
    tls_ca_file: Path | None = None


class ModelSettings(BaseModel):
    """Group `model`.

    Attributes:
        checkpoint: Name of a shipped checkpoint, or a folder.
        backend: Where the model runs: "local" is the replica's own process, "triton" a server (`model.triton`).
        device: Of the local backend; "auto" takes a GPU when there is one.
        precision: Of the local backend's transformers; "bf16" computes them in bfloat16, the readings that incongruity
            is judged from stay exact.
        execution: How the local backend runs the model: "eager" as written, "compile" with blocks compiled by
            torch.compile, "graphs" as CUDA graphs. `python -m hctdmg.bench` says which is fastest on a machine.
        num_threads: Threads of the local backend on a CPU; null takes what Ray allows the replica (its `num_cpus`,
            rounded up).
        max_batch_size: Most segments in one batch. Can be changed without a restart (`user_config` of the deployment).
        batch_wait_timeout_s: Longest wait for a batch to fill. Can be changed in the same way.
        triton: The server of the backend "triton".
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    checkpoint: str = "hct-dmg-starter"
    backend: Literal["local", "triton"] = "local"
    device: Annotated[str, Field(pattern=r"^(auto|cpu|cuda(:\d+)?)$")] = "auto"
    precision: Literal["fp32", "bf16"] = "fp32"
    execution: Literal["eager", "compile", "graphs"] = "eager"
    num_threads: Count | None = None
    max_batch_size: Count = 32
    batch_wait_timeout_s: Annotated[float, Field(ge=0)] = 0.01
    triton: TritonConfig = TritonConfig()

    @field_validator("execution")
    @classmethod
    def _graphs_need_a_gpu(cls, execution: str, info: ValidationInfo) -> str:
        if execution == "graphs" and info.data.get("device") == "cpu":
            raise ValueError("model.device is 'cpu', only a GPU has graphs: take 'eager'")
        return execution


class FlowConfig(BaseModel):
    """Group `flow`.

    Attributes:
        max_in_flight_segments: Most segments that one consumer holds; at the limit it pauses its partitions.
            Each partition has an equal share of it.
        max_in_flight_bytes: Most bytes of messages that one consumer holds; each partition has an equal share
            of it. What it has fetched ahead comes on top: for each of its partitions at most 1 MiB or a
            sixteenth of this, or one larger batch as its producer sent it.
        max_concurrent_extractions: Segments that one extractor has at the same time, each in a process of its
            own. More than one keeps it busy while media are fetched, and going while one segment hangs. Decoded and
            extracted are as many at a time as it has cores (`num_cpus`). One partition takes at most half of them,
            rounded up.
        max_attempts: Tries of one segment before a transient error becomes a dead letter.
        max_deaths: Processes that may die of one segment, each while it had that segment alone, before it
            becomes a dead letter.
        replica_restart_s: After a whole replica has died of a segment that it had alone, the next suspect of the
            same partition waits for so long: a poisonous stream then keeps one replica down, not all.
        retry_backoff_s: Wait before the second try; doubles with each further one, with jitter.
        segment_deadline_s: Longest time that is spent on one segment: fetch, decode and extract, every retry
            and the waits between them, but not the wait for a free extractor. Then the segment is
            dead-lettered, and the process that is stuck in it is ended.
        max_dead_letter_run: Most dead letters in a row. Before the next one is published the consumer halts:
            it reads nothing more and commits nothing until `hctdmg resume`; `hctdmg run` exits 3. Each
            consumer counts for itself, and anew after each start.
        max_dead_letter_share: Largest share of dead letters among the latest answers; past it, the same.
        dead_letter_window: How many latest answers that share is taken of.
        min_dead_letter_streams: It takes dead letters of so many streams to pass a cap: none counts for more
            than its part of it, so that a broken camera never halts the others.
        drain_timeout_s: Budget for finishing what is in flight when partitions are revoked (at most half of
            `kafka.max_poll_interval_s`) or the worker stops.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    max_in_flight_segments: Count = 64
    max_in_flight_bytes: Count = 256 * 2**20
    max_concurrent_extractions: Count = 4
    max_attempts: Count = 5
    max_deaths: Count = 2
    replica_restart_s: Annotated[float, Field(ge=0)] = 5.0
    retry_backoff_s: Seconds = 0.2
    segment_deadline_s: Seconds = 60.0
    max_dead_letter_run: Count = 50
    max_dead_letter_share: Annotated[float, Field(gt=0, le=1)] = 0.5
    dead_letter_window: Count = 200
    min_dead_letter_streams: Count = 3
    drain_timeout_s: Seconds = 20.0


class TelemetryConfig(BaseModel):
    """Group `telemetry`.

    Attributes:
        log_level: Least severe log line that is written.
        metrics_port: Where `hctdmg run` serves its metrics to Prometheus, on all network interfaces; null lets
            Ray choose, and `run` says what it chose. A cluster's nodes have their own
            (`ray start --metrics-export-port`).
        otlp_endpoint: Collector for OpenTelemetry spans, as "http://host:4318"; null sends none. Needs the extra
            `telemetry`.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    log_level: Literal["DEBUG", "INFO", "WARNING", "ERROR"] = "INFO"
    metrics_port: Annotated[int, Field(ge=1, le=65_535)] | None = None
    otlp_endpoint: Annotated[str, Field(pattern=r"^https?://[^/\s]+(/\S*)?$")] | None = None


class Settings(BaseModel):
    """All settings."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    kafka: KafkaConfig = KafkaConfig()
    media: MediaConfig = MediaConfig()
    model: ModelSettings = ModelSettings()
    flow: FlowConfig = FlowConfig()
    telemetry: TelemetryConfig = TelemetryConfig()


def validate_settings(args: Mapping[str, Any]) -> Settings:
    """Check `args` of a Serve config and fill in the defaults.

    `${NAME}` in a string is replaced by the environment variable NAME.

    Raises:
        ConfigError: One line that names the key; for an unknown key the nearest known one. A secret that is
            written out is refused: whoever reads the file, or the list of processes, would have it.
    """
    _refuse_written_secrets(args, Settings, "")
    try:
        return Settings.model_validate(_expand(args))
    except ValidationError as error:
        raise ConfigError(_explain(error.errors(include_url=False)[0])) from None


def is_secret(field: FieldInfo | None) -> bool:
    """Whether the value of a setting must not be seen."""
    return field is not None and "SecretStr" in str(field.annotation)


def _refuse_written_secrets(written: object, model: type[BaseModel], path: str) -> None:
    if not isinstance(written, Mapping):
        return
    for key, value in written.items():
        field = model.model_fields.get(key)
        if field is None:
            continue
        if isinstance(field.annotation, type) and issubclass(field.annotation, BaseModel):
            _refuse_written_secrets(value, field.annotation, f"{path}{key}.")
        elif is_secret(field) and value is not None and not re.fullmatch(r"\$\{\w+\}", str(value)):
            name = f"KAFKA_{key.upper()}"
            raise ConfigError(
                f"{path}{key}: a secret is not written here: export it as {name}, say, and write ${{{name}}}"
            )


def _expand(value: object) -> object:
    if isinstance(value, Mapping):
        return {key: _expand(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_expand(item) for item in value]
    if isinstance(value, str):
        return re.sub(r"\$\{(\w+)\}", _from_environment, value)
    return value


def _from_environment(match: re.Match[str]) -> str:
    name = match.group(1)
    if name not in os.environ:
        raise ConfigError(f"the settings use ${{{name}}}, but the environment has no {name}: export it first")
    return os.environ[name]


def _explain(problem: Mapping[str, Any]) -> str:
    *groups, key = (str(part) for part in problem["loc"])
    path = ".".join((*groups, key))
    model = _model(groups)
    if problem["type"] != "extra_forbidden":
        message = problem["msg"].removeprefix("Value error, ")
        shown = isinstance(problem["input"], str | int | float | list) and not is_secret(
            model.model_fields.get(key) if model is not None else None
        )
        return f"{path}: {message}" + (f" (got {problem['input']!r:.100})" if shown else "")
    assert model is not None
    nearest = difflib.get_close_matches(key, model.model_fields, n=1, cutoff=0.0)[0]
    return f"{path}: unknown key; did you mean {'.'.join((*groups, nearest)) if groups else repr(nearest)}?"


def _model(groups: Sequence[str]) -> type[BaseModel] | None:
    """The model of a group, by its path; None when a part of the path is no group."""
    model: type[BaseModel] = Settings
    for group in groups:
        field = model.model_fields.get(group)
        if (
            field is None
            or not isinstance(field.annotation, type)
            or not issubclass(field.annotation, BaseModel)
        ):
            return None
        model = field.annotation
    return model
