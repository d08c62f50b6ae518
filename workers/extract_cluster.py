"""Rows of a manifest through the extractors, on a Ray cluster, by Ray Data.

Manifest, videos and the folder of samples must have the same paths on every node. Needs the extra `cluster`. Knows Ray.
Does not know what a row is.
"""

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict
from typing import Any

from hctdmg.data.own import StoredSample
from pipelines.errors import ConfigError
from pipelines.extraction import ExtractionPlan, Outcome
from pipelines.labelled import Row
from workers.extract_pool import LoneProcess
from workers.ray_start import join_cluster, stop_ray

BLOCK_ROWS = 8
"""Rows that a process takes at a time: some seconds of work, which is how fine progress is."""


def extract_on_cluster(
    rows: Sequence[Row], plan: ExtractionPlan, num_processes: int | None, address: str
) -> Iterator[Outcome]:
    """Extract rows on all nodes.

    Args:
        rows: Any number.
        plan: What to do.
        num_processes: At most so many at a time, a core each; None takes all cores.
        address: Of the cluster; "local" starts one here for as long as this takes.

    Yields:
        Each row's outcome, in the order of completion.

    Raises:
        ConfigError: Ray Data is not installed, or there is no cluster.
    """
    try:
        import ray.data  # noqa: F401 - whether it is there
    except ImportError as error:
        raise ConfigError(f"--address needs Ray Data ({error}): install hctdmg[cluster]") from None
    join_cluster(address)
    try:
        yield from _extract(rows, plan, num_processes)
    finally:
        stop_ray()


def _extract(rows: Sequence[Row], plan: ExtractionPlan, num_processes: int | None) -> Iterator[Outcome]:
    import ray.data

    context = ray.data.DataContext.get_current()
    context.enable_progress_bars = False
    context.execution_options.preserve_order = False
    num_cpus = int(ray.cluster_resources().get("CPU", 1))
    num_blocks = -(-len(rows) // BLOCK_ROWS)
    indices = ray.data.range(len(rows), override_num_blocks=num_blocks)
    outcomes = indices.map(
        _Extractor,
        fn_constructor_args=(list(rows), plan),
        concurrency=(1, min(num_processes or num_cpus, num_cpus, num_blocks)),
        num_cpus=1,
    )
    for found in outcomes.iter_rows():
        value = json.loads(found["outcome"])
        stored = value.pop("stored")
        yield Outcome(stored=StoredSample(**stored) if stored else None, **value)


class _Extractor:
    """An actor on some node, with a process of its own that a video may kill: Ray would try an actor again for ever."""

    def __init__(self, rows: list[Row], plan: ExtractionPlan) -> None:
        self._rows = rows
        self._process = LoneProcess(plan)

    def __call__(self, item: Mapping[str, Any]) -> dict[str, str]:
        outcome = self._process.extract(self._rows[int(item["id"])])
        return {"outcome": json.dumps(asdict(outcome))}
