import contextlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from workers.memory import Memory
from workers.past import (
    MAX_METADATA_BYTES,
    NOTHING,
    ForeignMetadataError,
    Past,
    read_pasts,
    write_pasts,
)

numbers = st.integers(0, 2**31)
pasts = st.builds(
    Past,
    num_attempts=numbers,
    num_transient=numbers,
    num_deaths=numbers,
    is_suspect=st.booleans(),
    spent_s=st.integers(0, 10**8).map(lambda ms: ms / 1000),
)
partitions = st.dictionaries(st.integers(0, 2**63 - 1), pasts, max_size=150)


@given(partitions)
def test_what_is_written_is_read_again_as_far_as_there_is_room(known: dict[int, Past]) -> None:
    text = write_pasts(known)
    assert len(text.encode()) <= MAX_METADATA_BYTES
    kept = read_pasts(text)
    interesting = {offset: past for offset, past in sorted(known.items()) if past != NOTHING}
    assert list(kept.items()) == list(interesting.items())[: len(kept)]
    if len(kept) < len(interesting):
        assert len(kept) >= 30  # 4,096 bytes hold that many of the longest numbers there are


def test_records_of_which_there_is_nothing_to_know_cost_nothing() -> None:
    assert write_pasts({7: NOTHING, 8: NOTHING}) == ""


@pytest.mark.parametrize("text", [None, ""])
def test_no_metadata_say_nothing(text: str | None) -> None:
    assert read_pasts(text) == {}


@pytest.mark.parametrize(
    "text",
    [
        "host-7",
        "{",
        "{}",
        "null",
        '{"tried": 3}',
        '{"hctdmg":2,"tried":{}}',
        '{"hctdmg":1,"tried":{"7":[1,2]}}',
        '{"hctdmg":1,"tried":{"7":[-1,0,0,0,false,0]}}',
        '{"hctdmg":1,"tried":{"7":[1,0,0,0,false,NaN]}}',
        '{"hctdmg":1,"tried":{"x":[1,0,0,0,false,0]}}',
        '{"hctdmg":1,"tried":{},"more":1}',
        write_pasts({7: Past(1)})[:-3],
    ],
)
def test_foreign_or_damaged_metadata_are_told_apart(text: str) -> None:
    with pytest.raises(ForeignMetadataError):
        read_pasts(text)


@given(st.text(max_size=300))
def test_whatever_stands_there_is_read_or_refused(text: str) -> None:
    with contextlib.suppress(ForeignMetadataError):
        read_pasts(text)


def test_a_memory_forgets_what_is_answered() -> None:
    memory = Memory()
    for offset in (5, 6, 7):
        memory.note(0, offset, Past(num_attempts=offset))
    memory.note(1, 5, Past(num_attempts=1))
    assert memory.since(0, 6) == {6: Past(6), 7: Past(7)}
    assert [memory.recall(0, offset) for offset in (5, 6)] == [NOTHING, Past(6)]
    memory.replace(0, {9: Past(9)})
    assert memory.since(0, 0) == {9: Past(9)}
    assert memory.recall(1, 5) == Past(1)
