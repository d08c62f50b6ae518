"""What does noise in one modality do, in training and at test? Knows which modality, how strong, and which models.

Shape of a variant: "test-MODEL" is trained on the world as it is and scored on test samples in which one view's noise
is multiplied; "train-MODALITY-xLEVEL" is trained and scored in a world in which it is.
"""

from collections.abc import Sequence

from hctdmg.data.synthetic import draw, render
from hctdmg.experiments.drawing import lines
from hctdmg.experiments.experiment import Experiment, Findings
from hctdmg.experiments.record import Metrics, Record
from hctdmg.experiments.setup import Setup, on_equal_terms
from hctdmg.experiments.small import FIXED, MULT, gate, make_data, sentiment, train_small
from hctdmg.experiments.statistics import paired
from hctdmg.experiments.tables import by_seed, cell, num_seeds, shown
from hctdmg.training.build import OWN
from hctdmg.training.page import Cell, Table

NAMES = ("text", "audio", "vision")
MODELS = (OWN, *(f"{FIXED}{name}" for name in NAMES), MULT)
LEVELS = (1, 2, 4, 8)
"""Times the view's own noise (0.4, 0.9 and 0.7 of a feature that tanh keeps within 1)."""
CLEAN = f"test-{OWN}"
VARIANTS = (
    *(f"test-{model}" for model in MODELS),
    *(f"train-{name}-x{level}" for name in NAMES for level in LEVELS[1:]),
)


def measure(variant: str, seed: int, setup: Setup) -> Metrics:
    """One training, in the protocol that the variant names."""
    protocol, rest = variant.split("-", 1)
    world = setup.world(seed)
    noise = {view.name: view.noise for view in world.views}
    if protocol == "train":
        noisy_name, times = rest.split("-x")
        world = world.changed(noisy_name, noise=noise[noisy_name] * int(times))
        data = make_data(setup, world, seed)
        network, result = train_small(OWN, data, setup, seed)
        return {**sentiment(network, data.splits["test"]), **gate(result)}
    data = make_data(setup, world, seed)
    network, result = train_small(rest, data, setup, seed)
    draws = draw(world, setup.num_test, seed * 3 + 2)
    metrics = {**sentiment(network, data.splits["test"]), **gate(result)}
    for name in NAMES:
        for level in LEVELS:
            noisy = render(world.changed(name, noise=noise[name] * level), draws).split
            metrics[f"mae.{name}.x{level}"] = sentiment(network, noisy)["mae"]
    return metrics


def read(records: Sequence[Record]) -> Findings:
    """Both protocols."""
    pictures = tuple(
        lines(
            records,
            {
                model: [(level, f"test-{model}", f"mae.{name}.x{level}") for level in LEVELS]
                for model in MODELS
            },
            f"noise of {name}, times its own",
            "test error",
            f"Noise in {name} at test.",
        )
        for name in NAMES
    )
    return Findings((_in_training(records), _at_test(records)), pictures)


def _in_training(records: Sequence[Record]) -> Table:
    rows: list[list[Cell]] = []
    for name in NAMES:
        for level in LEVELS:
            variant = CLEAN if level == 1 else f"train-{name}-x{level}"
            weight = f"gate.{name}"
            clean, noisy = by_seed(records, CLEAN, weight), by_seed(records, variant, weight)
            primary = by_seed(records, variant, f"primary.{name}")
            rows.append(
                [
                    name,
                    f"x{level}",
                    num_seeds(records, variant),
                    cell(records, variant, weight),
                    None if level == 1 else shown(paired(clean, noisy)),
                    f"{int(sum(primary.values()))} of {len(primary)}" if primary else None,
                    cell(records, variant, "mae"),
                ]
            )
    columns = (
        "noise in",
        "level",
        "seeds",
        "its gate weight",
        "minus the clean one",
        "it is primary",
        "test error",
    )
    return Table(columns, rows, "In training, HCT-DMG")


def _at_test(records: Sequence[Record]) -> Table:
    rows: list[list[Cell]] = []
    for name in NAMES:
        for model in MODELS:
            variant, most = f"test-{model}", f"mae.{name}.x{LEVELS[-1]}"
            row: list[Cell] = [name, model, num_seeds(records, variant)]
            row += [cell(records, variant, f"mae.{name}.x{level}") for level in LEVELS]
            own, theirs = (_loss(records, one, name) for one in (CLEAN, variant))
            row.append(
                None if model == OWN or not by_seed(records, variant, most) else shown(paired(own, theirs))
            )
            rows.append(row)
    columns = (
        "noise in",
        "model",
        "seeds",
        *(f"x{level}" for level in LEVELS),
        f"loss at x{LEVELS[-1]} minus {OWN}'s",
    )
    return Table(columns, rows, "At test: error, and how much more of it than without noise the others gain")


def _loss(records: Sequence[Record], variant: str, name: str) -> dict[int, float]:
    """Error with the most noise minus that without, by seed."""
    least, most = (by_seed(records, variant, f"mae.{name}.x{level}") for level in (LEVELS[0], LEVELS[-1]))
    return {seed: most[seed] - least[seed] for seed in most}


NOISE = Experiment(
    name="noise",
    question="Does the gate turn away from a noisy modality, and does the hierarchy stand noise better?",
    method=(
        "In training: the world has the noise from the beginning; looked at: the gate's weight of the noisy "
        "modality and whether it is primary. At test: trained without it, scored on the same samples with "
        "more. All learn from the samples' labels alone. Paired t-tests over seeds."
    ),
    variants=VARIANTS,
    measure=measure,
    read=read,
    setup=on_equal_terms,
    constants={"levels": list(LEVELS)},
)
