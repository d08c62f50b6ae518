"""The model's replica on a real Ray Serve: whose answer is whose, and batches that change while it runs.

One Ray for all tests of this file, which build on each other: they run in their order.
"""

import json
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import ray
import torch
from ray import serve
from ray.serve._private import api as serve_api
from ray.serve.schema import ServeDeploySchema

from hctdmg.checkpoint import Checkpoint, load_checkpoint
from hctdmg.model import HctDmg
from hctdmg.predictor import Predictor
from pipelines.errors import ConfigError
from pipelines.events import Source
from pipelines.prepared import PreparedSegment
from pipelines.segment import Segment
from tests.bench.processes import ours
from tests.checkpoints import save_random_checkpoint
from tests.hctdmg.samples import make_sample
from tests.topics import wait_until
from workers.batching import DEPLOYMENT, batching
from workers.config import ModelSettings
from workers.config_file import SHIPPED, read_config_file
from workers.messages import Answer
from workers.ray_start import start_ray
from workers.replica import LocalPredictor

NAMES = ("text", "audio", "vision")
PATIENCE_S = 120.0
NEVER_S = 3600.0
"""Whoever waits for a batch to fill waits until the test fails."""


class Model:
    """The running application."""

    def __init__(self, checkpoint: Path) -> None:
        self.checkpoint: Checkpoint = load_checkpoint(str(checkpoint))
        self._args = {
            "model": {
                "checkpoint": str(checkpoint),
                "device": "cpu",
                "max_batch_size": 8,
                "batch_wait_timeout_s": NEVER_S,
            }
        }

    def deploy(self, user_config: object = None) -> None:
        """As `serve deploy` does with a file that has this `user_config`, or none."""
        deployment: dict[str, Any] = {"name": DEPLOYMENT, "ray_actor_options": {"num_cpus": 0.4}}
        if user_config is not None:
            deployment["user_config"] = user_config
        application = {
            "name": "model",
            "route_prefix": None,
            "import_path": "tests.model_app:build_app",
            "args": self._args,
            "deployments": [deployment],
        }
        document = {"proxy_location": "Disabled", "applications": [application]}
        serve_api.serve_start(proxy_location="Disabled").deploy_apps(
            ServeDeploySchema.model_validate(document)
        )
        wait_until(self._is_running, "it runs", PATIENCE_S)

    def _is_running(self) -> bool:
        overview = serve.status().applications.get("model")
        return overview is not None and overview.status == "RUNNING" and DEPLOYMENT in overview.deployments

    def pids(self) -> list[int]:
        return sorted(pid for pid, kind in ours().items() if kind == "model")

    def batches(self, segments: list[PreparedSegment]) -> list[int]:
        """Sizes of the batches in which segments are answered that come at once, smallest first."""
        seconds = [event["timings_s"]["infer"] for event in self.ask(segments)]
        return sorted(Counter(seconds).values())

    def ask(self, segments: list[PreparedSegment]) -> list[dict[str, Any]]:
        handle = serve.get_app_handle("model")
        source = Source(topic="t", partition=0, offset=0)
        asked = [handle.answer.remote(segment, source, None) for segment in segments]
        answers = [one.result(timeout_s=PATIENCE_S) for one in asked]
        assert all(isinstance(answer, Answer) for answer in answers), answers
        return [json.loads(answer.value) for answer in answers]

    def prepared(self, number: int) -> list[PreparedSegment]:
        """Segments of random lengths; about each third modality is absent."""
        rng, config = np.random.default_rng(number), self.checkpoint.manifest.model
        segments = []
        for sequence in range(number):
            lengths = {name: int(rng.integers(1, 60)) if rng.random() > 0.3 else 0 for name in NAMES}
            features = dict(make_sample(config, lengths, sequence))
            segment = Segment(stream_id="s", segment_id=f"s/{sequence}", sequence=sequence, uri="file:///a")
            segments.append(PreparedSegment(segment, features, dict.fromkeys(NAMES, 1.0), 5.0, {}))
        return segments


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Model]:
    started = Model(save_random_checkpoint(tmp_path_factory.mktemp("model") / "checkpoint"))
    start_ray(None, relay_logs=False)
    try:
        started.deploy()
        yield started
    finally:
        serve.shutdown()
        ray.shutdown()


@pytest.mark.e2e
def test_each_segment_of_a_batch_of_random_lengths_gets_its_own_answer(model: Model) -> None:
    segments = model.prepared(40)
    events = model.ask(segments)
    assert [event["sequence"] for event in events] == list(range(40))
    predictor = Predictor(model.checkpoint)
    for segment, event in zip(segments, events, strict=True):
        (alone,) = predictor.predict([segment.features])
        said = event["affect"]["sentiment"]
        assert (said is None) == (alone.score is None)
        if said is not None:
            assert said["score"] == pytest.approx(alone.score, abs=1e-4)
        roles = {name: one["role"] for name, one in event["modalities"].items()}
        assert roles == alone.roles


@pytest.mark.e2e
def test_batches_change_without_a_restart(model: Model) -> None:
    (pid,) = model.pids()
    assert model.batches(model.prepared(16)) == [8, 8]
    model.deploy({"max_batch_size": 4})
    wait_until(lambda: model.batches(model.prepared(16)) == [4, 4, 4, 4], "batches of 4", PATIENCE_S)
    # A lonely segment would wait for three others.
    model.deploy({"max_batch_size": 4, "batch_wait_timeout_s": 0.0})
    wait_until(lambda: "batch_wait_timeout_s=0.0" in logged(), "another wait", PATIENCE_S)
    assert len(model.ask(model.prepared(1))) == 1
    assert model.pids() == [pid]


@pytest.mark.e2e
def test_a_wrong_value_is_one_line_in_the_log_and_changes_nothing(model: Model) -> None:
    (pid,) = model.pids()
    model.deploy({"max_batch_size": 0})
    wait_until(
        lambda: "max_batch_size: Input should be greater than 0 (got 0)" in logged(), "refused", PATIENCE_S
    )
    (line,) = [line for line in logged().splitlines() if "greater than 0" in line]
    assert line.endswith("the batches stay as they are")
    assert len(model.ask(model.prepared(5))) == 5  # whose wait is still 0
    assert model.pids() == [pid]


@pytest.mark.e2e
def test_a_file_without_it_brings_the_settings_back(model: Model) -> None:
    (pid,) = model.pids()
    model.deploy()
    back = f"max_batch_size=8 batch_wait_timeout_s={NEVER_S}"
    wait_until(lambda: logged().count(back) == 2, "the settings' own", PATIENCE_S)
    assert model.batches(model.prepared(16)) == [8, 8]
    assert model.pids() == [pid]


def logged() -> str:
    """What this Ray's processes have written to their stderr."""
    logs = Path(ray._private.worker._global_node.get_logs_dir_path())
    return "".join(path.read_text(errors="replace") for path in sorted(logs.glob("worker-*.err")))


@pytest.mark.parametrize(
    ("user_config", "message"),
    [
        ({"max_batch_size": 0}, "max_batch_size: Input should be greater than 0 (got 0)"),
        ({"batch_wait_timeout_s": -1}, "batch_wait_timeout_s: .* (got -1)"),
        ({"batch_wait_timeout_s": float("nan")}, "batch_wait_timeout_s: .*finite.* (got nan)"),
        ({"max_batch_size": "many"}, "max_batch_size: .*integer.* (got 'many')"),
        ({"max_batch": 3}, "max_batch: unknown key; did you mean 'max_batch_size'?"),
        ([3], "is list, it must hold max_batch_size, batch_wait_timeout_s"),
    ],
)
def test_a_wrong_user_config_is_refused_before_the_start(
    user_config: object, message: str, tmp_path: Path
) -> None:
    pattern = "user_config of HctDmgReplica: " + message.replace("(", r"\(").replace(")", r"\)").replace(
        "?", r"\?"
    )
    with pytest.raises(ConfigError, match=pattern) as caught:
        batching(user_config, ModelSettings())
    assert "\n" not in str(caught.value)
    file = tmp_path / "ray_config.yaml"
    text = SHIPPED.read_text()
    assert "- name: HctDmgReplica" in text
    given = f"- name: HctDmgReplica\n        user_config: {json.dumps(user_config)}".replace("NaN", ".nan")
    file.write_text(text.replace("- name: HctDmgReplica", given))
    with pytest.raises(ConfigError, match=pattern):
        read_config_file(file)


def test_what_a_user_config_leaves_out_is_as_in_the_settings() -> None:
    found = batching({"max_batch_size": 5}, ModelSettings(batch_wait_timeout_s=0.7))
    assert (found.max_batch_size, found.batch_wait_timeout_s) == (5, 0.7)


def test_a_local_model_is_warm_before_it_is_asked_and_has_its_threads(tmp_path: Path) -> None:
    checkpoint = load_checkpoint(str(save_random_checkpoint(tmp_path / "checkpoint")))
    seen: list[tuple[int, int]] = []

    def note(module: torch.nn.Module, arguments: Any) -> None:
        if isinstance(module, HctDmg):
            seen.append((arguments[0].num_samples, torch.get_num_threads()))

    hook = torch.nn.modules.module.register_module_forward_pre_hook(note)
    try:
        LocalPredictor(checkpoint, ModelSettings(device="cpu", max_batch_size=6, num_threads=2))
    finally:
        hook.remove()
    assert seen == [(1, 2), (6, 2)]
