"""A point in time after which work on one segment must stop.

Knows the clock. Does not know what the work is, nor who kills work that never asks.
"""

import time
from dataclasses import dataclass

from pipelines.errors import SegmentError, Stage


@dataclass(frozen=True)
class Deadline:
    """The latest moment for one segment, its retries included.

    Attributes:
        at_monotonic_s: The moment, on the clock of `time.monotonic` (which all processes of a machine share).
    """

    at_monotonic_s: float

    @classmethod
    def after(cls, seconds: float) -> "Deadline":
        """The moment that lies this many seconds ahead."""
        return cls(time.monotonic() + seconds)

    def later(self, seconds: float) -> "Deadline":
        """The same moment, put off: for what is no work on the segment."""
        return Deadline(self.at_monotonic_s + seconds)

    def remaining_s(self) -> float:
        """Seconds left; 0 once the moment has passed."""
        return max(0.0, self.at_monotonic_s - time.monotonic())

    def check(self, stage: Stage) -> None:
        """Stop the work when the moment has passed.

        Raises:
            SegmentError: It has.
        """
        late_s = time.monotonic() - self.at_monotonic_s
        if late_s >= 0:
            raise SegmentError(
                stage,
                f"the segment's deadline passed {late_s:.1f} s ago; send shorter or smaller segments, "
                "or raise flow.segment_deadline_s",
            )
