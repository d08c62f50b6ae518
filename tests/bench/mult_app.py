"""The worker's application with MulT in the place of HCT-DMG: the same work, another model.

MulT has our kernels and masks, its repository's size and random weights: it costs what a trained one costs, and what
it answers means nothing. Its one head stands for the unimodal ones that it does not have.
"""

import asyncio
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any
from unittest import mock

import torch
from ray import serve

import workers.app
from hctdmg.baselines.mult import MulT, MulTConfig
from hctdmg.batch import Sample
from hctdmg.checkpoint import Checkpoint
from hctdmg.model import Output
from hctdmg.predictor import Interpreter, Prediction
from hctdmg.runner import keep_memory
from workers import replica
from workers.config import ModelSettings, Settings, validate_settings

IMPORT_PATH = "tests.bench.mult_app:build_app"


class MulTPredictor:
    """A `workers.replica.Predicts`: as `LocalPredictor`, with MulT.

    Args:
        checkpoint: Says which modalities there are, and how an answer is put together.
        settings: Threads, and the batch to warm up with.
    """

    def __init__(self, checkpoint: Checkpoint, settings: ModelSettings) -> None:
        keep_memory()
        self._thread = ThreadPoolExecutor(1, "infer", replica.set_num_threads, (settings.num_threads,))
        self._interpreter = Interpreter(checkpoint)
        config = checkpoint.manifest.model
        self._names = config.names
        self._weights_N = checkpoint.model.gate.weights_N().detach()
        self._mult = MulT(MulTConfig(config.modalities, config.num_outputs)).eval()

    async def predict(self, samples: Sequence[Sample]) -> list[Prediction]:
        """Answer samples in their order."""
        return await asyncio.get_running_loop().run_in_executor(self._thread, self._predict, samples)

    @torch.inference_mode()
    def _predict(self, samples: Sequence[Sample]) -> list[Prediction]:
        question = self._interpreter.ask(samples)
        if question.batch is None:
            return self._interpreter.answer(question, None)
        prediction_BK = self._mult(question.batch).prediction_BK
        order_BN = torch.arange(len(self._names)).expand(len(question.rows), -1)
        unimodal = dict.fromkeys(self._names, prediction_BK)
        output = Output(prediction_BK, unimodal, order_BN, self._weights_N, attention=None)
        return self._interpreter.answer(question, output)


class MulTReplica(replica.HctDmgReplica):
    """The worker's replica, in a process whose local backend is MulT."""

    def __init__(self, settings: Settings) -> None:
        replica.BACKENDS["local"] = MulTPredictor
        super().__init__(settings)


def build_app(args: Mapping[str, Any]) -> serve.Application:
    """In place of `workers.app:build_app`."""
    with mock.patch.object(workers.app, "HctDmgReplica", MulTReplica):
        return workers.app.bind(validate_settings(args))
