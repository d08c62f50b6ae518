"""A model that never answers is noticed: Serve replaces a replica that says it is unwell."""

import asyncio
from pathlib import Path

import pytest

import workers.replica
from hctdmg.batch import Sample
from hctdmg.checkpoint import load_checkpoint
from hctdmg.predictor import Prediction
from tests.checkpoints import save_random_checkpoint
from tests.hctdmg.samples import make_sample
from workers.config import ModelSettings, Settings
from workers.replica import BACKENDS, HctDmgReplica, LocalPredictor


def test_a_replica_whose_batch_never_ends_says_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    checkpoint = save_random_checkpoint(tmp_path / "checkpoint")
    sample = make_sample(load_checkpoint(str(checkpoint)).manifest.model, {"text": 3}, 1)
    is_stuck, may_end = asyncio.Event(), asyncio.Event()

    class Stuck(LocalPredictor):
        async def predict(self, samples: list[Sample]) -> list[Prediction]:  # type: ignore[override]
            is_stuck.set()
            await may_end.wait()
            return await super().predict(samples)

    async def look() -> None:
        replica = HctDmgReplica(Settings(model=ModelSettings(checkpoint=str(checkpoint), device="cpu")))
        await replica.check_health()
        batch = asyncio.ensure_future(replica._predict([sample]))
        await is_stuck.wait()
        with pytest.raises(RuntimeError, match="a batch has been computed for more than 0 s"):
            await replica.check_health()
        may_end.set()
        await batch
        await replica.check_health()

    monkeypatch.setitem(BACKENDS, "local", Stuck)
    monkeypatch.setattr(workers.replica, "STUCK_S", 0.0)
    asyncio.run(look())
