"""The metrics in Ray's metrics API, which Ray exports to Prometheus from every node.

Knows Ray's API. Does not know what is measured when.
"""

from collections.abc import Callable
from itertools import product

from ray.util.metrics import Counter, Gauge, Histogram

from workers.metrics import COMMON_LABELS, METRICS, Measure, Metric


def measure_with_ray(application: str, group: str) -> Measure:
    """Make every metric of this process.

    Args:
        application: Its name in Serve.
        group: The consumer group.
    """
    common = dict(zip((label.name for label in COMMON_LABELS), (application, group), strict=True))
    made = {metric.name: _make(metric, common) for metric in METRICS}

    def measure(metric: Metric, value: float, **labels: str) -> None:
        made[metric.name](value, labels)

    return measure


def _make(metric: Metric, common: dict[str, str]) -> Callable[[float, dict[str, str]], None]:
    names = (*common, *(label.name for label in metric.labels))
    match metric.kind:
        case "gauge":
            gauge = Gauge(metric.name, metric.meaning, names)
            gauge.set_default_tags(common)
            return gauge.set  # type: ignore[no-any-return]
        case "histogram":
            histogram = Histogram(metric.name, metric.meaning, list(metric.buckets), names)
            histogram.set_default_tags(common)
            return histogram.observe  # type: ignore[no-any-return]
        case "counter":
            counter = Counter(metric.name, metric.meaning, names)
            counter.set_default_tags(common)
            _begin_at_zero(counter, metric)
            return counter.inc  # type: ignore[no-any-return]


def _begin_at_zero(counter: Counter, metric: Metric) -> None:
    """Have each series there from the start: Prometheus does not see the first step of one that begins at 1.

    `Counter.inc` refuses 0, the method below it does not.
    """
    for values in product(*(label.values for label in metric.labels)):
        names = (label.name for label in metric.labels)
        counter._record(0, dict(zip(names, values, strict=True)))
