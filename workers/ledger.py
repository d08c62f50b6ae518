"""Who has been answered: each published segment must get exactly one event or one dead letter.

Knows offsets and counts. Does not know Kafka's client.
"""

from collections import Counter
from dataclasses import dataclass, field

from pipelines.events import AffectEvent
from pipelines.segment import Segment

Place = tuple[int, int]
"""Partition and offset on the input topic."""


@dataclass
class Ledger:
    """Books of one run; filled as messages come.

    Attributes:
        segments: What was published, by where it landed.
        answers: How many events or dead letters each place got.
        statuses: How many events of each incongruity status came.
        num_events: Events in all.
        num_dead_letters: Dead letters in all.
    """

    segments: dict[Place, Segment] = field(default_factory=dict)
    answers: Counter[Place] = field(default_factory=Counter)
    statuses: Counter[str] = field(default_factory=Counter)
    num_events: int = 0
    num_dead_letters: int = 0

    def publish(self, segment: Segment, place: Place) -> None:
        """A segment has landed on the input topic."""
        self.segments[place] = segment

    def event(self, event: AffectEvent) -> None:
        """An event has come."""
        self.num_events += 1
        self.statuses[event.incongruity.status] += 1
        if event.source is not None:
            self.answers[event.source.partition, event.source.offset] += 1

    def dead_letter(self, place: Place) -> None:
        """A dead letter has come."""
        self.num_dead_letters += 1
        self.answers[place] += 1

    @property
    def is_complete(self) -> bool:
        """Whether every segment has an answer."""
        return all(self.answers[place] for place in self.segments)

    @property
    def media_s(self) -> float:
        """Length of everything that was published."""
        return sum(segment.duration_s or 0.0 for segment in self.segments.values())

    def complaints(self) -> list[str]:
        """What is wrong; empty when every segment has exactly one answer and nothing else came."""
        missing = [s.segment_id for place, s in self.segments.items() if not self.answers[place]]
        doubled = [s.segment_id for place, s in self.segments.items() if self.answers[place] > 1]
        stray = self.num_events + self.num_dead_letters - sum(self.answers[place] for place in self.segments)
        found = []
        if missing:
            found.append(f"no answer to {', '.join(missing)}")
        if doubled:
            found.append(f"more than one answer to {', '.join(doubled)}")
        if stray:
            found.append(f"{stray} answers to nothing that was published")
        return found
