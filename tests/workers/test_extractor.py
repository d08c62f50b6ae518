"""The extractor's replica and its processes: real ones, and real media where that is what is asked."""

import asyncio
import math
import os
import resource
import signal
import sys
import time
from collections.abc import Awaitable, Callable, Iterator
from pathlib import Path

import psutil
import pytest
import ray

from pipelines.errors import ConfigError
from pipelines.events import Source
from pipelines.media import MediaConfig
from pipelines.prepared import PreparedSegment
from pipelines.segment import IncomingSegment, Segment
from tests.acting import RELEASE, diary, make_acting, make_none
from tests.checkpoints import save_random_checkpoint
from tests.segments import TONE
from tests.topics import wait_until
from workers import turns
from workers.config import FlowConfig, ModelSettings, Settings
from workers.extracting import make_preparer
from workers.extractor import FeatureExtractor, _num_cores
from workers.messages import Failure, Work
from workers.ray_start import start_ray, stop_ray
from workers.scaling import BUSY
from workers.turns import TURN_S

Made = Callable[..., FeatureExtractor]


def work(segment_id: str = "cam/1", budget_s: float = 30.0, media: bytes = TONE, partition: int = 0) -> Work:
    segment = Segment(stream_id="cam", segment_id=segment_id)
    source = Source(topic="segments", partition=partition, offset=0)
    return Work(IncomingSegment(segment, media), source, None, budget_s)


@pytest.fixture
def made(tmp_path: Path) -> Iterator[Made]:
    """Makes replicas that act by the segments' ids; in the end all of their processes are gone."""
    replicas: list[FeatureExtractor] = []

    def make(num_places: int = 4) -> FeatureExtractor:
        flow = FlowConfig(max_concurrent_extractions=num_places)
        media = MediaConfig(allowed_roots=(str(tmp_path),))
        replicas.append(FeatureExtractor(Settings(flow=flow, media=media), make_acting))
        return replicas[-1]

    yield make
    (tmp_path / RELEASE).touch()
    started = processes()
    for replica in replicas:
        replica.close()
    wait_until(lambda: not any(map(lives, started)), "every process is gone")


def processes() -> list[psutil.Process]:
    """The source of this process's cells, and they."""
    children = psutil.Process().children(recursive=True)
    return [child for child in children if child.status() != psutil.STATUS_ZOMBIE and is_of_cells(child)]


def lives(process: psutil.Process) -> bool:
    """Not when it has ended and waits for init to take notice, which may take seconds."""
    try:
        return bool(process.status() != psutil.STATUS_ZOMBIE)
    except psutil.NoSuchProcess:
        return False


def is_of_cells(process: psutil.Process) -> bool:
    return any("workers.cell" in part for part in process.cmdline())


async def until(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(30):
        while not condition():
            await asyncio.sleep(0.005)


async def gathered(*ones: Awaitable[PreparedSegment | Failure]) -> list[PreparedSegment | Failure]:
    return list(await asyncio.gather(*ones))


def has(folder: Path, line: str) -> bool:
    return line in (written for written, _ in diary(folder))


def failed(found: PreparedSegment | Failure) -> Failure:
    assert isinstance(found, Failure)
    return found


def test_real_media_become_features(tmp_path: Path) -> None:
    checkpoint = str(save_random_checkpoint(tmp_path))
    replica = FeatureExtractor(Settings(model=ModelSettings(checkpoint=checkpoint)))
    prepared = asyncio.run(replica.extract(work()))
    replica.close()
    assert isinstance(prepared, PreparedSegment)
    assert len(prepared.features["audio"]) > 0
    assert set(prepared.timings_s) == {"fetch", "decode", "extract", "align"}


@pytest.mark.parametrize(
    ("kind", "stage", "error"),
    [
        ("segment", "decode", "SegmentError"),
        ("transient", "fetch", "RetryableError"),
        ("bug", "extract", "KeyError"),
    ],
)
def test_what_is_wrong_with_a_segment_is_returned(made: Made, kind: str, stage: str, error: str) -> None:
    failure = failed(asyncio.run(made().extract(work(kind))))
    is_bug = kind == "bug"
    assert (failure.stage, failure.kind, failure.error) == (stage, "unexpected" if is_bug else kind, error)
    assert ("Traceback" in failure.message) == is_bug


@pytest.mark.parametrize("kind", ["bug", "die"])
def test_what_a_segment_took_is_known_though_its_budget_has_no_end(made: Made, kind: str) -> None:
    failure = failed(asyncio.run(made().extract(work(kind, budget_s=math.inf))))
    assert 0 <= failure.elapsed_s < 30


def test_alone_says_that_it_begins(made: Made) -> None:
    async def alone() -> list[object]:
        return [item async for item in made().extract_alone(work("alone"))]

    begin, result = asyncio.run(alone())
    assert begin is None
    assert isinstance(result, PreparedSegment)


def test_a_suspect_waits_for_no_neighbour_that_hangs(made: Made, tmp_path: Path) -> None:
    async def suspected() -> list[object]:
        replica = made()
        hanging = asyncio.ensure_future(replica.extract(work("wait", partition=1)))
        await until(lambda: len(diary(tmp_path)) == 1)
        found = [item async for item in replica.extract_alone(work("die"))]
        found.append(await replica.extract(work("healthy", partition=2)))
        assert not hanging.done()
        (tmp_path / RELEASE).touch()
        await hanging
        return list(found)

    begin, died, healthy = asyncio.run(suspected())
    assert begin is None
    assert isinstance(died, Failure)
    assert isinstance(healthy, PreparedSegment)


def test_a_segment_that_kills_its_process_takes_no_other_with_it(made: Made, tmp_path: Path) -> None:
    async def poisoned() -> list[PreparedSegment | Failure]:
        replica = made(num_places=2)
        beside = asyncio.ensure_future(replica.extract(work("wait", partition=1)))
        await until(lambda: len(diary(tmp_path)) == 1)
        found = [await replica.extract(work(name)) for name in ("die/1", "die/2", "good")]
        (tmp_path / RELEASE).touch()
        return [*found, await beside]

    *died, after, beside = asyncio.run(poisoned())
    assert [(failed(one).kind, failed(one).error) for one in died] == [("death", "ProcessDied")] * 2
    assert isinstance(after, PreparedSegment)
    assert isinstance(beside, PreparedSegment)


def test_a_crash_says_where_it_was(made: Made) -> None:
    failure = failed(asyncio.run(made().extract(work("crash"))))
    assert (failure.stage, failure.kind, failure.error) == ("fetch", "death", "ProcessDied")
    assert "in string_at (__init__.py:" in failure.message


def test_a_segment_that_hangs_is_cut_off_where_it_is_and_takes_no_other_with_it(
    made: Made, tmp_path: Path
) -> None:
    async def hang() -> list[PreparedSegment | Failure]:
        replica = made(num_places=2)
        beside = asyncio.ensure_future(replica.extract(work("wait", partition=1)))
        await until(lambda: len(diary(tmp_path)) == 1)
        hanging = await replica.extract(work("hang", budget_s=0.1))
        late = await replica.extract(work("late"))
        (tmp_path / RELEASE).touch()
        return [hanging, late, await beside]

    hanging, late, beside = asyncio.run(hang())
    failure = failed(hanging)
    assert (failure.stage, failure.error, failure.kind) == ("decode", "DeadlineExceeded", "segment")
    assert "threading.py" in failure.message
    assert isinstance(late, PreparedSegment)
    assert isinstance(beside, PreparedSegment)


def test_of_those_whose_media_are_there_one_computes_at_a_time(
    made: Made, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(turns, "SHORTEST_TURN_S", TURN_S)  # this machine may be busy

    async def all_of_them() -> list[PreparedSegment | Failure]:
        replica = made(num_places=8)
        return await gathered(*(replica.extract(work(f"turn/{one}", partition=one)) for one in range(8)))

    assert all(isinstance(one, PreparedSegment) for one in asyncio.run(all_of_them()))
    computing = [line for line, _ in diary(tmp_path) if line[0] in "!-"]
    assert computing[::2] == [f"!{line[1:]}" for line in computing[1::2]]


def test_media_are_fetched_while_another_computes(made: Made, tmp_path: Path) -> None:
    async def beside() -> list[PreparedSegment | Failure]:
        replica = made()
        stuck = asyncio.ensure_future(replica.extract(work("stuck", budget_s=TURN_S)))
        await until(lambda: has(tmp_path, "!stuck"))
        return await gathered(replica.extract(work("fetched", partition=1)), stuck)

    fetched, stuck = asyncio.run(beside())
    assert isinstance(fetched, PreparedSegment)
    assert failed(stuck).error == "DeadlineExceeded"
    lines = [line for line, _ in diary(tmp_path)]
    assert lines.index("!stuck") < lines.index("-fetched")


def test_who_waits_for_one_that_hangs_while_it_computes_waits_one_turn_and_loses_nothing_of_its_time(
    made: Made, tmp_path: Path
) -> None:
    async def hang() -> tuple[list[PreparedSegment | Failure], float, Failure]:
        replica = made()
        hanging = asyncio.ensure_future(replica.extract(work("stuck", budget_s=TURN_S + 2)))
        await until(lambda: has(tmp_path, "!stuck"))
        begun_s = time.monotonic()
        beside = [
            await replica.extract(work(f"turn/{one}", budget_s=TURN_S / 2, partition=1)) for one in range(3)
        ]
        waited_s = time.monotonic() - begun_s
        assert not hanging.done()
        return beside, waited_s, failed(await hanging)

    beside, waited_s, hanging = asyncio.run(hang())
    assert all(isinstance(one, PreparedSegment) for one in beside)
    assert waited_s > TURN_S / 2
    assert (hanging.stage, hanging.error) == ("decode", "DeadlineExceeded")


def test_one_that_dies_while_it_computes_ends_its_turn(made: Made, tmp_path: Path) -> None:
    async def die() -> tuple[Failure, PreparedSegment | Failure, float]:
        replica = made()
        fatal = asyncio.ensure_future(replica.extract(work("fatal")))
        await until(lambda: has(tmp_path, "!fatal"))
        waiting = asyncio.ensure_future(replica.extract(work("turn", partition=1)))
        await until(lambda: has(tmp_path, "+turn"))
        begun_s = time.monotonic()
        (tmp_path / RELEASE).touch()
        return failed(await fatal), await waiting, time.monotonic() - begun_s

    fatal, waiting, seconds = asyncio.run(die())
    assert fatal.kind == "death"
    assert isinstance(waiting, PreparedSegment)
    assert seconds < TURN_S / 2


def test_a_replica_that_closes_ends_those_that_wait_for_a_turn(made: Made, tmp_path: Path) -> None:
    async def closed() -> list[PreparedSegment | Failure]:
        replica = made()
        found = [asyncio.ensure_future(replica.extract(work("stuck")))]
        await until(lambda: has(tmp_path, "!stuck"))
        found.append(asyncio.ensure_future(replica.extract(work("turn", partition=1))))
        await until(lambda: has(tmp_path, "+turn"))
        await asyncio.to_thread(replica.close)
        return await gathered(*found)

    assert [failed(one).kind for one in asyncio.run(closed())] == ["displaced", "displaced"]


@pytest.mark.e2e
def test_a_replica_computes_on_as_many_cores_as_ray_keeps_for_it() -> None:
    start_ray(None, relay_logs=False)
    try:
        ask = ray.remote(_num_cores)
        counted = ray.remote(CountsCores)
        found = [
            ray.get(counted.options(num_cpus=number).remote().count.remote()) for number in (0, 0.6, 1, 1.2)
        ]
        assert found == [1, 1, 1, 2]
        assert ray.get(ask.remote()) == 1
        assert _num_cores() == 1
    finally:
        stop_ray()


class CountsCores:
    def count(self) -> int:
        return _num_cores()


def test_a_process_is_kept_as_long_as_nothing_is_wrong_with_it(made: Made, tmp_path: Path) -> None:
    async def some() -> None:
        replica = made()
        for name in ("a", "segment", "b", "bug", "c", "die", "d"):
            await replica.extract(work(name))

    asyncio.run(some())
    of = {line[1:]: process for line, process in diary(tmp_path)}
    assert len({of[name] for name in ("a", "segment", "b", "bug", "c", "die")}) == 1
    assert of["d"] != of["die"]


def test_a_process_that_is_killed_while_it_has_nothing_to_do_is_replaced(made: Made, tmp_path: Path) -> None:
    async def killed() -> PreparedSegment | Failure:
        replica = made()
        await replica.extract(work("a"))
        (_, process) = diary(tmp_path)[-1]
        os.kill(int(process), signal.SIGKILL)
        await until(lambda: not psutil.pid_exists(int(process)))
        return await replica.extract(work("b"))

    assert isinstance(asyncio.run(killed()), PreparedSegment)


def test_media_that_are_too_large_for_a_process_are_a_death_and_not_tried_for_ever(made: Made) -> None:
    replica = made()
    for process in processes():  # its cells have as little room
        process.rlimit(resource.RLIMIT_AS, (process.memory_info().vms + 50_000_000,) * 2)
    failure = failed(asyncio.run(replica.extract(work("large", media=bytes(200_000_000)))))
    assert failure.kind in ("death", "unexpected")
    assert isinstance(asyncio.run(replica.extract(work("good"))), PreparedSegment)


def test_large_media_and_large_results_pass(made: Made) -> None:
    found = asyncio.run(made().extract(work("big", media=bytes(30_000_000))))
    assert isinstance(found, PreparedSegment)
    assert found.features["text"].shape == (1000, 5000)


def test_what_a_death_took_counts_against_the_deadline(made: Made) -> None:
    assert failed(asyncio.run(made().extract(work("slow")))).elapsed_s > 0.4


def test_a_result_that_can_not_be_sent_is_a_bug_with_its_traceback(made: Made) -> None:
    failure = failed(asyncio.run(made().extract(work("strange"))))
    assert failure.kind == "unexpected"
    assert "cannot pickle" in failure.message


def test_a_death_is_seen_although_a_child_holds_the_connection(made: Made) -> None:
    failure = failed(asyncio.run(made().extract(work("child", budget_s=15.0))))
    assert failure.kind == "death"


def test_a_budget_longer_than_the_clock_can_count_is_no_error(made: Made) -> None:
    assert isinstance(asyncio.run(made().extract(work(budget_s=float("inf")))), PreparedSegment)


def test_where_no_process_is_to_be_had_segments_wait(made: Made) -> None:
    async def crowded(replica: FeatureExtractor) -> PreparedSegment | Failure:
        limit = resource.getrlimit(resource.RLIMIT_NOFILE)
        resource.setrlimit(resource.RLIMIT_NOFILE, (3, limit[1]))
        try:
            return await replica.extract(work())
        finally:
            resource.setrlimit(resource.RLIMIT_NOFILE, limit)

    replica = made()
    failure = failed(asyncio.run(crowded(replica)))
    assert (failure.kind, failure.error) == ("displaced", "NoProcess")
    assert isinstance(asyncio.run(replica.extract(work())), PreparedSegment)


def test_a_replica_that_is_closed_holds_nothing_against_what_it_had(made: Made, tmp_path: Path) -> None:
    async def closed() -> list[PreparedSegment | Failure]:
        replica = made()
        hanging = asyncio.ensure_future(replica.extract(work("hang")))
        await until(lambda: len(diary(tmp_path)) == 1)
        await asyncio.to_thread(replica.close)
        return [await hanging]

    assert [failed(one).kind for one in asyncio.run(closed())] == ["displaced"]


def test_the_source_is_safe_to_fork_it_has_one_thread(tmp_path: Path) -> None:
    checkpoint = str(save_random_checkpoint(tmp_path))
    replica = FeatureExtractor(Settings(model=ModelSettings(checkpoint=checkpoint)))
    asyncio.run(replica.extract(work()))
    (source,) = [one for one in processes() if one.ppid() == os.getpid()]
    assert source.num_threads() == 1
    replica.close()


def test_a_folder_that_happens_to_be_the_current_one_is_no_place_for_modules(
    made: Made, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "workers").mkdir()
    (tmp_path / "workers" / "__init__.py").write_text("raise RuntimeError")
    monkeypatch.chdir(tmp_path)
    assert isinstance(asyncio.run(made().extract(work())), PreparedSegment)


def test_no_process_outlives_its_replica_though_it_hangs(tmp_path: Path) -> None:
    code = "import asyncio, sys; from tests.workers.test_extractor import lonely; asyncio.run(lonely(sys.argv[1]))"
    parent = psutil.Popen([sys.executable, "-c", code, str(tmp_path)])
    wait_until(lambda: len(diary(tmp_path)) == 2, "both segments are in")
    children = parent.children(recursive=True)
    assert len(children) == 3
    parent.kill()
    parent.wait()
    wait_until(lambda: not any(map(lives, children)), "they are gone")


async def lonely(folder: str) -> None:
    """A replica with two segments that hang."""
    replica = FeatureExtractor(Settings(media=MediaConfig(allowed_roots=(folder,))), make_acting)
    await gathered(*(replica.extract(work(f"hang/{number}", partition=number)) for number in range(2)))


def test_without_its_source_the_replica_ends(made: Made, monkeypatch: pytest.MonkeyPatch) -> None:
    class Ended(BaseException):
        pass

    def end(status: int) -> None:
        raise Ended(status)

    monkeypatch.setattr(os, "_exit", end)
    replica = made()
    for process in processes():
        process.kill()
    with pytest.raises(Ended):
        asyncio.run(replica.extract(work()))


def test_how_busy_it_is_is_how_busy_its_processes_are(made: Made) -> None:
    async def some() -> tuple[float, float]:
        replica = made(num_places=4)
        before = (await replica.record_autoscaling_stats())[BUSY]
        begun_s = time.monotonic()
        await replica.extract(work("busy"))
        share = (await replica.record_autoscaling_stats())[BUSY]
        return before, share * (time.monotonic() - begun_s)

    before, used_s = asyncio.run(some())
    assert before == 0
    assert 0.25 < used_s < 0.5  # all the processor time, where a quarter of the places was taken


def test_a_cancelled_segment_keeps_its_place_until_its_process_is_free(made: Made, tmp_path: Path) -> None:
    async def cancel() -> None:
        replica = made(num_places=1)
        first = asyncio.ensure_future(replica.extract(work("wait")))
        await until(lambda: len(diary(tmp_path)) == 1)
        first.cancel()
        second = asyncio.ensure_future(replica.extract(work("second", budget_s=0.2)))
        await asyncio.sleep(0.5)
        (tmp_path / RELEASE).touch()
        assert isinstance(await second, PreparedSegment)  # its time began when it did

    asyncio.run(cancel())
    assert [line for line, _ in diary(tmp_path)] == ["+wait", "-wait", "+second", "-second"]


def test_extractors_that_can_not_be_loaded_are_told_in_one_line() -> None:
    with pytest.raises(ConfigError, match=r"^there is no such extractor$"):
        FeatureExtractor(Settings(), make_none)


def test_a_checkpoint_that_is_not_there_is_told_in_one_line() -> None:
    with pytest.raises(ConfigError, match="nowhere") as caught:
        make_preparer(Settings(model=ModelSettings(checkpoint="nowhere")))
    assert "\n" not in str(caught.value)
