import asyncio
import json
from collections.abc import Callable, Coroutine
from dataclasses import dataclass, field, replace
from typing import Any

import pytest

from tests.measured import Measured
from workers.attempts import Attempts
from workers.config import FlowConfig
from workers.gate import Gate
from workers.messages import Answer, Failure, FailureKind, Record, Work
from workers.metrics import RETRIES

ANSWER = Answer(b"key", b"event", ())


def record(segment_id: str = "cam/1") -> Record:
    fields = {"stream_id": "cam", "segment_id": segment_id, "uri": "file:///a.mp4"}
    return Record("segments", 0, 7, b"cam", json.dumps(fields).encode(), ())


def failing(kind: FailureKind, elapsed_s: float = 0.0) -> Failure:
    return Failure("decode", "SomeError", "what happened", kind, elapsed_s)


@dataclass
class Scripted:
    """A backend that does what is written down, try by try; then it answers."""

    script: list[Failure]
    calls: list[str] = field(default_factory=list)
    budgets_s: list[float] = field(default_factory=list)

    async def together(self, work: Work) -> Answer | Failure:
        return self._next("together", work)

    async def alone(self, work: Work) -> Answer | Failure:
        return self._next("alone", work)

    def _next(self, how: str, work: Work) -> Answer | Failure:
        self.calls.append(how)
        self.budgets_s.append(work.budget_s)
        return self.script.pop(0) if self.script else ANSWER


def answered(backend: Scripted, one: Record | None = None, **flow: float) -> Answer:
    config = FlowConfig.model_validate({"retry_backoff_s": 0.001, "replica_restart_s": 0.0, **flow})
    return asyncio.run(Attempts(config, backend).answer(record() if one is None else one))


def dlq(answer: Answer) -> dict[str, str]:
    return {name: value.decode() for name, value in answer.headers if name.startswith("dlq-")}


@pytest.mark.parametrize(
    ("failures", "calls", "attempts"),
    [
        (["segment"], ["together"], 1),
        (["transient"] * 3, ["together"] * 3, 3),
        (["unexpected"] * 2, ["together", "alone"], 2),
        (["death"] * 3, ["together", "alone", "alone"], 3),
        (["displaced", "segment"], ["together", "together"], 1),
        (["death", "displaced", "displaced", "segment"], ["together", "alone", "alone", "alone"], 2),
    ],
)
def test_what_becomes_a_dead_letter_and_after_which_tries(
    failures: list[FailureKind], calls: list[str], attempts: int
) -> None:
    backend = Scripted([failing(kind) for kind in failures])
    answer = answered(backend, max_attempts=3, max_deaths=2)
    assert backend.calls == calls
    assert answer.failure is not None
    assert answer.value == record().value
    assert (dlq(answer)["dlq-stage"], dlq(answer)["dlq-error"]) == ("decode", "SomeError")
    assert "what happened" in dlq(answer)["dlq-message"]
    assert dlq(answer)["dlq-attempts"] == str(attempts)


@pytest.mark.parametrize("kind", ["transient", "unexpected", "death", "displaced"])
def test_what_passes_is_answered(kind: FailureKind) -> None:
    assert answered(Scripted([failing(kind)])) == ANSWER


def test_further_tries_are_counted_by_what_went_wrong() -> None:
    measured = Measured()
    script: list[FailureKind] = ["transient", "transient", "displaced", "death", "segment"]
    backend = Scripted([failing(kind) for kind in script])
    asyncio.run(Attempts(FlowConfig(retry_backoff_s=0.001), backend, measure=measured).answer(record()))
    counted = {kind: measured.total(RETRIES, kind=kind) for kind in RETRIES.labels[0].values}
    assert counted == {"transient": 2, "unexpected": 0, "displaced": 1, "death": 1}


def test_the_deadline_covers_every_try_and_the_waits_between() -> None:
    backend = Scripted([failing("transient", elapsed_s=3.0)] * 9)
    answer = answered(backend, segment_deadline_s=10.0, max_attempts=9)
    assert answer.failure is not None
    assert "10 s" in answer.failure.message
    assert len(backend.calls) == 4
    assert backend.budgets_s == pytest.approx([10.0, 7.0, 4.0, 1.0], abs=0.1)


def test_replicas_that_restart_cost_a_segment_none_of_its_time() -> None:
    backend = Scripted([failing("displaced"), failing("death"), failing("displaced")])
    assert answered(backend, segment_deadline_s=1.0) == ANSWER
    assert set(backend.budgets_s) == {1.0}


def test_a_record_that_is_no_segment_is_never_tried() -> None:
    backend = Scripted([])
    answer = answered(backend, Record("segments", 0, 7, None, b"no json", ()))
    assert backend.calls == []
    assert dlq(answer)["dlq-stage"] == "parse"


def test_a_bug_in_the_backend_is_a_dead_letter_with_its_traceback() -> None:
    class Broken(Scripted):
        async def together(self, work: Work) -> Answer | Failure:
            raise KeyError(work.source.offset)

    answer = answered(Broken([]))
    assert dlq(answer)["dlq-error"] == "KeyError"
    assert "Traceback" in dlq(answer)["dlq-message"]


def test_suspects_are_tried_one_by_one() -> None:
    class Crowd(Scripted):
        num_alone = 0

        async def together(self, _: Work) -> Answer | Failure:
            return failing("death")

        async def alone(self, _: Work) -> Answer | Failure:
            self.num_alone += 1
            assert self.num_alone == 1
            await asyncio.sleep(0.001)
            self.num_alone -= 1
            return ANSWER

    async def all_at_once() -> list[Answer]:
        attempts = Attempts(FlowConfig(retry_backoff_s=0.001), Crowd([]))
        return await asyncio.gather(*(attempts.answer(record(f"cam/{n}")) for n in range(10)))

    assert asyncio.run(all_at_once()) == [ANSWER] * 10


def test_suspects_of_another_partition_do_not_wait_for_a_deadly_one() -> None:
    class Deadly(Scripted):
        async def together(self, _: Work) -> Answer | Failure:
            return failing("death")

        async def alone(self, work: Work) -> Answer | Failure:
            self.calls.append(f"{work.source.partition}")
            return replace(failing("death"), replica_died=True) if work.source.partition == 0 else ANSWER

    backend = Deadly([])

    async def both() -> None:
        # The deadly one's next turn comes when the test is long over.
        attempts = Attempts(FlowConfig(retry_backoff_s=0.001, replica_restart_s=600.0), backend)
        deadly = [asyncio.ensure_future(attempts.answer(record(f"cam/{n}"))) for n in range(3)]
        while not backend.calls:
            await asyncio.sleep(0.001)
        others = [attempts.answer(replace(record(f"cam/{n}"), partition=1)) for n in range(5)]
        assert await asyncio.wait_for(asyncio.gather(*others), 30) == [ANSWER] * 5
        for one in deadly:
            one.cancel()

    asyncio.run(both())
    assert backend.calls == ["0", *["1"] * 5]


def test_nobody_waits_for_a_replica_that_has_not_died() -> None:
    backend = Scripted([failing("death")] * 3)
    answer = answered(backend, max_deaths=2, replica_restart_s=600.0)
    assert dlq(answer)["dlq-attempts"] == "3"


def run(coroutine: Callable[[Gate], Coroutine[Any, Any, None]], size: int) -> None:
    asyncio.run(coroutine(Gate(size)))


def test_a_gate_lets_in_as_many_as_there_are_places_and_who_gives_up_waiting_leaves_it_as_it_was() -> None:
    inside: list[str] = []
    seen: list[int] = []

    async def visit(gate: Gate, name: str) -> None:
        async with gate.place(name):
            inside.append(name)
            seen.append(len(inside))
            await asyncio.sleep(0.001)
            inside.remove(name)

    async def all_visit(gate: Gate) -> None:
        visits = [asyncio.ensure_future(visit(gate, name)) for name in "abcdefgh"]
        await asyncio.sleep(0)
        for waiting in visits[3:5]:
            waiting.cancel()
        await asyncio.wait(visits)
        async with asyncio.timeout(1), gate.place("x"), gate.place("y"):
            pass

    run(all_visit, 2)
    assert max(seen) == 2
    assert len(seen) == 6


def test_a_group_whose_work_never_ends_leaves_places_to_the_others() -> None:
    async def hold(gate: Gate) -> None:
        async with gate.place("stuck"):
            await asyncio.Event().wait()

    async def pass_by(gate: Gate) -> None:
        holding = [asyncio.ensure_future(hold(gate)) for _ in range(9)]
        await asyncio.sleep(0)  # each goes in, or waits at the gate
        async with asyncio.timeout(5):
            for group in ("a", "b", "a"):
                async with gate.place(group):
                    pass
        for one in holding:
            one.cancel()
        await asyncio.wait(holding)
        async with asyncio.timeout(5), gate.place("stuck"):
            pass

    run(pass_by, 2)
    run(pass_by, 5)
