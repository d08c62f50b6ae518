"""Is a learned hierarchy better than a fixed one? Knows the three fixed ones and the dynamic one."""

from collections.abc import Sequence

from hctdmg.experiments.drawing import bars
from hctdmg.experiments.experiment import Experiment, Findings
from hctdmg.experiments.record import Metrics, Record
from hctdmg.experiments.setup import Setup
from hctdmg.experiments.small import FIXED, gate, make_data, sentiment, train_small
from hctdmg.experiments.tables import variants_table
from hctdmg.training.build import OWN

VARIANTS = (OWN, *(f"{FIXED}{name}" for name in ("text", "audio", "vision")))
METRICS = {"mae": "test error", "acc2": "right side of 0", "r": "r", "valid_loss": "validation error"}


def measure(variant: str, seed: int, setup: Setup) -> Metrics:
    """Train one and score it."""
    data = make_data(setup, setup.world(seed), seed)
    network, result = train_small(variant, data, setup, seed)
    valid = {"valid_loss": result.best.valid_loss}
    return {**sentiment(network, data.splits["test"]), **valid, **gate(result)}


def read(records: Sequence[Record]) -> Findings:
    """Errors, and how each fixed hierarchy differs from the dynamic one."""
    table = variants_table(records, VARIANTS, METRICS, OWN, "Mean absolute error, labels from -3 to 3")
    return Findings((table,), (bars(records, VARIANTS, "mae", "test error"),))


HIERARCHY = Experiment(
    name="hierarchy",
    question="Is the dynamic hierarchy better than each fixed one?",
    method=(
        "Four models that differ in their primary alone: learned, or fixed to text, audio or vision with all "
        "streams weighing alike and the gate not trained. Paired t-test over seeds on the test error."
    ),
    variants=VARIANTS,
    measure=measure,
    read=read,
)
