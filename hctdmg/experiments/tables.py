"""From records to the tables that most experiments show: a row for each variant, differences from one of them."""

from collections.abc import Mapping, Sequence

from hctdmg.experiments.record import Record
from hctdmg.experiments.statistics import Paired, estimate, paired
from hctdmg.training.page import Cell, Table


def by_seed(records: Sequence[Record], variant: str, metric: str) -> dict[int, float]:
    """A metric of a variant by seed, where it was measured."""
    return {
        one.seed: one.metrics[metric] for one in records if one.variant == variant and metric in one.metrics
    }


def cell(records: Sequence[Record], variant: str, metric: str) -> str | None:
    """Mean and interval; None where there is no record."""
    values = by_seed(records, variant, metric)
    return str(estimate(list(values.values()))) if values else None


def num_seeds(records: Sequence[Record], variant: str) -> int:
    """How many records a variant has."""
    return sum(one.variant == variant for one in records)


def shown(found: Paired | None) -> Cell:
    """A difference as a cell."""
    return None if found is None else str(found)


def variants_table(
    records: Sequence[Record],
    variants: Sequence[str],
    metrics: Mapping[str, str],
    base: str | None = None,
    caption: str = "",
) -> Table:
    """A row for each variant.

    Args:
        records: Of one experiment.
        variants: The rows.
        metrics: Names of metrics, and their headings.
        base: The variant from which the others' first metric is told as a difference.
        caption: Of the table.
    """
    first = next(iter(metrics))
    columns = ["variant", "seeds", *metrics.values()]
    if base is not None:
        columns.append(f"{metrics[first]} minus {base}'s")
    rows: list[list[Cell]] = []
    for variant in variants:
        row: list[Cell] = [variant, num_seeds(records, variant)]
        row += [cell(records, variant, metric) for metric in metrics]
        if base is not None:
            is_base = variant == base
            left, right = by_seed(records, base, first), by_seed(records, variant, first)
            row.append(None if is_base else shown(paired(left, right)))
        rows.append(row)
    return Table(columns, rows, caption)
