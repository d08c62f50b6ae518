"""A run of the demo as it is seen: the books, the table's rows, the summary.

Knows messages and the clock. Does not know where messages come from.
"""

import time
from dataclasses import dataclass, field

from kafka.consumer.fetcher import ConsumerRecord
from rich.console import RenderableType
from rich.table import Table
from rich.text import Text

from pipelines.events import AffectEvent
from pipelines.segment import Segment
from workers.event_table import stream_row, stream_table
from workers.ledger import Ledger, Place
from workers.output import print_json


@dataclass
class Show:
    """What has been sent and what has come back.

    Attributes:
        as_json: Answers are written as JSON lines, at once; otherwise they become rows.
        ledger: Who has been answered.
        sent_s: When each segment was accepted by the broker, on the monotonic clock.
        rows: Of the table, in the order of the answers.
        begun_s: When the run began, on the monotonic clock.
        heard_s: When something last happened, on the monotonic clock.
    """

    as_json: bool
    ledger: Ledger = field(default_factory=Ledger)
    sent_s: dict[Place, float] = field(default_factory=dict)
    rows: list[list[RenderableType]] = field(default_factory=list)
    begun_s: float = field(default_factory=time.monotonic)
    heard_s: float = field(default_factory=time.monotonic)

    @property
    def silence_s(self) -> float:
        """How long nothing has happened."""
        return time.monotonic() - self.heard_s

    def published(self, segment: Segment, place: Place) -> None:
        """The broker has a segment."""
        self.ledger.publish(segment, place)
        self.heard_s = self.sent_s[place] = time.monotonic()

    def event(self, event: AffectEvent) -> None:
        """An event has come."""
        self.ledger.event(event)
        source = event.source
        latency_s = self._latency_s((source.partition, source.offset) if source else None)
        if self.as_json:
            print_json({**event.model_dump(mode="json"), "latency_s": round(latency_s, 3)})
        else:
            self.rows.append(stream_row(event, latency_s))

    def dead_letter(self, record: ConsumerRecord) -> None:
        """A dead letter has come."""
        headers = {name: value.decode(errors="replace") for name, value in record.headers}
        place = int(headers["dlq-source-partition"]), int(headers["dlq-source-offset"])
        self.ledger.dead_letter(place)
        latency_s = self._latency_s(place)
        segment = self.ledger.segments.get(place)
        # Of a traceback, the line that says what it was.
        stage, message = headers["dlq-stage"], headers["dlq-message"].strip().rpartition("\n")[2]
        if self.as_json:
            segment_id = segment.segment_id if segment else None
            print_json({"dead_letter": {"segment_id": segment_id, "stage": stage, "message": message}})
            return
        stream_id, sequence = (segment.stream_id, str(segment.sequence)) if segment else ("?", "?")
        what = Text("dead letter", "bold red")
        self.rows.append([stream_id, sequence, what, "", "", f"{latency_s:.2f} s", f"{stage}: {message}"])

    def table(self, num_lines: int) -> Table:
        """The latest rows, as many as there are lines for."""
        table = stream_table("", "latency")
        for row in self.rows[-max(1, num_lines - 6) :]:
            table.add_row(*row)
        return table

    def summary(self) -> dict[str, int | float]:
        """The counts, and how fast it went."""
        ledger = self.ledger
        took_s = max(1e-9, self.heard_s - self.begun_s)
        return {
            "segments": len(ledger.segments),
            "events": ledger.num_events,
            "incongruous": ledger.statuses["incongruent"],
            "insufficient_evidence": ledger.statuses["insufficient_evidence"],
            "dead_letters": ledger.num_dead_letters,
            "video_s": round(ledger.media_s, 1),
            "took_s": round(took_s, 1),
            "real_time_factor": round(ledger.media_s / took_s, 1),
        }

    def _latency_s(self, place: Place | None) -> float:
        """From the broker's receipt of a segment until now; 0 for an answer to nothing that was sent."""
        self.heard_s = time.monotonic()
        return self.heard_s - self.sent_s.get(place, self.heard_s) if place else 0.0
