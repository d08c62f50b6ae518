"""What replicas report to the autoscaling: how busy they are, how far behind."""

import threading
import time
from collections.abc import Callable

import pytest

from workers.busy import Busy
from workers.pace import Pace, Video
from workers.scaling import ANSWERED, ARRIVED, BEHIND


def test_sums_become_rates_and_a_new_session_begins_anew() -> None:
    pace = Pace()
    begun_s = time.monotonic()
    threading.Event().wait(0.05)
    first = pace.stats(Video(7.0, 30.0, 20.0))
    longest_s = time.monotonic() - begun_s
    assert first[BEHIND] == 7
    assert 30 / longest_s <= first[ARRIVED] <= 30 / 0.05
    assert first[ANSWERED] == pytest.approx(first[ARRIVED] * 2 / 3)
    assert pace.stats(Video(7.0, 30.0, 20.0)) == {BEHIND: 7.0, ARRIVED: 0.0, ANSWERED: 0.0}
    assert pace.stats(Video(7.0, 3.0, 2.0))[ARRIVED] > 0


def test_a_consumer_that_does_not_know_how_far_behind_it_is_says_nothing() -> None:
    assert Pace().stats(Video(None, 0.0, 0.0)) == {}


def test_places_that_are_taken_count_and_nothing_is_counted_twice() -> None:
    busy = Busy(2)
    with busy.place():
        threading.Event().wait(0.05)
        assert busy.share() == pytest.approx(0.5, abs=0.05)
        with busy.place():
            threading.Event().wait(0.05)
        assert busy.share() == pytest.approx(1.0, abs=0.1)
    threading.Event().wait(0.05)
    assert busy.share() < 0.05


def test_a_core_that_is_busy_counts_however_many_places_are_free() -> None:
    def share(cpu_s: Callable[[], float] | None, num_cores: int = 1) -> float:
        busy = Busy(100, cpu_s, num_cores)
        end_s = time.process_time() + 0.2
        with busy.place():
            while time.process_time() < end_s:
                pass
        return busy.share()

    assert share(None) == pytest.approx(0.01, abs=0.002)
    assert share(time.process_time) > 0.1
    assert share(time.process_time, num_cores=20) < 0.1
