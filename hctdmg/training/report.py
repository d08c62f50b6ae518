"""The page of an evaluation: scores, flags, pictures, and what they rest on. Knows figures. Judges nothing."""

from collections.abc import Mapping
from typing import Any

import numpy as np
from matplotlib.figure import Figure

from hctdmg.data.dataset import Dataset
from hctdmg.data.fingerprint import fingerprint
from hctdmg.training.evaluate import Evaluation, Judged
from hctdmg.training.flags import FlagScores
from hctdmg.training.page import Page, Picture, Section, Table, settings_table, svg_of
from hctdmg.training.scores import Score
from hctdmg.training.versions import versions

SCORE_COLUMNS = ("score", "value", "95 % from", "to", "floor")
CONVENTIONS = (
    "Acc2 and F1 in both conventions: nonzero leaves out labels of 0, haszero counts 0 as positive. F1 is weighted by "
    "the true classes, f1_macro is their plain mean. The floor is what the best constant guess gets."
)


def evaluation_page(
    judged: Judged, data: Dataset, source: str, split_name: str, evaluation: Evaluation
) -> Page:
    """The report of one evaluation."""
    title = f"{judged.name} on {split_name} of {data.name}"
    left_out = f"; {evaluation.num_left_out} left out, which have no modality or no label"
    counted = f"{evaluation.num_samples} samples{left_out if evaluation.num_left_out else ''}."
    paragraphs = [counted, CONVENTIONS] if data.task == "regression" else [counted]
    if data.task == "regression" and data.label_range != (-3.0, 3.0):
        low, high = data.label_range
        paragraphs.append(f"Labels run from {low:g} to {high:g}; they are stretched to run from -3 to 3.")
    sections = [Section("Scores", paragraphs, [score_table(evaluation.scores)], [_answers(evaluation, data)])]
    if evaluation.flags is not None:
        sections.append(_flag_section(evaluation.flags))
    sections.append(Section("What it rests on", (), [*_grounds(judged, data, source)]))
    return Page(title, sections)


def score_table(scores: Mapping[str, Score]) -> Table:
    """Scores with intervals and floors."""
    rows = [(name, _number(s.value), s.lower, s.upper, s.floor) for name, s in scores.items()]
    return Table(SCORE_COLUMNS, rows)


def flag_rows(flags: FlagScores) -> list[tuple[str, float | int | None]]:
    """The flag's figures by what they are called."""
    auroc = flags.auroc
    return [
        ("samples", flags.num_samples),
        ("of which contradict themselves", flags.num_contradicting),
        ("AUROC of the score", None if auroc is None else auroc.value),
        ("  95 % from", None if auroc is None else auroc.lower),
        ("  to", None if auroc is None else auroc.upper),
        ("flagged that contradict (precision)", flags.precision),
        ("contradicting that are flagged (recall)", flags.recall),
        ("others that are flagged (false positives)", flags.false_positive_rate),
        ("insufficient evidence", flags.insufficient_share),
        ("threshold", flags.threshold),
        ("least confidence", flags.min_confidence),
    ]


def _flag_section(flags: FlagScores) -> Section:
    readings = Table(
        ("reading", "samples", "right class", "r"),
        [
            (name, one.num_samples, _number(one.right), None if one.r is None else _number(one.r))
            for name, one in flags.readings.items()
        ],
    )
    text = "Beside the labels that people gave each modality on its own."
    return Section("Incongruity", [text], [Table(("flag", ""), flag_rows(flags)), readings])


def _answers(evaluation: Evaluation, data: Dataset) -> Picture:
    figure = Figure((5, 4.2), layout="constrained")
    axes = figure.subplots()
    if data.task == "regression":
        axes.plot([-3, 3], [-3, 3], color="0.7", linewidth=1)
        axes.scatter(
            evaluation.truth_NK[:, 0], evaluation.predicted_NK[:, 0], s=6, alpha=0.5, rasterized=True
        )
        axes.set(xlabel="label", ylabel="prediction")
        return Picture(svg_of(figure), "Predictions over labels; on the line they are equal.")
    names = list(data.label_names)
    if data.task == "classes":
        counts_KK = np.zeros((len(names), len(names)), int)
        truth_N = evaluation.truth_NK[:, 0].astype(int)
        np.add.at(counts_KK, (truth_N, evaluation.predicted_NK.argmax(axis=1)), 1)
        axes.imshow(counts_KK, cmap="Blues")
        for (row, column), count in np.ndenumerate(counts_KK):
            axes.text(column, row, str(count), ha="center", va="center")
        axes.set(xlabel="prediction", ylabel="label", xticks=range(len(names)), yticks=range(len(names)))
        axes.set_xticklabels(names)
        axes.set_yticklabels(names)
        return Picture(svg_of(figure), "Samples by label and prediction.")
    said_K, true_K = (evaluation.predicted_NK > 0).mean(axis=0), (evaluation.truth_NK > 0.5).mean(axis=0)
    places = np.arange(len(names))
    axes.bar(places - 0.2, true_K, 0.4, label="labelled")
    axes.bar(places + 0.2, said_K, 0.4, label="predicted")
    axes.set(ylabel="share of samples", xticks=places)
    axes.set_xticklabels(names)
    axes.legend()
    return Picture(svg_of(figure), "How often each is there.")


def _grounds(judged: Judged, data: Dataset, source: str) -> list[Table]:
    given = {
        "checkpoint sha256": judged.sha256,
        "data": source,
        "data sha256": fingerprint(data),
        "rows": ", ".join(f"{name} {split.num_samples}" for name, split in data.splits.items()),
    }
    return [
        settings_table(given, "What was judged, on what"),
        settings_table(versions(), "Versions here"),
        settings_table(_plain(judged.training), "How the checkpoint says it was made"),
    ]


def _plain(training: Mapping[str, Any]) -> Mapping[str, Any]:
    return training or {"training": "not told"}


def _number(value: float) -> float | None:
    return None if np.isnan(value) else value
