import asyncio
import os
import threading
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from pipelines.deadline import Deadline
from pipelines.errors import ConfigError, RetryableError, SegmentError
from pipelines.events import Source
from pipelines.prepare import PreparedSegment
from pipelines.segment import IncomingSegment, Segment
from tests.checkpoints import save_random_checkpoint
from tests.segments import TONE
from workers.config import FlowConfig, ModelSettings, Settings
from workers.extractor import FeatureExtractor, make_preparer
from workers.messages import Failure, Work


def work(segment_id: str = "cam/1", budget_s: float = 30.0, media: bytes = TONE) -> Work:
    segment = Segment(stream_id="cam", segment_id=segment_id)
    source = Source(topic="segments", partition=0, offset=0)
    return Work(IncomingSegment(segment, media), source, None, budget_s)


class Doing:
    """Does what a function says in place of preparing."""

    def __init__(self, act: Callable[[str], None]) -> None:
        self._act = act

    def prepare(self, incoming: IncomingSegment, deadline: Deadline) -> PreparedSegment:
        self._act(incoming.segment.segment_id)
        deadline.check("decode")
        return PreparedSegment(incoming.segment, {}, {}, 1.0, {})


def extractor(act: Callable[[str], None], num_threads: int = 4) -> FeatureExtractor:
    settings = Settings(flow=FlowConfig(max_concurrent_extractions=num_threads))
    return FeatureExtractor(settings, lambda _: Doing(act))


def raising(error: Exception) -> Callable[[str], None]:
    def act(_: str) -> None:
        raise error

    return act


def test_real_media_become_features(tmp_path: Path) -> None:
    checkpoint = str(save_random_checkpoint(tmp_path))
    replica = FeatureExtractor(Settings(model=ModelSettings(checkpoint=checkpoint)))
    prepared = asyncio.run(replica.extract(work()))
    assert isinstance(prepared, PreparedSegment)
    assert len(prepared.features["audio"]) > 0
    assert set(prepared.timings_s) == {"fetch", "decode", "extract", "align"}


@pytest.mark.parametrize(
    ("error", "stage", "kind"),
    [
        (SegmentError("decode", "no video"), "decode", "segment"),
        (RetryableError("fetch", "HTTP 503"), "fetch", "transient"),
        (KeyError("a bug"), "extract", "unexpected"),
    ],
)
def test_what_is_wrong_with_a_segment_is_returned(error: Exception, stage: str, kind: str) -> None:
    failure = asyncio.run(extractor(raising(error)).extract(work()))
    assert isinstance(failure, Failure)
    assert (failure.stage, failure.kind, failure.error) == (stage, kind, type(error).__name__)
    assert ("Traceback" in failure.message) == (kind == "unexpected")


def test_alone_says_that_it_begins_and_shares_the_replica_with_nobody() -> None:
    inside: set[str] = set()
    crowds: list[set[str]] = []

    def act(segment_id: str) -> None:
        inside.add(segment_id)
        crowds.append(set(inside))
        time.sleep(0.005)  # long enough for another to come in, if it may
        inside.remove(segment_id)

    async def both() -> list[object]:
        replica = extractor(act)
        beside = [asyncio.ensure_future(replica.extract(work(f"cam/{number}"))) for number in range(8)]
        heard = [item async for item in replica.extract_alone(work("alone"))]
        await asyncio.gather(*beside)
        return list(heard)

    begin, result = asyncio.run(both())
    assert begin is None
    assert isinstance(result, PreparedSegment)
    assert max(map(len, crowds)) > 1
    assert [crowd for crowd in crowds if "alone" in crowd] == [{"alone"}]


def test_a_segment_that_hangs_is_cut_off_its_neighbours_are_sent_elsewhere_and_the_process_ends(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    ended: list[int] = []
    monkeypatch.setattr(os, "_exit", ended.append)
    release = threading.Event()

    def decode(segment_id: str) -> None:
        if segment_id != "quick":
            release.wait()

    async def hang() -> list[PreparedSegment | Failure]:
        replica = extractor(decode, num_threads=2)
        hanging = asyncio.ensure_future(replica.extract(work("hang", budget_s=0.1)))
        beside = asyncio.ensure_future(replica.extract(work("beside", budget_s=30.0)))
        found = list(await asyncio.gather(hanging, beside))
        found.append(await replica.extract(work("quick")))
        while not ended:
            await asyncio.sleep(0.01)
        release.set()
        return found

    hanging, beside, late = asyncio.run(hang())
    assert isinstance(hanging, Failure)
    assert (hanging.stage, hanging.error, hanging.kind) == ("decode", "DeadlineExceeded", "segment")
    assert "threading.py" in hanging.message
    for displaced in (beside, late):
        assert isinstance(displaced, Failure)
        assert displaced.kind == "displaced"
    assert ended == [1]


def test_a_cancelled_segment_keeps_its_place_until_its_thread_is_free() -> None:
    release = threading.Event()
    order: list[str] = []

    def act(segment_id: str) -> None:
        if segment_id == "first":
            release.wait()
        order.append(segment_id)

    async def cancel() -> None:
        replica = extractor(act, num_threads=1)
        first = asyncio.ensure_future(replica.extract(work("first")))
        await asyncio.sleep(0.05)
        first.cancel()
        second = asyncio.ensure_future(replica.extract(work("second", budget_s=0.2)))
        await asyncio.sleep(0.5)
        release.set()
        assert isinstance(await second, PreparedSegment)  # its time began when it did

    asyncio.run(cancel())
    assert order == ["first", "second"]


def test_a_checkpoint_that_is_not_there_is_told_in_one_line() -> None:
    with pytest.raises(ConfigError, match="nowhere") as caught:
        make_preparer(Settings(model=ModelSettings(checkpoint="nowhere")))
    assert "\n" not in str(caught.value)
