"""What does freezing the gate cost when the data shifts later? Knows two phases.

Phase 1 trains on the default world. In phase 2 the features are turned half way towards other matrices, and words and
face swap informativeness, so that another modality ought to be primary. "trained" never freezes the gate; "frozen"
freezes it once it has converged, for good (at the end of phase 1 if it never did); "thawed" lets it go at the shift.
"""

import dataclasses
from collections.abc import Sequence

from hctdmg.data.synthetic import World
from hctdmg.experiments.drawing import bars
from hctdmg.experiments.experiment import Experiment, Findings
from hctdmg.experiments.record import Metrics, Record
from hctdmg.experiments.setup import Setup
from hctdmg.experiments.small import gate, make_data, sentiment, train_small
from hctdmg.experiments.tables import variants_table
from hctdmg.model import HctDmg
from hctdmg.training.build import OWN
from hctdmg.training.fit import fit

VARIANTS = ("trained", "frozen", "thawed")
TOLERANCE, EPOCHS = 0.02, 3
"""Converged: no weight moved by more than this over so many epochs."""
SHIFT = 0.5
METRICS = {
    "after.mae": "error after adapting", "before.mae": "error before the shift", "at.mae": "at the shift",
    "frozen_after": "frozen after epoch", "after.gate.vision": "gate of vision after",
    "after.primary.vision": "vision primary after",
}  # fmt: skip


def shifted(world: World) -> World:
    """The world of phase 2."""
    informative = {view.name: view.informativeness for view in world.views}
    turned = dataclasses.replace(world, shift=SHIFT)
    return turned.changed("text", informativeness=informative["vision"]).changed(
        "vision", informativeness=informative["text"]
    )


def measure(variant: str, seed: int, setup: Setup) -> Metrics:
    """Both phases; scores before the shift, at it, and after adapting."""
    world = setup.world(seed)
    data, new = make_data(setup, world, seed), make_data(setup, shifted(world), seed)
    tolerance = None if variant == "trained" else TOLERANCE
    network, result = train_small(
        OWN, data, setup, seed, gate_freeze_tolerance=tolerance, gate_freeze_epochs=EPOCHS
    )
    assert isinstance(network, HctDmg)
    found = {"before": sentiment(network, data.splits["test"]), "at": sentiment(network, new.splits["test"])}
    network.gate.freeze(variant == "frozen")
    adapted = fit(network, new, dataclasses.replace(setup.fit, seed=seed + 1000))
    found["after"] = {**sentiment(network, new.splits["test"]), **gate(adapted)}
    metrics = {f"{when}.{name}": value for when, some in found.items() for name, value in some.items()}
    metrics |= gate(result)
    if result.gate_frozen_after is not None:
        metrics["frozen_after"] = float(result.gate_frozen_after)
    return metrics


def read(records: Sequence[Record]) -> Findings:
    """Errors before, at and after the shift."""
    table = variants_table(records, VARIANTS, METRICS, "trained")
    return Findings((table,), (bars(records, VARIANTS, "after.mae", "error after adapting"),))


FREEZE = Experiment(
    name="freeze",
    question="What does freezing the gate cost when the data shifts later?",
    method=(
        "Train; then turn the features half way to other matrices and swap the informativeness of words and "
        "face; train as long again. Inputs are standardised anew at the shift. Paired t-test over seeds on "
        "the error after adapting."
    ),
    variants=VARIANTS,
    measure=measure,
    read=read,
    constants={"tolerance": TOLERANCE, "epochs": EPOCHS, "shift": SHIFT},
)
