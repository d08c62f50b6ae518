"""The model on a real Triton server gives the answers of the local one, and its troubles are told apart."""

import asyncio
import json
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tritonclient.grpc

from hctdmg.batch import Sample
from hctdmg.checkpoint import Checkpoint, load_checkpoint
from hctdmg.predictor import Predictor
from pipelines.answer import build_event
from pipelines.errors import ConfigError, RetryableError
from pipelines.events import ModelInfo
from pipelines.prepared import PreparedSegment
from pipelines.segment import Segment
from tests.checkpoints import save_random_checkpoint
from tests.conftest import TritonExport
from tests.hctdmg.samples import make_model, make_sample, small_config
from tests.hctdmg.test_checkpoint import make_manifest
from tests.kafka_broker import free_ports
from tests.triton_server import TritonServer, running_triton
from workers.attempts import Attempts
from workers.cli import run
from workers.config import FlowConfig, ModelSettings, Settings, TritonConfig
from workers.doctor import examine
from workers.embedded import API_VERSION, EmbeddedBroker
from workers.messages import Answer, Failure, Record, Work
from workers.replica import BACKENDS, HctDmgReplica
from workers.triton import ServerAwayError, TritonPredictor, check_server

pytestmark = pytest.mark.triton

NAMES = ("text", "audio", "vision")


PATIENCE_S = 60.0
"""Of tests that are not about time, on machines that have much else to do."""


def model_settings(checkpoint: Path, backend: str = "triton", **triton: Any) -> ModelSettings:
    patient = {"timeout_s": PATIENCE_S, **triton}
    return ModelSettings.model_validate(
        {"checkpoint": str(checkpoint), "backend": backend, "triton": patient}
    )


def lengths(seed: int) -> dict[str, int]:
    """Lengths as segments have them, and about each third modality absent."""
    rng = np.random.default_rng(seed)
    return {name: int(rng.integers(1, 60)) if rng.random() > 0.3 else 0 for name in NAMES}


def prepared(checkpoint: Checkpoint, segment_id: str, seed: int) -> PreparedSegment:
    features = make_sample(checkpoint.manifest.model, lengths(seed), seed)
    segment = Segment(stream_id="cam", segment_id=segment_id, sequence=seed, uri="file:///a.mp4")
    quality = {name: float(len(x_TD) > 0) for name, x_TD in features.items()}
    return PreparedSegment(segment, dict(features), quality, 5.0, {"fetch": 0.1})


def events(settings: ModelSettings, num_segments: int) -> list[dict[str, Any]]:
    """What a backend makes of segments that come in one batch."""
    checkpoint = load_checkpoint(settings.checkpoint)
    segments = [prepared(checkpoint, f"cam/{number}", number) for number in range(num_segments)]
    info = ModelInfo(name="m", version="1", checkpoint_sha256=checkpoint.sha256, backend=settings.backend)
    predictor = BACKENDS[settings.backend](checkpoint, settings)
    predictions = asyncio.run(predictor.predict([one.features for one in segments]))
    return [
        build_event(segment, prediction, info, None, 0.0).model_dump(mode="json")
        for segment, prediction in zip(segments, predictions, strict=True)
    ]


def test_events_are_those_of_the_local_backend(
    triton_export: TritonExport, triton_server: TritonServer
) -> None:
    checkpoint = triton_export.checkpoint
    local = events(model_settings(checkpoint, "local"), 40)
    remote = events(model_settings(checkpoint, url=triton_server.url), 40)
    assert {event["model"].pop("backend") for event in local} == {"local"}
    assert {event["model"].pop("backend") for event in remote} == {"triton"}
    for ours, theirs in zip(local, remote, strict=True):
        assert flat(theirs) == pytest.approx(flat(ours), abs=1e-4)
    roles = [event["modalities"][name]["role"] for event in remote for name in NAMES]
    assert set(roles) == {"primary", "auxiliary", "absent"}
    assert len({event["affect"]["sentiment"] is None for event in remote}) == 2  # one has nothing at all


def flat(value: object, path: str = "") -> dict[str, Any]:
    """Everything that is no container, with the way to it."""
    if isinstance(value, dict):
        return {way: leaf for key, item in value.items() for way, leaf in flat(item, f"{path}.{key}").items()}
    if isinstance(value, list):
        return {way: leaf for n, item in enumerate(value) for way, leaf in flat(item, f"{path}.{n}").items()}
    return {path: value}


def test_the_server_computes_requests_of_different_lengths_together(
    triton_export: TritonExport, triton_server: TritonServer
) -> None:
    checkpoint = load_checkpoint(str(triton_export.checkpoint))
    samples = [make_sample(checkpoint.manifest.model, {"text": 1 + n, "audio": 90 - n}, n) for n in range(40)]
    before = statistics(triton_server)
    found = asyncio.run(ask_one_by_one(checkpoint, triton_server.url, samples))
    requests, runs = (now - then for now, then in zip(statistics(triton_server), before, strict=True))
    assert requests == 40
    assert runs < 30, "requests were computed one by one"
    for one, local in zip(found, Predictor(checkpoint).predict(samples), strict=True):
        assert one.score == pytest.approx(local.score, abs=1e-4)
        assert one.roles == local.roles


async def ask_one_by_one(checkpoint: Checkpoint, url: str, samples: Sequence[Sample]) -> list[Any]:
    """Each sample is a request of its own, all at the same time."""
    triton = TritonConfig(url=url, timeout_s=PATIENCE_S)
    predictor = TritonPredictor(checkpoint, ModelSettings(triton=triton))
    return [one for (one,) in await asyncio.gather(*(predictor.predict([sample]) for sample in samples))]


def statistics(server: TritonServer) -> tuple[int, int]:
    """Requests answered, and runs that it took."""
    with tritonclient.grpc.InferenceServerClient(server.url) as client:
        (model,) = client.get_inference_statistics("hctdmg").model_stats
    return model.inference_count, model.execution_count


def test_a_server_of_another_model_is_refused_in_one_line(
    triton_export: TritonExport, triton_server: TritonServer, tmp_path: Path
) -> None:
    checkpoint = load_checkpoint(str(triton_export.checkpoint))
    other = load_checkpoint(str(save_random_checkpoint(tmp_path / "other", seed=1)))
    model = make_model(small_config(2))
    narrow = Checkpoint(make_manifest(model), model, "0" * 64)
    url = triton_server.url
    assert "serves version 1 of model 'hctdmg'" in check_server(
        ModelSettings(triton=TritonConfig(url=url)), checkpoint
    )
    for triton, wanted, what in (
        (TritonConfig(url=url, model_version="7"), checkpoint, "version 7 of model 'hctdmg'.*model_version"),
        (TritonConfig(url=url, model_name="mine"), checkpoint, "no version 1 of model 'mine'.*model_name"),
        (TritonConfig(url=f"127.0.0.1:{free_ports(1)[0]}"), checkpoint, "no Triton server answers.*url"),
        (TritonConfig(url=url), other, f"{checkpoint.sha256[:12]} != {other.sha256[:12]}.*export"),
        (TritonConfig(url=url), narrow, r"text_features: FP32 \[-1, -1, 260\] != FP32 \[-1, -1, 12\]"),
        (TritonConfig(url=url), narrow, r"vision_mask: BOOL \[-1, -1\] != nothing"),
    ):
        with pytest.raises(ConfigError, match=what) as caught:
            check_server(ModelSettings(triton=triton), wanted)
        assert "\n" not in str(caught.value)
    with pytest.raises(ConfigError, match=r"takes 128 segments at once, .* is 129"):
        check_server(ModelSettings(triton=TritonConfig(url=url), max_batch_size=129), checkpoint)


def test_the_worker_and_doctor_look_at_the_server_first(
    triton_export: TritonExport, triton_server: TritonServer, capsys: pytest.CaptureFixture[str]
) -> None:
    with EmbeddedBroker({"video.segments": 1, "affect.events": 1, "video.segments.dlq": 1}) as broker:
        overrides = {
            "kafka.bootstrap_servers": broker.bootstrap_servers,
            "kafka.api_version": f"'{API_VERSION}'",
            "model.checkpoint": triton_export.checkpoint,
            "model.backend": "triton",
            "model.triton.url": triton_server.url,
            "model.triton.model_version": "'7'",
        }
        options = [part for key, value in overrides.items() for part in ("--set", f"{key}={value}")]
        assert run(["run", *options]) == 2
    (line,) = [line for line in capsys.readouterr().err.splitlines() if line.startswith("error:")]
    assert "version 7" in line
    for version, status in (("7", "fail"), ("1", "ok")):
        model = model_settings(triton_export.checkpoint, url=triton_server.url, model_version=version)
        (finding,) = [one for one in examine(Settings(model=model), False) if one.name == "triton"]
        assert finding.status == status


def test_an_answer_of_another_checkpoint_is_no_answer(triton_server: TritonServer, tmp_path: Path) -> None:
    """As when the server is replaced by one of a new checkpoint while we run."""
    other = load_checkpoint(str(save_random_checkpoint(tmp_path / "other", seed=1)))
    sample = make_sample(other.manifest.model, {"text": 3})
    with pytest.raises(RetryableError, match="another checkpoint"):
        asyncio.run(ask_one_by_one(other, triton_server.url, [sample]))


def test_an_answer_that_comes_too_late_is_tried_again(
    triton_export: TritonExport, triton_server: TritonServer
) -> None:
    checkpoint = load_checkpoint(str(triton_export.checkpoint))
    sample = make_sample(checkpoint.manifest.model, {"audio": 60})

    async def ask() -> None:
        triton = TritonConfig(url=triton_server.url, timeout_s=1e-4)
        await TritonPredictor(checkpoint, ModelSettings(triton=triton)).predict([sample])

    with pytest.raises(RetryableError, match="DEADLINE_EXCEEDED"):
        asyncio.run(ask())


def test_what_the_server_can_not_compute_is_no_passing_trouble(
    triton_export: TritonExport, triton_server: TritonServer
) -> None:
    """More samples than the server takes at once: to ask again would not help."""
    checkpoint = load_checkpoint(str(triton_export.checkpoint))
    sample = make_sample(checkpoint.manifest.model, {"text": 1})

    async def ask() -> None:
        settings = ModelSettings(triton=TritonConfig(url=triton_server.url))
        await TritonPredictor(checkpoint, settings).predict([sample] * 129)

    with pytest.raises(tritonclient.grpc.InferenceServerException, match="batch-size must be <= 128"):
        asyncio.run(ask())


@dataclass
class Replica:
    """A backend of `Attempts` that is a replica: segments need no extraction here.

    Batches are Serve's, and need Serve around them: one segment at a time is asked about.
    """

    replica: HctDmgReplica
    checkpoint: Checkpoint
    failures: list[Failure] = field(default_factory=list)

    async def together(self, work: Work) -> Answer | Failure:
        segment = work.incoming.segment
        ready = prepared(self.checkpoint, segment.segment_id, segment.sequence)
        (outcome,) = [
            one async for one in self.replica.answer_alone(ready, work.source, None) if one is not None
        ]
        if isinstance(outcome, Failure):
            self.failures.append(outcome)
        return outcome

    async def alone(self, work: Work) -> Answer | Failure:
        raise AssertionError(f"{work.source} is suspected")


def test_a_server_that_is_killed_and_comes_back_costs_no_segment(triton_export: TritonExport) -> None:
    checkpoint = load_checkpoint(str(triton_export.checkpoint))

    async def stream(server: TritonServer) -> tuple[list[Answer], list[Failure]]:
        settings = model_settings(triton_export.checkpoint, url=server.url)
        backend = Replica(HctDmgReplica(Settings(model=settings)), checkpoint)
        # One failed try may be followed by one more: what waits for the server must not count.
        attempts = Attempts(FlowConfig(max_attempts=2, retry_backoff_s=0.02), backend)
        answered = 0

        async def one(number: int) -> Answer:
            nonlocal answered
            answer = await attempts.answer(record(number))
            answered += 1
            return answer

        tasks = [asyncio.ensure_future(one(number)) for number in range(5)]
        await asyncio.gather(*tasks)
        server.kill()
        tasks += [asyncio.ensure_future(one(number)) for number in range(5, 20)]
        async with asyncio.timeout(PATIENCE_S):
            while sum(failure.kind == "displaced" for failure in backend.failures) < 30:
                await asyncio.sleep(0.01)
        assert answered == 5
        await asyncio.to_thread(server.start)
        async with asyncio.timeout(PATIENCE_S):
            return await asyncio.gather(*tasks), backend.failures

    def record(number: int) -> Record:
        fields = {"stream_id": "cam", "segment_id": f"cam/{number}", "sequence": number, "uri": "file:///a"}
        return Record("segments", 0, number, b"cam", json.dumps(fields).encode(), ())

    with running_triton(triton_export.repository, ["hctdmg"]) as server:
        answers, failures = asyncio.run(stream(server))
    assert [answer.failure for answer in answers] == [None] * 20
    found = [json.loads(answer.value or b"")["sequence"] for answer in answers]
    assert found == list(range(20))
    assert {failure.kind for failure in failures} == {"transient", "displaced"}


def test_while_nobody_is_there_no_segment_is_put_at_stake(triton_export: TritonExport) -> None:
    checkpoint = load_checkpoint(str(triton_export.checkpoint))
    triton = TritonConfig(url=f"127.0.0.1:{free_ports(1)[0]}", timeout_s=PATIENCE_S)
    sample = make_sample(checkpoint.manifest.model, {"text": 3})

    async def ask_twice() -> None:
        predictor = TritonPredictor(checkpoint, ModelSettings(triton=triton))
        with pytest.raises(RetryableError, match="UNAVAILABLE"):
            await predictor.predict([sample])
        with pytest.raises(ServerAwayError):
            await predictor.predict([sample])

    asyncio.run(ask_twice())
