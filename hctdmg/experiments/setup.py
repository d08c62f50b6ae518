"""What the experiments share: world, sizes, small models, training. Fixed before any of them was run.

The world is the default one with samples half as long, and the models are narrower and shallower than their defaults,
so that some hundred runs take hours, not weeks, on one core; all models of an experiment are cut alike. The learning
rate is the better of two (0.002 and 0.004) by HCT-DMG's validation loss in a pilot on matrices of another seed (999),
which no experiment uses; the epochs are what that loss allowed to save.
Knows numbers. Does not know what is asked.
"""

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from hctdmg.baselines.mult import MulTConfig
from hctdmg.data.synthetic import DEFAULT_WORLD, World
from hctdmg.training.fit_config import FitConfig

SMALL: Mapping[str, Any] = {
    "dim": 16, "num_heads": 4, "num_layers_stage1": 2, "num_layers_stage2": 2, "num_layers_self": 2,
}  # fmt: skip
"""Of HCT-DMG: 62,669 parameters at the world's widths. Two layers, so that what differs between them can be seen."""


@dataclass(frozen=True)
class Setup:
    """How large an experiment is.

    Attributes:
        name: "full", whose records are compared, or "quick", which only shows that it runs.
        num_train: Samples.
        num_valid: Samples.
        num_test: Samples.
        fit: How to train.
        least_s: Shortest sample of the world.
        most_s: Longest sample.
        model: Fields of `ModelConfig`.
    """

    name: str = "full"
    num_train: int = 480
    num_valid: int = 160
    num_test: int = 320
    fit: FitConfig = field(
        default_factory=lambda: FitConfig(
            num_epochs=15, batch_size=32, learning_rate=2e-3, patience=15, plateau_patience=5, num_threads=1
        )
    )
    least_s: float = 2.0
    most_s: float = 4.0
    model: Mapping[str, Any] = field(default_factory=lambda: dict(SMALL))

    def world(self, seed: int) -> World:
        """The default world's shape, with matrices of the run's own seed."""
        return dataclasses.replace(DEFAULT_WORLD, seed=seed, least_s=self.least_s, most_s=self.most_s)

    def scaled(self, num_train: int, num_valid: int, num_test: int, **fit: Any) -> "Setup":
        """Other sizes and training, where this is the full setup; the quick one stays as it is."""
        if self.name != "full":
            return self
        return dataclasses.replace(
            self,
            num_train=num_train,
            num_valid=num_valid,
            num_test=num_test,
            fit=dataclasses.replace(self.fit, **fit),
        )

    @property
    def mult(self) -> Mapping[str, Any]:
        """Fields of `MulTConfig`, cut as HCT-DMG is; its self-attention has three layers at least."""
        return {
            "dim": self.model["dim"],
            "num_heads": self.model["num_heads"],
            "num_layers": self.model["num_layers_stage2"],
        }


def on_equal_terms(setup: Setup) -> Setup:
    """By the samples' labels alone: those of single modalities say who contradicts whom, and no peer can be told."""
    return dataclasses.replace(setup, fit=dataclasses.replace(setup.fit, unimodal_truth="sample"))


FULL = Setup()
QUICK = dataclasses.replace(
    FULL,
    name="quick",
    num_train=24,
    num_valid=24,
    num_test=24,
    fit=dataclasses.replace(FULL.fit, num_epochs=1),
    least_s=1.0,
    most_s=1.5,
    model={"dim": 8, "num_heads": 2, "num_layers_stage1": 1, "num_layers_stage2": 1, "num_layers_self": 1},
)

NUM_SEEDS = 5
"""Fewer give no interval to speak of; each has its own matrices, samples and first weights."""

assert set(FULL.mult) <= {one.name for one in dataclasses.fields(MulTConfig)}
