"""All models on the same splits: error, size, time to train, speed. Knows the registry.

Models have their default sizes here; each is given as many samples and epochs as one core can bear for all of them.
"""

import time
from collections.abc import Sequence

import torch
from torch import nn

from hctdmg.baselines.registry import NAMES, size_table
from hctdmg.data.dataset import Split
from hctdmg.experiments.drawing import bars
from hctdmg.experiments.experiment import Experiment, Findings
from hctdmg.experiments.record import Metrics, Record
from hctdmg.experiments.setup import Setup, on_equal_terms
from hctdmg.experiments.small import make_data, sentiment
from hctdmg.experiments.tables import variants_table
from hctdmg.training.build import OWN, build_network
from hctdmg.training.fit import fit
from hctdmg.training.network import ask
from hctdmg.training.page import Cell, Table

NUM_ROUNDS = 3
BATCH = 32
METRICS = {
    "mae": "test error", "acc2": "right side of 0", "r": "r", "parameters": "parameters", "train_s": "training, s",
    "items_per_s": "items/s",
}  # fmt: skip


def setup_of(setup: Setup) -> Setup:
    """Default sizes cost much: fewer samples and epochs, at MulT's learning rate."""
    fit = {"num_epochs": 8, "learning_rate": 1e-3, "patience": 8, "plateau_patience": 8}
    return on_equal_terms(setup.scaled(320, 160, 320, **fit))


def measure(variant: str, seed: int, setup: Setup) -> Metrics:
    """Train one at its default size, score it and time it; seconds are of the processor, not of the clock."""
    data = make_data(setup, setup.world(seed), seed)
    network = build_network(variant, data, seed)
    begun_s = time.process_time()
    result = fit(network, data, setup.fit)
    train_s = time.process_time() - begun_s
    return {
        **sentiment(network, data.splits["test"]),
        "valid_loss": result.best.valid_loss,
        "parameters": float(sum(one.numel() for one in network.parameters())),
        "train_s": train_s,
        "items_per_s": _speed(network, data.splits["test"]),
    }


def _speed(network: nn.Module, split: Split) -> float:
    """Samples a second of processor time in batches of 32, the best of some rounds."""
    batch = split.batch(list(range(min(BATCH, split.num_samples))))
    spent_s = []
    with torch.inference_mode():
        ask(network, batch)
        for _ in range(NUM_ROUNDS):
            begun_s = time.process_time()
            ask(network, batch)
            spent_s.append(time.process_time() - begun_s)
    return batch.num_samples / max(1e-9, min(spent_s))


def read(records: Sequence[Record]) -> Findings:
    """All models, then their sizes beside the published ones."""
    tables = (variants_table(records, NAMES, METRICS, OWN), sizes())
    return Findings(tables, (bars(records, NAMES, "mae", "test error"),))


def sizes() -> Table:
    """Parameters at the widths of CMU-MOSEI beside what was published."""
    rows: list[list[Cell]] = []
    for one in size_table():
        difference = None if one.published is None else f"{one.num_parameters / one.published - 1:+.1%}"
        published = None if one.published is None else f"{one.published:,}"
        rows.append([one.name, f"{one.num_parameters:,}", published, difference, one.note])
    return Table(
        ("model", "parameters", "published", "difference", "note"),
        rows,
        "Sizes at inputs 300/74/35 with one output",
    )


COMPARE = Experiment(
    name="compare",
    question="How does HCT-DMG stand beside its peers?",
    method=(
        "Every model of the registry at its default size, on the same splits, by the same trainer: 320 "
        "samples, 8 epochs, learning rate 1e-3, by the samples' labels alone. None was tuned, and with so few "
        "steps a table of rank says little about any of them at its best. Seconds are of processor time on one "
        "thread of a shared machine. Paired t-test over seeds."
    ),
    variants=NAMES,
    measure=measure,
    read=read,
    setup=setup_of,
    is_timed=True,
)
