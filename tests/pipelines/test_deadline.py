import pickle

import pytest

from pipelines.deadline import Deadline
from pipelines.errors import SegmentError


def test_work_may_go_on_until_the_moment_has_passed() -> None:
    ahead, past = Deadline.after(60), Deadline.after(-1)
    ahead.check("decode")
    assert 59 < ahead.remaining_s() <= 60
    assert past.remaining_s() == 0
    with pytest.raises(SegmentError, match=r"flow\.segment_deadline_s") as caught:
        past.check("extract")
    assert caught.value.stage == "extract"


def test_a_deadline_crosses_process_borders() -> None:
    deadline = Deadline.after(60)
    assert pickle.loads(pickle.dumps(deadline)) == deadline
