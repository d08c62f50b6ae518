"""Is the modality that was made most informative chosen as primary? Knows three worlds and four ways to teach the gate.

The gate's variants: "streams", as the paper has it: its weights scale the streams, and learn by that alone;
"unimodal": they also weigh the unimodal losses; "samples": they are samples' scores averaged over the batch; and the
last two together.
"""

import dataclasses
import statistics
from collections.abc import Sequence
from typing import Any

from hctdmg.data.synthetic import World
from hctdmg.experiments.drawing import bars
from hctdmg.experiments.experiment import Experiment, Findings
from hctdmg.experiments.record import Metrics, Record
from hctdmg.experiments.setup import Setup
from hctdmg.experiments.small import gate, make_data, sentiment, train_small
from hctdmg.experiments.statistics import estimate, share, shown_p
from hctdmg.training.build import OWN
from hctdmg.training.page import Cell, Table

NAMES = ("text", "audio", "vision")
MOST, LESS, NOISE = 1.0, 0.3, 0.5
"""Informativeness of the best view and of the two others; noise of all."""
GATES: dict[str, tuple[dict[str, Any], dict[str, Any]]] = {
    "streams": ({}, {}),
    "unimodal": ({}, {"unimodal_weighting": "gate"}),
    "samples": ({"gate": "sample"}, {}),
    "samples+unimodal": ({"gate": "sample"}, {"unimodal_weighting": "gate"}),
}
VARIANTS = tuple(f"{kind}-{name}" for kind in GATES for name in NAMES)
CHANCE = 1 / len(NAMES)


def world_of(world: World, best: str) -> World:
    """All views as noisy, one of them far more informative."""
    views = tuple(
        dataclasses.replace(view, noise=NOISE, informativeness=MOST if view.name == best else LESS)
        for view in world.views
    )
    return dataclasses.replace(world, views=views)


def measure(variant: str, seed: int, setup: Setup) -> Metrics:
    """Train one in the world where one modality is best."""
    kind, best = variant.rsplit("-", 1)
    data = make_data(setup, world_of(setup.world(seed), best), seed)
    settings, changes = GATES[kind]
    network, result = train_small(OWN, data, setup, seed, settings, **changes)
    found = gate(result)
    recovered = {"recovered": found[f"primary.{best}"], "gate.best": found[f"gate.{best}"]}
    return {**sentiment(network, data.splits["test"]), **found, **recovered}


def read(records: Sequence[Record]) -> Findings:
    """How often, by variant of the gate and by modality."""
    rows: list[list[Cell]] = []
    for kind in GATES:
        for name in (*NAMES, "any"):
            wanted = {f"{kind}-{one}" for one in (NAMES if name == "any" else (name,))}
            ones = [one for one in records if one.variant in wanted]
            if not ones:
                rows.append([kind, name, 0, None, None, None, None])
                continue
            found = share(sum(one.metrics["recovered"] == 1 for one in ones), len(ones), CHANCE)
            weight, error = (_mean(ones, metric) for metric in ("gate.best", "mae"))
            rows.append([kind, name, found.num, str(found), shown_p(found.p), weight, error])
    columns = (
        "gate",
        "best modality",
        "runs",
        "chosen as primary",
        "against 1/3",
        "its weight",
        "test error",
    )
    return Findings(
        (Table(columns, rows),), (bars(records, VARIANTS, "gate.best", "weight of the best modality"),)
    )


def _mean(records: Sequence[Record], metric: str) -> str:
    """Over seeds, each seed's worlds first brought to their mean: sharing matrices, they are no further seeds."""
    by_seed: dict[int, list[float]] = {}
    for one in records:
        by_seed.setdefault(one.seed, []).append(one.metrics[metric])
    return str(estimate([statistics.fmean(values) for values in by_seed.values()]))


RECOVERY = Experiment(
    name="recovery",
    question="Is the modality that was made most informative chosen as primary?",
    method=(
        "Worlds in which one view has an informativeness of 1 and the others of 0.3, all as noisy. Counted: "
        "runs whose heaviest modality is that one, with exact binomial intervals and test against one in "
        "three."
    ),
    variants=VARIANTS,
    measure=measure,
    read=read,
    constants={"most": MOST, "less": LESS, "noise": NOISE},
)
