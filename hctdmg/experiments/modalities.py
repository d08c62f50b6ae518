"""Does the model work with two, three and four modalities? Knows a fourth view, much like a skin's conductance."""

import dataclasses
from collections.abc import Sequence

from hctdmg.data.synthetic import View, World
from hctdmg.experiments.drawing import bars
from hctdmg.experiments.experiment import Experiment, Findings
from hctdmg.experiments.record import Metrics, Record
from hctdmg.experiments.setup import Setup
from hctdmg.experiments.small import gate, make_data, sentiment, train_small
from hctdmg.experiments.tables import variants_table
from hctdmg.training.build import OWN

PHYSIOLOGY = View("physiology", width=6, rate_hz=4.0, delay_s=1.0, informativeness=0.5, noise=0.6)
"""Few channels, slow to follow, of middling use."""
VARIANTS = ("2", "3", "4")
METRICS = {
    "mae": "test error", "acc2": "right side of 0", "r": "r", "gate.text": "gate of text",
    "gate.audio": "of audio", "gate.vision": "of vision", "gate.physiology": "of physiology",
}  # fmt: skip


def world_with(world: World, num_modalities: int) -> World:
    """The first so many of text, audio, vision and physiology."""
    return dataclasses.replace(world, views=(*world.views, PHYSIOLOGY)[:num_modalities])


def measure(variant: str, seed: int, setup: Setup) -> Metrics:
    """Train one and score it."""
    data = make_data(setup, world_with(setup.world(seed), int(variant)), seed)
    network, result = train_small(OWN, data, setup, seed)
    return {**sentiment(network, data.splits["test"]), **gate(result)}


def read(records: Sequence[Record]) -> Findings:
    """Errors by number of modalities."""
    table = variants_table(
        records, VARIANTS, METRICS, "3", "Text and audio; with vision; with physiology too"
    )
    return Findings((table,), (bars(records, VARIANTS, "mae", "test error"),))


MODALITIES = Experiment(
    name="modalities",
    question="Does the model work with two, three and four modalities?",
    method=(
        "The same world seen by two, three or four views, the fourth of six slow channels. The share of "
        "samples that contradict is the same, so the more views, the fewer of them a contradiction spoils. "
        "Paired t-test over seeds; the samples are drawn anew with the number of views, so pairs share no "
        "more than the seed."
    ),
    variants=VARIANTS,
    measure=measure,
    read=read,
    constants={"physiology": dataclasses.asdict(PHYSIOLOGY)},
)
