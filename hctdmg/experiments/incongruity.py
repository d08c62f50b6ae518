"""Is the incongruity flag to be trusted? Knows the truth of the default world, or people's labels in a data set.

A sample contradicts itself where one modality, on its own, is labelled below -0.5 and another above 0.5. The
flag's own score is the widest distance of two confident readings that exclude each other, else 0. Alternatives on the
same samples: "any-confidence", the widest distance of any two readings; "probability", the calibrated chance that two
readings have opposite signs, greatest over pairs; "attention", the divergence between the primary's attention over raw
and over enhanced auxiliaries; "fused", the widest distance of the fused answer from a reading; "representation", one
minus the least cosine of two streams' means.
"""

import dataclasses
import functools
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from hctdmg.data.dataset import Dataset, Split
from hctdmg.data.errors import DataError
from hctdmg.data.fingerprint import fingerprint
from hctdmg.data.read import read_dataset
from hctdmg.data.scale import on_cmu_scale
from hctdmg.data.synthetic import DEFAULT_WORLD, World, draw, render
from hctdmg.experiments.disagreement import ALTERNATIVES, FLAG, disagreements
from hctdmg.experiments.drawing import lines
from hctdmg.experiments.experiment import Experiment, Findings
from hctdmg.experiments.flag_figures import (
    calibration_picture,
    confidence_figures,
    detection_figures,
    detection_picture,
)
from hctdmg.experiments.record import Metrics, Record
from hctdmg.experiments.setup import FULL, Setup
from hctdmg.experiments.small import gate, make_data, train_small
from hctdmg.experiments.tables import cell, num_seeds
from hctdmg.manifest import Calibration
from hctdmg.model import HctDmg
from hctdmg.training.build import OWN
from hctdmg.training.calibrate import calibrate, predict
from hctdmg.training.contradictions import contradict_by_labels
from hctdmg.training.page import Cell, Table

LEVELS = (1, 2, 4)
"""Times every view's noise; the checkpoint stays as it was trained and calibrated without."""
WORLD_VARIANT = "default-world"
FILE_VARIANT = "file"
TARGET_AUROC, TARGET_ECE = 0.90, 0.05


def setup_of(setup: Setup) -> Setup:
    """The default world as it is, its samples as long as there, and enough of them to calibrate on."""
    larger = setup.scaled(1200, 400, 1000)
    if setup.name != FULL.name:
        return larger
    return dataclasses.replace(larger, least_s=DEFAULT_WORLD.least_s, most_s=DEFAULT_WORLD.most_s)


def measure_world(_: str, seed: int, setup: Setup) -> Metrics:
    """Train and calibrate on the default world; score on test samples of it, and on noisier ones."""
    world = setup.world(seed)
    data = make_data(setup, world, seed)
    network, calibration, metrics = _teach(data, seed, setup)
    draws = draw(world, setup.num_test, seed * 3 + 2)
    for level in LEVELS:
        test = render(_noisier(world, level), draws).split
        metrics |= _judge(network, calibration, test, "" if level == 1 else f"x{level}.")
    silent = world.changed("audio", missing_share=0.9).changed("vision", missing_share=0.9)
    predictions = predict(network, calibration, render(silent, draws).split)
    share = sum(one.incongruity.status == "insufficient_evidence" for one in predictions) / len(predictions)
    return {**metrics, "insufficient.silent": share}


def measure_file(_: str, seed: int, setup: Setup, path: Path) -> Metrics:
    """Train and calibrate on a file's splits; score on its test split by what people said of each modality."""
    network, calibration, metrics = _teach(data := read_labelled(path), seed, setup)
    return metrics | _judge(network, calibration, data.splits["test"], "")


def read_labelled(path: Path) -> Dataset:
    """A data set whose modalities people labelled on their own, on CMU's scale.

    Raises:
        DataError: It can't be read, or has no such labels.
    """
    data = on_cmu_scale(read_dataset(path))
    truth_N = contradict_by_labels(data.splits["test"], data.task)
    if data.task != "regression" or truth_N is None:
        raise DataError(f"{path}: nobody labelled its modalities on their own: CH-SIMS is such a set")
    if truth_N.all() or not truth_N.any():
        raise DataError(
            f"{path}: {int(truth_N.sum())} of {len(truth_N)} test samples contradict themselves: no AUROC"
        )
    return data


def _noisier(world: World, level: int) -> World:
    for view in world.views:
        world = world.changed(view.name, noise=view.noise * level)
    return world


def _teach(data: Dataset, seed: int, setup: Setup) -> tuple[HctDmg, Calibration, Metrics]:
    network, result = train_small(OWN, data, setup, seed)
    assert isinstance(network, HctDmg)
    calibration = calibrate(network, data, data.splits["valid"])
    fitted = {
        "min_confidence": calibration.min_confidence,
        "threshold": calibration.incongruity_threshold,
        **gate(result),
    }
    return network, calibration, fitted


def _judge(network: HctDmg, calibration: Calibration, split: Split, prefix: str) -> Metrics:
    truth_N = contradict_by_labels(split, "regression")
    assert truth_N is not None
    predictions = predict(network, calibration, split)
    scores = disagreements(network, calibration, predictions, split)
    found = detection_figures(scores, truth_N, with_curves=not prefix)
    flagged = [one.incongruity for one in predictions]
    flag_N = np.array([one.flag for one in flagged])
    found["flagged.congruent"] = float(flag_N[~truth_N].mean())
    found["flagged.incongruent"] = float(flag_N[truth_N].mean())
    found["insufficient.share"] = sum(one.status == "insufficient_evidence" for one in flagged) / len(flagged)
    found["insufficient.wrong"] = float(
        sum(
            (one.status == "insufficient_evidence") != (one.score is None and not one.flag) for one in flagged
        )
    )
    found |= confidence_figures(predictions, split, with_bins=not prefix)
    return {f"{prefix}{name}": value for name, value in found.items()}


def read(records: Sequence[Record]) -> Findings:
    """Detection beside the alternatives and against noise, then calibration."""
    variant = records[0].variant
    prefixes = {level: "" if level == 1 else f"x{level}." for level in LEVELS}
    levels = [
        level for level in LEVELS if any(f"{prefixes[level]}auroc.{FLAG}" in one.metrics for one in records)
    ]
    columns = ("score", "seeds", *(f"AUROC, noise x{level}" for level in levels), "average precision")
    rows: list[list[Cell]] = []
    for name in (FLAG, *ALTERNATIVES):
        row: list[Cell] = [name, num_seeds(records, variant)]
        row += [cell(records, variant, f"{prefixes[level]}auroc.{name}") for level in levels]
        rows.append([*row, cell(records, variant, f"precision.{name}")])
    detection = Table(
        columns, rows, f"Telling contradictions from the rest; target for the flag: {TARGET_AUROC:.2f}"
    )
    calibration = Table(
        ("figure", *(f"noise x{level}" for level in levels)),
        [
            [label, *(cell(records, variant, f"{prefixes[level]}{name}") for level in levels)]
            for name, label in FIGURES.items()
        ],
        f"The flag and its confidences, on a split that calibrated nothing; target for the error: {TARGET_ECE:.2f}",
    )
    pictures = [detection_picture(records, (FLAG, *ALTERNATIVES)), calibration_picture(records)]
    if len(levels) > 1:
        series = {
            name: [(float(level), variant, f"{prefixes[level]}auroc.{name}") for level in levels]
            for name in (FLAG, *ALTERNATIVES)
        }
        pictures.append(
            lines(records, series, "noise of all views, times their own", "AUROC", "Against noise.")
        )
    return Findings((detection, calibration), pictures)


FIGURES = {
    "ece": "expected calibration error",
    "ece.text": "of text",
    "ece.audio": "of audio",
    "ece.vision": "of vision",
    "flagged.congruent": "flagged, of those that agree",
    "flagged.incongruent": "flagged, of those that contradict",
    "insufficient.share": "insufficient evidence",
    "insufficient.silent": "the same, audio and vision missing in 90 % each",
    "insufficient.wrong": "answers where it did not behave as documented",
}

METHOD = (
    "HCT-DMG's unimodal heads, calibrated on the validation split: threshold at a false-positive rate of "
    "5 % of the samples that agree. Scored on the test split. Expected calibration error over ten bins of"
    " equal width, all modalities' readings together."
)

INCONGRUITY = Experiment(
    name="incongruity",
    question="Is the incongruity flag to be trusted?",
    method=METHOD,
    variants=(WORLD_VARIANT,),
    measure=measure_world,
    read=read,
    setup=setup_of,
    constants={"noise_levels": list(LEVELS)},
)


def incongruity_in(path: Path) -> Experiment:
    """The same on a file such as CH-SIMS; its records know the file by its content.

    Raises:
        DataError: See `read_labelled`.
    """
    digest = fingerprint(read_labelled(path))[:12]
    return dataclasses.replace(
        INCONGRUITY,
        name=f"{INCONGRUITY.name}-{digest}",
        variants=(FILE_VARIANT,),
        measure=functools.partial(measure_file, path=path),
    )
