import itertools
from collections.abc import Iterable
from concurrent.futures import Future

import pytest
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from workers.window import BrokenInvariantError, Entry, Windows

NUM_PARTITIONS = 3


def is_record(offset: int) -> bool:
    """Whether an offset of the tested topic holds a record; the others hold transaction markers."""
    return offset % 5 != 3


def entry(offset: int, num_bytes: int = 10) -> Entry[int]:
    return Entry(offset, num_bytes, Future())


def complete(entries: Iterable[Entry[int]]) -> None:
    for one in entries:
        assert isinstance(one.future, Future)
        one.future.set_result(one.offset)


def filled(offsets: Iterable[int]) -> tuple[Windows[int], list[Entry[int]]]:
    windows: Windows[int] = Windows(100, 10**9)
    entries = [entry(offset) for offset in offsets]
    for one in entries:
        windows.add(0, one)
    return windows, entries


def test_answers_leave_at_the_head_only() -> None:
    windows, (first, second, third) = filled([5, 6, 9])
    complete([second, third])
    assert windows.finished() == {}
    complete([first])
    assert windows.finished() == {0: [first, second, third]}
    windows.release(0, second.next_offset)
    assert windows.finished() == {0: [third]}
    assert third.next_offset == 10


def test_what_is_given_back_is_cancelled_and_makes_room() -> None:
    windows, entries = filled(range(4))
    assert windows.drop([0, 7]) == 4
    assert all(one.future.cancelled() for one in entries if isinstance(one.future, Future))
    assert (windows.num_records, windows.num_bytes) == (0, 0)


def test_a_full_partition_leaves_room_for_the_others() -> None:
    windows: Windows[int] = Windows(max_records=8, max_bytes=10**9)
    for offset in range(4):
        windows.add(0, entry(offset))
    plan = windows.plan([0, 1])
    assert plan.partitions == {1}
    assert plan.max_records == 4


def test_more_partitions_than_room_still_move() -> None:
    windows: Windows[int] = Windows(max_records=2, max_bytes=10**9)
    assert windows.plan(range(10)).max_records == 1
    windows.add(0, entry(0))
    windows.add(1, entry(0))
    assert windows.plan(range(10)).partitions == frozenset()


def test_no_more_than_the_byte_budget_is_polled() -> None:
    windows: Windows[int] = Windows(max_records=100, max_bytes=4 * 2**20)
    assert windows.plan([0]).max_records == 4
    windows.add(0, entry(0, 3 * 2**20))
    assert windows.plan([0]).max_records == 1
    windows.add(0, entry(1, 3 * 2**20))
    assert windows.plan([0]).max_records == 0


def test_a_partition_with_large_records_leaves_bytes_to_the_others() -> None:
    windows: Windows[int] = Windows(max_records=100, max_bytes=8 * 2**20)
    windows.add(0, entry(0, 3 * 2**20))
    assert windows.plan([0, 1]).partitions == {0, 1}
    windows.add(0, entry(1, 3 * 2**20))
    assert windows.plan([0, 1]).partitions == {1}


def test_broken_bookkeeping_is_refused() -> None:
    windows, (first, _) = filled([5, 6])
    with pytest.raises(BrokenInvariantError, match="came after 6"):
        windows.add(0, entry(6))
    with pytest.raises(BrokenInvariantError, match="without an answer"):
        windows.release(0, 7)
    complete([first])
    windows.release(0, 6)
    with pytest.raises(BrokenInvariantError, match="nothing before 6"):
        windows.release(0, 6)


class Delivery(RuleBasedStateMachine):
    """Any interleaving of polls, answers, commits and rebalances, against the topic as it must come out."""

    @initialize(max_records=st.integers(1, 12), max_bytes=st.integers(1, 400))
    def begin(self, max_records: int, max_bytes: int) -> None:
        self.windows: Windows[int] = Windows(max_records, max_bytes, _largest_bytes=100)
        self.assigned = set(range(NUM_PARTITIONS))
        self.position = dict.fromkeys(range(NUM_PARTITIONS), 0)
        self.committed = dict.fromkeys(range(NUM_PARTITIONS), 0)
        self.published: dict[int, list[int]] = {number: [] for number in range(NUM_PARTITIONS)}
        self.in_flight: list[tuple[int, Entry[int]]] = []

    @rule(data=st.data())
    def poll(self, data: st.DataObject) -> None:
        plan = self.windows.plan(self.assigned)
        if not plan.partitions:
            return
        for _ in range(data.draw(st.integers(0, plan.max_records))):
            # As kafka-python may: any number of them from the same partition.
            partition = data.draw(st.sampled_from(sorted(plan.partitions)))
            offset = next(filter(is_record, itertools.count(self.position[partition])))
            one = entry(offset, data.draw(st.integers(0, 100)))
            self.windows.add(partition, one)
            self.in_flight.append((partition, one))
            self.position[partition] = offset + 1

    @precondition(lambda self: self.in_flight)
    @rule(data=st.data())
    def answer(self, data: st.DataObject) -> None:
        index = data.draw(st.integers(0, len(self.in_flight) - 1))
        _, one = self.in_flight.pop(index)
        complete([one])

    @rule(is_accepted=st.booleans())
    def publish(self, is_accepted: bool) -> None:
        finished = self.windows.finished()
        if not is_accepted:
            return  # an aborted transaction: the answers stay, and go out with the next one
        for partition, entries in finished.items():
            self.published[partition] += [one.offset for one in entries]
            self.committed[partition] = entries[-1].next_offset
            self.windows.release(partition, entries[-1].next_offset)

    @rule(partition=st.integers(0, NUM_PARTITIONS - 1))
    def lose(self, partition: int) -> None:
        """A rebalance, or a crash: the next owner begins at the committed offset."""
        self.windows.drop([partition])
        self.in_flight = [(owner, one) for owner, one in self.in_flight if owner != partition]
        self.assigned ^= {partition}
        self.position[partition] = self.committed[partition]

    @invariant()
    def nothing_is_lost_doubled_or_reordered(self) -> None:
        for partition, offsets in self.published.items():
            assert offsets == list(filter(is_record, range(self.committed[partition])))

    @invariant()
    def limits_hold(self) -> None:
        assert self.windows.num_records <= self.windows.max_records
        assert self.windows.num_bytes < self.windows.max_bytes + 100
        assert self.windows.num_records >= len(self.in_flight)

    @invariant()
    def a_held_partition_with_nothing_in_flight_can_move(self) -> None:
        if self.windows.num_records == 0 and self.assigned:
            plan = self.windows.plan(self.assigned)
            assert plan.partitions == self.assigned
            assert plan.max_records >= 1


TestDelivery = Delivery.TestCase


def test_a_partition_that_was_alone_makes_room_for_new_ones() -> None:
    windows: Windows[int] = Windows(8, 10**9)
    entries = [entry(offset) for offset in range(8)]
    for one in entries:
        windows.add(0, one)
    assert windows.plan([0, 1, 2, 3]).partitions == frozenset()
    assert windows.trim([0, 1, 2, 3]) == {0: 2}
    assert windows.num_records == 2
    assert [one.future.cancelled() for one in entries if isinstance(one.future, Future)] == [False] * 2 + [
        True
    ] * 6
    assert windows.plan([0, 1, 2, 3]).partitions == {1, 2, 3}
    assert windows.trim([0, 1, 2, 3]) == {}


def test_a_partition_keeps_its_head_however_small_its_share_of_bytes() -> None:
    windows: Windows[int] = Windows(100, 1000)
    for offset in range(3):
        windows.add(0, entry(offset, num_bytes=900))
    assert windows.trim([0, 1, 2, 3]) == {0: 1}
    assert (windows.num_records, windows.num_bytes) == (1, 900)
