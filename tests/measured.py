"""Takes measurements as Ray would, and keeps them where a test can look."""

import threading
from collections import defaultdict
from typing import Any

from workers.metrics import Metric

Series = tuple[str, tuple[tuple[str, str], ...]]


class Measured:
    """A `workers.metrics.Measure`; refuses what the vocabulary does not have."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._values: dict[Series, list[float]] = defaultdict(list)

    def __call__(self, metric: Metric, value: float, **labels: str) -> None:
        """Take one."""
        assert set(labels) == {label.name for label in metric.labels}
        for label in metric.labels:
            assert not label.values or labels[label.name] in label.values
        assert metric.kind != "counter" or value > 0
        with self._lock:
            self._values[_series(metric, labels)].append(value)

    def latest(self, metric: Metric, **labels: str) -> float | None:
        """A gauge; None before it was set."""
        values = self.all(metric, **labels)
        return values[-1] if values else None

    def total(self, metric: Metric, **labels: str) -> float:
        """A counter."""
        return sum(self.all(metric, **labels))

    def all(self, metric: Metric, **labels: str) -> list[float]:
        """Every value of one series."""
        with self._lock:
            return list(self._values.get(_series(metric, labels), ()))


def _series(metric: Metric, labels: dict[str, Any]) -> Series:
    return metric.name, tuple(sorted(labels.items()))
