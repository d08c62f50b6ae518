"""What faulthandler writes, read: by the real one."""

import faulthandler
import tempfile

from workers.last_words import is_whole, read_place


def decode(depth: int) -> bytes:
    return fetch() if depth == 0 else decode(depth - 1)


def fetch() -> bytes:
    with tempfile.TemporaryFile() as file:
        faulthandler.dump_traceback(file, all_threads=False)
        file.seek(0)
        return file.read()


def test_the_outermost_stage_and_the_innermost_line() -> None:
    place = read_place(decode(2))
    assert place.stage == "decode"
    assert place.where.startswith("in fetch (test_last_words.py:")


def test_a_deep_stack_is_cut_and_that_is_its_end() -> None:
    words = decode(150)
    assert is_whole(words)
    assert not is_whole(words[: len(words) // 2])
    assert read_place(words).stage == "decode"


def test_silence_is_nowhere() -> None:
    assert not is_whole(b"")
    place = read_place(b"")
    assert (place.stage, place.where) == ("extract", "where nobody knows")
