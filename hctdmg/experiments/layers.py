"""How many layers does each stage need? Knows one to six."""

from collections.abc import Sequence

from hctdmg.experiments.drawing import bars
from hctdmg.experiments.experiment import Experiment, Findings
from hctdmg.experiments.record import Metrics, Record
from hctdmg.experiments.setup import Setup
from hctdmg.experiments.small import gate, make_data, sentiment, train_small
from hctdmg.experiments.tables import variants_table
from hctdmg.training.build import OWN

VARIANTS = tuple(f"{number}" for number in range(1, 7))
BASE = "2"
METRICS = {"mae": "test error", "acc2": "right side of 0", "r": "r", "parameters": "parameters"}


def measure(variant: str, seed: int, setup: Setup) -> Metrics:
    """Train one and score it."""
    data = make_data(setup, setup.world(seed), seed)
    stages = ("num_layers_stage1", "num_layers_stage2", "num_layers_self")
    network, result = train_small(OWN, data, setup, seed, dict.fromkeys(stages, int(variant)))
    size = {"parameters": float(sum(one.numel() for one in network.parameters()))}
    return {**sentiment(network, data.splits["test"]), **size, **gate(result)}


def read(records: Sequence[Record]) -> Findings:
    """Errors by depth."""
    table = variants_table(
        records, VARIANTS, METRICS, BASE, "Layers of stage 1, stage 2 and self-attention alike"
    )
    return Findings((table,), (bars(records, VARIANTS, "mae", "test error"),))


LAYERS = Experiment(
    name="layers",
    question="How many layers does each stage need?",
    method=(
        "One to six layers in every stage at once. Paired t-test over seeds against two, which the other "
        "experiments have."
    ),
    variants=VARIANTS,
    measure=measure,
    read=read,
)
