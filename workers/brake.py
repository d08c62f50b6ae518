"""Stops a consumer whose dead letters pass a cap, before they are published, until someone releases it.

Knows answers and caps. Does not know Kafka: what it withholds, the session gives back.
"""

import logging
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import zip_longest

from pipelines.errors import SegmentError
from pipelines.segment import parse_segment
from workers.caps import Breach, Caps
from workers.config import FlowConfig
from workers.messages import Answer
from workers.publisher import Batch
from workers.window import Entry

log = logging.getLogger(__name__)

REMEDY = (
    "nothing more is read and no offset moves. Read why in the dead letters, mend it, "
    "then `hctdmg resume`, or start `hctdmg run` again"
)


@dataclass(frozen=True)
class Admitted:
    """The part of a batch that may be published.

    Attributes:
        batch: From the head of each partition, all that no cap forbids.
        caps: The counts once it is out.
        breach: The cap that the next answer would pass, if any.
    """

    batch: Batch
    caps: Caps
    breach: Breach | None


class Brake:
    """Of one consumer, for its life: it outlasts a change of its rank.

    Attributes:
        reason: Why the consumer is halted, one line; None while it is not.
    """

    def __init__(self, flow: FlowConfig) -> None:
        self.reason: str | None = None
        self._flow = flow
        self._caps = Caps(flow)

    @property
    def is_on(self) -> bool:
        """Whether the consumer is to be halted."""
        return self.reason is not None

    def admit(self, batch: Batch) -> Admitted:
        """Find what may be published, nothing while the brake is on; changes nothing: publishing may fail."""
        if self.is_on:
            return Admitted({}, self._caps, None)
        caps = self._caps.copy()
        admitted: dict[int, list[Entry[Answer]]] = {}
        for partition, entry in _in_turn(batch):
            answer = entry.future.result()
            if answer.failure is None:
                caps.event()
            elif (breach := caps.dead_letter(stream_of(answer, partition))) is not None:
                return Admitted(admitted, caps, breach)
            admitted.setdefault(partition, []).append(entry)
        return Admitted(admitted, caps, None)

    def settle(self, admitted: Admitted) -> None:
        """The admitted part is out; beyond it the brake is on, if a cap says so."""
        if not admitted.batch and admitted.breach is None:
            return  # nothing was counted: what was released meanwhile stays so
        self._caps = admitted.caps
        if admitted.breach is not None:
            self.reason = str(admitted.breach)
            log.error("halted: %s; %s", self.reason, REMEDY)

    def release(self) -> None:
        """Go on, with nothing counted."""
        self._caps = Caps(self._flow)
        self.reason = None


def stream_of(answer: Answer, partition: int) -> bytes:
    """Whose dead letter it is: by its key; without one by what the segment says; else by its partition."""
    if answer.key is not None:
        return answer.key
    try:
        return parse_segment(answer.value, answer.headers).segment.stream_id.encode()
    except SegmentError:
        return b"%d" % partition


def _in_turn(batch: Batch) -> Iterator[tuple[int, Entry[Answer]]]:
    """One of each partition, then the next of each: nobody's answers count as a run because of how they are kept."""
    for layer in zip_longest(*batch.values()):
        yield from ((partition, entry) for partition, entry in zip(batch, layer, strict=True) if entry)
