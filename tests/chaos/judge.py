"""What came out, held against what went in. Pure: knows places, ids and counts, not Kafka."""

from collections import Counter, defaultdict
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass

Place = tuple[int, int]
"""Partition and offset on the input topic."""

NUM_NAMED = 20
"""Most places that are listed for each count; the count is whole."""


@dataclass(frozen=True)
class Answer:
    """An event or a dead letter, as a reader of committed messages found it.

    Attributes:
        place: Of the input that it answers.
        segment_id: Of the segment that it answers; None where a dead letter's payload has none.
        event_id: None for a dead letter.
        partition: Of the topic that it was read from.
    """

    place: Place
    segment_id: str | None
    event_id: str | None
    partition: int


@dataclass(frozen=True)
class Verdict:
    """The counts of a run.

    Attributes:
        expected: Records on the input topic.
        distinct: Those that have an answer.
        lost: Places without an answer.
        doubled: Places with more than one answer.
        doubled_differently: Of these, those whose answers differ: another `event_id`, or an event and a dead letter.
        out_of_order: Answers that came after a later one of the same input partition.
        stray: Answers to nothing that was published, or of another segment, or in another partition.
        not_dead_lettered: Planted poison without a dead letter.
        wrongly_dead_lettered: Dead letters that were not planted.
    """

    expected: int
    distinct: int
    lost: tuple[Place, ...]
    doubled: tuple[Place, ...]
    doubled_differently: tuple[Place, ...]
    out_of_order: tuple[Place, ...]
    stray: tuple[Place, ...]
    not_dead_lettered: tuple[Place, ...]
    wrongly_dead_lettered: tuple[Place, ...]

    def failures(self, may_double: bool) -> list[str]:
        """What breaks the promise; empty when it was kept.

        Args:
            may_double: At least once: the same answer may come again.
        """
        checks = {
            "lost": self.lost,
            "doubled": self.doubled_differently if may_double else self.doubled,
            "out of order": self.out_of_order,
            "stray": self.stray,
            "poison without a dead letter": self.not_dead_lettered,
            "dead letters that were not planted": self.wrongly_dead_lettered,
        }
        return [f"{len(places)} {what}: {_some(places)}" for what, places in checks.items() if places]


def judge(
    published: Mapping[Place, str],
    poison: Collection[str],
    events: Sequence[Answer],
    dead_letters: Sequence[Answer],
) -> Verdict:
    """Count.

    Args:
        published: The id of the segment at each place of the input topic, whatever its payload says.
        poison: Ids of the segments that must become dead letters.
        events: In the order in which a reader finds them in each partition.
        dead_letters: Likewise.
    """
    answers: defaultdict[Place, list[Answer]] = defaultdict(list)
    for answer in (*events, *dead_letters):
        answers[answer.place].append(answer)
    doubled = [place for place, found in answers.items() if len(found) > 1]
    differently = [place for place in doubled if len({one.event_id for one in answers[place]}) > 1]
    stray = [one.place for one in (*events, *dead_letters) if _is_stray(one, published)]
    # An event that is where no other of its input partition is would not be in order with them.
    stray += [one.place for one in events if one.partition != one.place[0]]
    planted = {place for place, name in published.items() if name in poison}
    dead = {one.place for one in dead_letters}
    return Verdict(
        expected=len(published),
        distinct=len(answers.keys() & published.keys()),
        lost=_sorted(published.keys() - answers.keys()),
        doubled=_sorted(doubled),
        doubled_differently=_sorted(differently),
        out_of_order=_sorted([*_late(events), *_late(dead_letters)]),
        stray=_sorted(stray),
        not_dead_lettered=_sorted(planted - dead),
        wrongly_dead_lettered=_sorted(dead - planted),
    )


def _is_stray(answer: Answer, published: Mapping[Place, str]) -> bool:
    name = published.get(answer.place)
    return name is None or (answer.segment_id is not None and answer.segment_id != name)


def _late(answers: Iterable[Answer]) -> list[Place]:
    """Places answered for the first time after a later one of their partition; a repetition is not late."""
    furthest: dict[int, int] = {}
    seen: Counter[Place] = Counter()
    late = []
    for answer in answers:
        partition, offset = answer.place
        seen[answer.place] += 1
        if seen[answer.place] == 1 and offset < furthest.get(partition, -1):
            late.append(answer.place)
        furthest[partition] = max(offset, furthest.get(partition, -1))
    return late


def _sorted(places: Iterable[Place]) -> tuple[Place, ...]:
    return tuple(sorted(places))


def _some(places: Sequence[Place]) -> str:
    named = ", ".join(f"{partition}:{offset}" for partition, offset in places[:NUM_NAMED])
    return named + (", …" if len(places) > NUM_NAMED else "")
