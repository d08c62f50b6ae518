"""The pictures that most experiments show. Know records and matplotlib."""

from collections.abc import Mapping, Sequence

from matplotlib.figure import Figure

from hctdmg.experiments.record import Record
from hctdmg.experiments.statistics import estimate
from hctdmg.experiments.tables import by_seed
from hctdmg.training.page import Picture, svg_of

Point = tuple[float, str, str]
"""Abscissa, variant, metric."""


def bars(records: Sequence[Record], variants: Sequence[str], metric: str, label: str) -> Picture:
    """Mean and interval of a metric for each variant that has records, each seed a dot."""
    figure = Figure((max(4.5, 0.75 * len(variants) + 2), 3.4), layout="constrained")
    axes = figure.subplots()
    for place, variant in enumerate(variants):
        values = list(by_seed(records, variant, metric).values())
        if values:
            found = estimate(values)
            axes.errorbar(place, found.mean, found.half or 0, fmt="s", color="C0", capsize=4)
            axes.plot([place + 0.15] * len(values), values, ".", color="0.6")
    axes.set_xticks(
        range(len(variants)),
        variants,
        rotation=30 if len(variants) > 4 else 0,
        ha="right" if len(variants) > 4 else "center",
    )
    axes.set_ylabel(label)
    return Picture(svg_of(figure), "Mean over seeds with its 95 % interval; a dot is a seed.")


def lines(
    records: Sequence[Record],
    series: Mapping[str, Sequence[Point]],
    x_label: str,
    y_label: str,
    caption: str,
    is_logarithmic: bool = True,
) -> Picture:
    """A line with intervals for each series, through the points that have records."""
    figure = Figure((5.5, 3.4), layout="constrained")
    axes = figure.subplots()
    for number, (name, points) in enumerate(series.items()):
        found = [
            (x, estimate(list(values.values())))
            for x, variant, metric in points
            if (values := by_seed(records, variant, metric))
        ]
        if found:
            # A little apart, so that intervals can be told from one another.
            places = [x * (1 + 0.02 * number) for x, _ in found]
            axes.errorbar(
                places, [one.mean for _, one in found], [one.half or 0 for _, one in found], marker="o", capsize=3,
                label=name,
            )  # fmt: skip
    if is_logarithmic:
        axes.set_xscale("log", base=2)
    axes.set(xlabel=x_label, ylabel=y_label)
    if axes.has_data():
        axes.legend()
    return Picture(svg_of(figure), f"{caption} Means over seeds with 95 % intervals.")
