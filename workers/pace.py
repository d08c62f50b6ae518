"""How much video a consumer is behind, and how much comes and goes, as the autoscaling asks for it.

Knows sums and the time between two questions. Does not know Kafka, nor who decides.
"""

import time
from dataclasses import dataclass

from workers.scaling import ANSWERED, ARRIVED, BEHIND


@dataclass(frozen=True)
class Video:
    """Video of all partitions of one session.

    Attributes:
        behind_s: Not answered yet; None when no segment's length is known.
        arrived_s: Arrived since the session began.
        answered_s: Answered since, dead letters included.
    """

    behind_s: float | None = 0.0
    arrived_s: float = 0.0
    answered_s: float = 0.0


class Pace:
    """Turns sums into rates, over the time since it was asked before."""

    def __init__(self) -> None:
        self._before = Video()
        self._asked_s = time.monotonic()

    def stats(self, video: Video) -> dict[str, float]:
        """What to report; nothing while it is not known how far behind this consumer is.

        A session that follows another begins its sums anew; what it has so far is then all that is told.
        """
        now_s = time.monotonic()
        before, passed_s = self._before, max(1e-9, now_s - self._asked_s)
        if video.answered_s < before.answered_s or video.arrived_s < before.arrived_s:
            before = Video()
        self._before, self._asked_s = video, now_s
        if video.behind_s is None:
            return {}
        return {
            BEHIND: video.behind_s,
            ARRIVED: (video.arrived_s - before.arrived_s) / passed_s,
            ANSWERED: (video.answered_s - before.answered_s) / passed_s,
        }
