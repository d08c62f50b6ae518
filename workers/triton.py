"""The model on a Triton server: what a replica asks it, and whether it is the right one.

Batches go over gRPC, padded and masked, raw heads come back (`hctdmg.wire`); what they mean is worked out here, by the
code that also serves the local model. Every answer carries the fingerprint of the checkpoint that gave it, so that a
server which is replaced while we run can't answer for another model.

    the server is not ready        nothing is held against the segment: it waits until the server is back
    unavailable, too late, full    `RetryableError`
    another checkpoint             `RetryableError`; before the start `ConfigError`
    anything else                  unexpected

Knows tritonclient. Does not know Ray or Kafka.
"""

import logging
from collections.abc import Sequence
from typing import Any

import tritonclient.grpc
import tritonclient.grpc.aio
from tritonclient.utils import InferenceServerException

from hctdmg.batch import Batch, Sample
from hctdmg.checkpoint import Checkpoint
from hctdmg.model import Output
from hctdmg.predictor import Interpreter, Prediction
from hctdmg.wire import CHECKPOINT_PARAMETER, TensorSpec, fingerprint, signature, to_output, to_tensors
from pipelines.errors import ConfigError, RetryableError
from workers.config import ModelSettings, TritonConfig

log = logging.getLogger(__name__)

PASSING = ("UNAVAILABLE", "DEADLINE_EXCEEDED", "RESOURCE_EXHAUSTED", "ABORTED", "CANCELLED")
"""gRPC's codes of what says nothing about the request."""
CHANNEL = [
    ("grpc.max_send_message_length", -1),
    ("grpc.max_receive_message_length", -1),
    ("grpc.initial_reconnect_backoff_ms", 100),
    ("grpc.min_reconnect_backoff_ms", 100),
    ("grpc.max_reconnect_backoff_ms", 1000),
]
"""Messages of any size. gRPC's own wait before it connects again grows to two minutes: a server that is back would
stand idle."""


class ServerAwayError(Exception):
    """No try was made, because the server or its model is not ready."""


class TritonPredictor:
    """Answers samples by a checkpoint's model on a server.

    Args:
        checkpoint: The one that the server's model was exported from.
        settings: Where it is.
    """

    def __init__(self, checkpoint: Checkpoint, settings: ModelSettings) -> None:
        self._triton = settings.triton
        self._interpreter = Interpreter(checkpoint)
        self._config = checkpoint.manifest.model
        self._weights_N = checkpoint.model.gate.weights_N().detach()
        self._fingerprint = fingerprint(checkpoint.sha256)
        self._client: tritonclient.grpc.aio.InferenceServerClient | None = None
        self._in_doubt = False

    async def predict(self, samples: Sequence[Sample]) -> list[Prediction]:
        """Answer samples in their order.

        Raises:
            ServerAwayError: The server is not ready; ask again later.
            RetryableError: It failed in a way that may pass.
            ValueError: A sample does not fit the checkpoint.
        """
        question = self._interpreter.ask(samples)
        output = None if question.batch is None else await self._run(question.batch)
        return self._interpreter.answer(question, output)

    async def _run(self, batch: Batch) -> Output:
        if self._client is None:  # not earlier: it belongs to the loop that runs now
            self._client = tritonclient.grpc.aio.InferenceServerClient(**_connection(self._triton))
        if self._in_doubt:
            await self._wait_at_the_door(self._client)
        triton = self._triton
        try:
            result = await self._client.infer(
                triton.model_name,
                self._inputs(batch),
                triton.model_version,
                client_timeout=triton.timeout_s,
            )
        except InferenceServerException as error:
            log.warning("Triton at %s failed: %s", triton.url, error)
            self._in_doubt = True
            if _code(error) not in PASSING:
                raise
            raise RetryableError("infer", f"Triton at {triton.url}: {error}") from error
        arrays = {tensor.name: result.as_numpy(tensor.name) for tensor in signature(self._config).outputs}
        if (arrays["checkpoint"] != self._fingerprint).any():
            raise RetryableError(
                "infer",
                f"Triton at {triton.url} now serves another checkpoint than model.checkpoint: "
                "give it ours again, or restart the worker with the new one",
            )
        return to_output(arrays, self._config, self._weights_N)

    async def _wait_at_the_door(self, client: "tritonclient.grpc.aio.InferenceServerClient") -> None:
        """After a failure: no segment is put at stake before the server says that it is ready."""
        triton = self._triton
        try:
            ready = await client.is_model_ready(
                triton.model_name, triton.model_version, client_timeout=triton.timeout_s
            )
        except InferenceServerException as error:
            raise ServerAwayError(f"Triton at {triton.url} is away: {error}") from None
        if not ready:
            raise ServerAwayError(f"Triton at {triton.url}: {triton.model_name} is not ready")
        log.info("Triton at %s is ready", triton.url)
        self._in_doubt = False

    def _inputs(self, batch: Batch) -> list[Any]:
        tensors = to_tensors(batch, self._config)
        inputs = []
        for spec in signature(self._config).inputs:
            array = tensors[spec.name].numpy()
            inputs.append(tritonclient.grpc.InferInput(spec.name, array.shape, spec.data_type))
            inputs[-1].set_data_from_numpy(array)
        return inputs


def check_server(settings: ModelSettings, checkpoint: Checkpoint) -> str:
    """Ask a server whether it serves the model of a checkpoint, in batches of our size.

    Returns:
        What it serves, in words.

    Raises:
        ConfigError: One line: it does not answer, has no such model or version, or the model is another one.
    """
    triton = settings.triton
    model = f"version {triton.model_version} of model {triton.model_name!r}"
    with tritonclient.grpc.InferenceServerClient(**_connection(triton)) as client:
        try:
            client.is_server_live(client_timeout=triton.timeout_s)
        except InferenceServerException as error:
            raise ConfigError(
                f"no Triton server answers at {triton.url} ({error.message()}): "
                "start it, or correct model.triton.url"
            ) from None
        try:
            asked = {"model_version": triton.model_version, "client_timeout": triton.timeout_s}
            metadata = client.get_model_metadata(triton.model_name, **asked)
            config = client.get_model_config(triton.model_name, **asked).config
        except InferenceServerException as error:
            raise ConfigError(
                f"Triton at {triton.url} has no {model} ({error.message()}): load it, "
                "or correct model.triton.model_name and model.triton.model_version"
            ) from None
    differences = _differences(metadata, config.parameters[CHECKPOINT_PARAMETER].string_value, checkpoint)
    if differences:
        raise ConfigError(
            f"Triton at {triton.url}: {model} is not model.checkpoint (server != here): "
            f"{'; '.join(differences)}; export the checkpoint again (hctdmg export --format triton)"
        )
    if config.max_batch_size < settings.max_batch_size:
        raise ConfigError(
            f"Triton at {triton.url}: {model} takes {config.max_batch_size} segments at once, "
            f"model.max_batch_size is {settings.max_batch_size}: lower it, or raise the server's"
        )
    return f"{triton.url} serves {model}, from checkpoint {checkpoint.sha256[:12]}"


def _differences(metadata: Any, checkpoint_sha256: str, checkpoint: Checkpoint) -> list[str]:
    spec = signature(checkpoint.manifest.model)
    found = {one.name: f"{one.datatype} {list(one.shape)}" for one in (*metadata.inputs, *metadata.outputs)}
    wanted = {one.name: _described(one) for one in (*spec.inputs, *spec.outputs)}
    differences = [
        f"{name}: {found.get(name, 'nothing')} != {wanted.get(name, 'nothing')}"
        for name in sorted({*found, *wanted})
        if found.get(name) != wanted.get(name)
    ]
    if checkpoint_sha256 != checkpoint.sha256:
        differences.append(
            f"{CHECKPOINT_PARAMETER}: {checkpoint_sha256[:12] or 'nothing'} != {checkpoint.sha256[:12]}"
        )
    return differences


def _described(tensor: TensorSpec) -> str:
    return f"{tensor.data_type} {[-1, *tensor.shape]}"


def _connection(triton: TritonConfig) -> dict[str, Any]:
    certificates = None if triton.tls_ca_file is None else str(triton.tls_ca_file)
    return {
        "url": triton.url,
        "ssl": triton.tls,
        "root_certificates": certificates,
        "channel_args": CHANNEL,
    }


def _code(error: InferenceServerException) -> str:
    return str(error.status()).removeprefix("StatusCode.")
