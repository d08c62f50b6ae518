"""What a run found, as a table for people and as JSON. Knows numbers and words, not how they came about."""

import json
import math
import statistics
from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

from tests.chaos.judge import Verdict
from tests.chaos.schedule import Fault, Kind

CONSUMER_KINDS: tuple[Kind, ...] = ("kill-consumer", "die-before-commit", "die-after-commit")
"""Faults that kill a consumer: their recovery has a target."""
TARGET_S = 10.0
"""Recovery of a killed consumer, 95th percentile."""


@dataclass(frozen=True)
class Injected:
    """A fault that was injected.

    Attributes:
        fault: As scheduled.
        at_s: Since the run began.
        num_answers: Published when it was injected.
        in_flight: Segments published and not answered at that moment.
        victim: Whom it hit; empty if nobody.
        recovery_s: Until every partition had an answer made after it; None if it never had.
        note: How it ended.
        is_right: Whether it was injected and ended as it must.
    """

    fault: Fault
    at_s: float
    num_answers: int
    in_flight: int
    victim: str
    recovery_s: float | None
    note: str
    is_right: bool


@dataclass
class Report:
    """A run; filled while it lasts, so that it can be written whenever it ends.

    Attributes:
        arguments: Of the command.
        schedule: All faults that were to come.
        injected: Those that came.
        verdict: None if the topics could not be read back.
        calm_per_s: Answers a second in the stretch before the first fault.
        stormy_per_s: Answers a second from the first fault to the last answer.
        problems: What else was not as it must be.
        duration_s: Of the whole run.
    """

    arguments: dict[str, Any]
    schedule: tuple[Fault, ...]
    injected: list[Injected] = field(default_factory=list)
    verdict: Verdict | None = None
    num_planted: int = 0
    calm_per_s: float | None = None
    stormy_per_s: float | None = None
    problems: list[str] = field(default_factory=list)
    duration_s: float = 0.0

    @property
    def failures(self) -> list[str]:
        """Everything that breaks the promise or the run; empty when it was kept."""
        found = list(self.problems)
        if self.verdict is None:
            found.append("what came out was not read back")
        else:
            found += self.verdict.failures(self.arguments["delivery"] == "at_least_once")
        if len(self.injected) < len(self.schedule):
            found.append(f"{len(self.schedule) - len(self.injected)} faults were not injected")
        found += [
            f"fault {one.fault.number} ({one.fault.kind}, {one.victim or 'nobody'}): {one.note}"
            for one in self.injected
            if not one.is_right
        ]
        return found

    def write(self, folder: Path) -> Path:
        """Write `chaos-DELIVERY-SEED.json`."""
        folder.mkdir(parents=True, exist_ok=True)
        name = f"chaos-{self.arguments['delivery'].replace('_', '-')}-seed{self.arguments['seed']}.json"
        path = folder / name
        path.write_text(json.dumps(self.as_json(), indent=1) + "\n")
        return path

    def as_json(self) -> dict[str, Any]:
        """All of it."""
        verdict = self.verdict
        counts = {} if verdict is None else asdict(verdict)
        return {
            "passed": not self.failures,
            "failures": self.failures,
            "arguments": self.arguments,
            "counts": {
                name: len(found) if isinstance(found, tuple) else found for name, found in counts.items()
            },
            "places": {
                name: found[:100] for name, found in counts.items() if isinstance(found, tuple) and found
            },
            "dead_letters_planted": self.num_planted,
            "faults_by_kind": dict(Counter(one.fault.kind for one in self.injected)),
            "recovery_s": {
                "all": summary(self._recoveries()),
                "killed_consumers": summary(self._recoveries(CONSUMER_KINDS)),
                "by_kind": {
                    kind: summary(self._recoveries([kind]))
                    for kind in sorted({one.fault.kind for one in self.injected})
                },
            },
            "throughput_per_s": {"without_faults": self.calm_per_s, "with_faults": self.stormy_per_s},
            "duration_s": round(self.duration_s, 1),
            "injected": [asdict(one) for one in self.injected],
            "schedule": [asdict(fault) for fault in self.schedule],
        }

    def show(self, console: Console) -> None:
        """Print the tables."""
        found = self.as_json()
        table = Table(title=f"chaos, {self.arguments['delivery']}, seed {self.arguments['seed']}")
        table.add_column("what")
        table.add_column("number", justify="right")
        for name, number in found["counts"].items():
            table.add_row(name.replace("_", " "), str(number))
        table.add_row("dead letters planted", str(self.num_planted))
        for name, number in found["throughput_per_s"].items():
            table.add_row(
                f"answers a second {name.replace('_', ' ')}", "-" if number is None else f"{number:.0f}"
            )
        table.add_row("duration, s", f"{self.duration_s:.0f}")
        console.print(table)
        faults = Table(title="recovery, seconds from the fault until every partition is answered again")
        for column in ("fault", "number", "p50", "p95", "p99", "max"):
            faults.add_column(column, justify="left" if column == "fault" else "right")
        recovery = found["recovery_s"]
        rows = {
            **recovery["by_kind"],
            "killed consumers": recovery["killed_consumers"],
            "all": recovery["all"],
        }
        for name, row in rows.items():
            faults.add_row(name, *("-" if number is None else f"{number:g}" for number in row.values()))
        console.print(faults)
        for failure in self.failures:
            console.print(f"[red]FAILED[/red] {failure}", highlight=False, soft_wrap=True)
        p95_s = recovery["killed_consumers"]["p95"]
        if p95_s is not None and p95_s > TARGET_S:
            console.print(f"killed consumers: p95 {p95_s:g} s is above the target of {TARGET_S:g} s")
        console.print("passed" if not self.failures else "not passed", style="bold")

    def _recoveries(self, kinds: Sequence[str] | None = None) -> list[float]:
        return [
            one.recovery_s
            for one in self.injected
            if one.recovery_s is not None and (kinds is None or one.fault.kind in kinds)
        ]


def summary(values_s: Sequence[float]) -> dict[str, float | None]:
    """Number and percentiles, in tenths of a second."""
    if not values_s:
        return {"num": 0, "p50": None, "p95": None, "p99": None, "max": None}
    ordered = sorted(values_s)

    def at(share: float) -> float:
        """The smallest value that no more than the rest of the share is above."""
        return round(ordered[max(0, math.ceil(len(ordered) * share) - 1)], 1)

    return {
        "num": len(ordered),
        "p50": round(statistics.median(ordered), 1),
        "p95": at(0.95),
        "p99": at(0.99),
        "max": round(ordered[-1], 1),
    }
