"""The protocol under any interleaving of its steps, on a model of the broker.

The worker's real session, windows, publisher and tries run on `tests.broker_model`, one call to the broker at
a time (`tests.stepped`). Hypothesis chooses who makes the next step, who crashes before it, who stands still
and wakes as a zombie, which answers come in which order and which tries fail, when partitions move, when
members are thrown out, when transactions time out, and which commits get no answer.
"""

import logging
from collections import Counter
from contextlib import ExitStack
from datetime import UTC, datetime

from hypothesis import Phase
from hypothesis import settings as run_settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from tests.broker_model import Broker, Place
from tests.model_clients import VALUES
from tests.stepped import Held, Process, World
from workers.attempts import Tries
from workers.config import FlowConfig, KafkaConfig, Settings
from workers.messages import Answer, Failure, FailureKind, dead_letter

NUM_PARTITIONS = 3
SLOTS = [f"worker-{number}" for number in range(3)]
EVENTS, LETTERS = "events", "letters"
REASONS = {
    "NoneType",  # it left in order, or lives
    "Crash",
    "FencedInstanceIdError",
    "ProducerFencedError",
    "UnknownOutcomeError",
    "KafkaTimeoutError",
}
"""Why a process may have ended."""
KINDS: list[FailureKind] = ["segment", "transient", "unexpected", "displaced", "death"]
TROUBLES = [
    "crash",
    "drain",
    "answer lost",
    "not done",
    "rebalance",
    "rebalance waits no longer",
    "session times out",
    "transaction times out",
    "heartbeat",
]
MAX_RECORDS = 20
MAX_PROCESSES = 4
MAX_ROUNDS = 300
MAX_ROUNDS_PER_RECORD = 20
"""Rounds in which a world without further trouble must have answered everything. One record alone takes 8 calls."""


def is_poison(place: Place) -> bool:
    """Whether a record deserves a dead letter."""
    return place[1] % 7 == 6


class Protocol(RuleBasedStateMachine):
    """Exactly once: what a read_committed reader sees is each record's answer, once, in order."""

    delivery = "exactly_once"

    @initialize(max_records=st.integers(1, 12), max_bytes=st.integers(1, 4_000_000))
    def begin(self, max_records: int, max_bytes: int) -> None:
        self.world = World(Broker(NUM_PARTITIONS))
        self.broker = self.world.broker
        self.flow = FlowConfig(
            max_in_flight_segments=max_records,
            max_in_flight_bytes=max_bytes,
            drain_timeout_s=0.3,
            max_attempts=2,
            max_dead_letter_run=10**6,
            max_dead_letter_share=1.0,
        )
        names = {"input_topic": "segments", "output_topic": EVENTS, "dead_letter_topic": LETTERS}
        kafka = KafkaConfig.model_validate({**names, "delivery": self.delivery, "commit_interval_s": 0.05})
        self.settings = Settings(kafka=kafka, flow=self.flow)
        self.tries: dict[Held, Tries] = {}
        self.failed: dict[Held, Counter[FailureKind]] = {}
        self.given_up: set[Place] = set()
        self.before = [0] * NUM_PARTITIONS
        self.stack = ExitStack()
        self.stack.enter_context(self.world.in_place_of_kafka())
        self.stack.callback(logging.disable, logging.root.manager.disable)
        logging.disable(logging.CRITICAL)
        for slot in SLOTS[:2]:
            self.start(slot)
        for partition in range(NUM_PARTITIONS):
            self.segments_come(partition, 4)

    # --- what happens

    @rule(partition=st.integers(0, NUM_PARTITIONS - 1), number=st.integers(1, 6))
    def segments_come(self, partition: int, number: int) -> None:
        for _ in range(number if len(self.broker.inputs[partition]) < MAX_RECORDS else 0):
            self.broker.append(partition)

    @rule(slot=st.sampled_from(SLOTS))
    def start(self, slot: str) -> None:
        """Beside a living process of the same name: that one is a zombie from now on."""
        if len(self.alive()) < MAX_PROCESSES:
            self.broker.num_incidents += slot in {process.identity for process in self.alive()}
            self.world.start(self.settings, slot)

    @rule(rounds=st.integers(1, 25), is_answered=st.booleans())
    def all_go_on(self, rounds: int, is_answered: bool) -> None:
        for _ in range(rounds):
            for process in self.alive():
                process.step()
            for held in self.in_work() if is_answered else ():
                self.succeed(held)

    @precondition(lambda self: self.alive())
    @rule(data=st.data(), number=st.integers(1, 25))
    def one_goes_on(self, data: st.DataObject, number: int) -> None:
        process = data.draw(st.sampled_from(self.alive()))
        for _ in range(number):
            if process.is_alive:
                process.step()

    @precondition(lambda self: self.alive())
    @rule(data=st.data(), rounds=st.integers(10, 40), number=st.integers(1, 10), is_last=st.booleans())
    def one_sleeps_too_long(self, data: st.DataObject, rounds: int, number: int, is_last: bool) -> None:
        """SIGSTOP, until its session has timed out and others have gone on with its partitions; then SIGCONT.

        As the last one, it wakes in a drain, and hears that it is no member of a group that has no others either.
        """
        sleeper = data.draw(st.sampled_from(self.alive()))
        self.broker.num_incidents += 1
        self.broker.remove(sleeper.identity)
        for _ in range(rounds):
            for process in self.alive():
                if process is not sleeper:
                    process.step()
            for held in self.in_work():
                self.succeed(held)
        if is_last:
            for process in self.alive():
                if process is not sleeper:
                    process.crash()
            for name in list(self.broker.group.members):
                self.broker.remove(name)
            for name in self.broker.open_transactions:
                self.broker.time_out(name)
            sleeper.hear()
            sleeper.is_stopping = True
        for _ in range(number):
            if sleeper.is_alive:
                sleeper.step()

    @precondition(lambda self: self.alive())
    @rule(data=st.data(), shift=st.integers(0, 2), rounds=st.integers(1, 12))
    def one_is_killed_in_a_rebalance(self, data: st.DataObject, shift: int, rounds: int) -> None:
        """And started again, under its name."""
        self.broker.num_incidents += 1
        self.broker.group.shift = shift
        self.broker.begin_rebalance()
        self.all_go_on(rounds, is_answered=False)
        if self.alive():
            killed = data.draw(st.sampled_from(self.alive()))
            killed.crash()
            self.start(killed.identity)

    @precondition(lambda self: self.in_work())
    @rule(data=st.data(), number=st.integers(1, 5))
    def answer(self, data: st.DataObject, number: int) -> None:
        for _ in range(min(number, len(self.in_work()))):
            self.succeed(data.draw(st.sampled_from(self.in_work())))

    @precondition(lambda self: self.in_work())
    @rule(data=st.data(), kinds=st.lists(st.sampled_from(KINDS), min_size=1, max_size=5))
    def tries_fail(self, data: st.DataObject, kinds: list[FailureKind]) -> None:
        held = data.draw(st.sampled_from(self.in_work()))
        for kind in kinds:
            if not held.done():
                self.fail(held, kind)

    @rule(data=st.data(), trouble=st.sampled_from(TROUBLES))
    def trouble_comes(self, data: st.DataObject, trouble: str) -> None:
        """One rule for all of it: most steps must be work, or nothing would ever be in flight."""
        broker, alive = self.broker, self.alive()
        match trouble:
            case "crash" if alive:
                broker.num_incidents += 1
                data.draw(st.sampled_from(alive)).crash()
            case "drain" if alive:
                data.draw(st.sampled_from(alive)).is_stopping = True
            case "answer lost" | "not done" if alive:
                data.draw(st.sampled_from(alive)).trouble = trouble
                self.all_go_on(20, is_answered=True)
            case "rebalance":
                broker.group.shift = data.draw(st.integers(0, 2))
                broker.begin_rebalance()
            case "rebalance waits no longer":
                broker.num_incidents += 1
                broker.complete_rebalance(throw_out=True)
            case "heartbeat":
                for process in alive:
                    process.hear()
            case "session times out" if broker.group.members:
                broker.num_incidents += 1
                broker.remove(data.draw(st.sampled_from(sorted(broker.group.members))))
            case "transaction times out" if broker.open_transactions:
                broker.time_out(data.draw(st.sampled_from(broker.open_transactions)))

    # --- what must hold

    @invariant()
    def nothing_is_lost_doubled_or_reordered(self) -> None:
        for partition, offsets in enumerate(self.published_offsets()):
            committed = self.broker.committed[partition]
            assert offsets == [one for one in self.broker.inputs[partition] if one < committed]

    @invariant()
    def committed_offsets_never_go_back(self) -> None:
        committed = list(self.broker.committed)
        assert all(now >= before for now, before in zip(committed, self.before, strict=True))
        self.before = committed

    @invariant()
    def dead_letters_are_those_that_deserve_it(self) -> None:
        for topic, place in self.broker.published:
            assert topic == EVENTS or is_poison(place) or place in self.given_up
            assert topic == LETTERS or not is_poison(place)

    @invariant()
    def limits_hold(self) -> None:
        for process in self.alive():
            if process.session is not None:
                windows = process.session._windows
                assert windows.num_records <= self.flow.max_in_flight_segments
                assert windows.num_bytes < self.flow.max_in_flight_bytes + max(map(len, VALUES))

    @invariant()
    def who_ended_had_a_reason(self) -> None:
        """A broken invariant, a wrong argument or a failed assertion is none."""
        for process in self.world.processes:
            name = type(process.error).__name__
            assert name in REASONS, f"{name}: {process.error}"

    def teardown(self) -> None:
        """The trouble ends: then everything is answered, by the processes that are left and one more."""
        try:
            self.settle()
            self.nothing_is_lost_doubled_or_reordered()
            self.who_ended_had_a_reason()
        finally:
            for process in self.alive():
                process.crash()
            self.stack.close()

    def settle(self) -> None:
        for process in self.alive():
            process.trouble = ""
        for _ in range(MAX_ROUNDS + MAX_ROUNDS_PER_RECORD * sum(map(len, self.broker.inputs))):
            if self.is_all_committed():
                return
            if not self.alive():
                self.world.start(self.settings, SLOTS[0])
            names = {process.identity for process in self.alive()}
            for gone in set(self.broker.group.members) - names:
                self.broker.remove(gone)
            for gone in set(self.broker.open_transactions) - names:
                self.broker.time_out(gone)
            self.all_go_on(1, is_answered=True)
        raise AssertionError(f"stuck: {self.broker.committed} of {self.broker.inputs}, {self.broker.group}")

    def is_all_committed(self) -> bool:
        return all(
            not log or committed > log[-1]
            for log, committed in zip(self.broker.inputs, self.broker.committed, strict=True)
        )

    # --- helpers

    def alive(self) -> list[Process]:
        return [process for process in self.world.processes if process.is_alive]

    def in_work(self) -> list[Held]:
        """What the extractors of all processes have; who was given back is not answered any more."""
        return [held for process in self.alive() for held in process.in_work if not held.done()]

    def fail(self, held: Held, kind: FailureKind) -> None:
        tries = self.tries.setdefault(held, Tries(self.flow))
        failure = Failure("fetch", "Error", "it fails", kind)
        failed = self.failed.setdefault(held, Counter())
        failed[kind] += 1
        if tries.wait_after(failure) is None:
            self.given_up.add(place_of(held))
            self.close(held, failure)
            return
        assert not failed["segment"]
        assert failed["transient"] < self.flow.max_attempts
        assert failed["unexpected"] < 2
        assert failed["death"] <= self.flow.max_deaths

    def succeed(self, held: Held) -> None:
        poison = Failure("decode", "SegmentError", "no video", "segment")
        self.close(held, poison if is_poison(place_of(held)) else None)

    def close(self, held: Held, failure: Failure | None) -> None:
        letter = dead_letter(
            held.record, failure or Failure("parse", "", "", "segment"), 1, datetime.now(UTC)
        )
        held.set_result(Answer(letter.key, letter.value, letter.headers, failure))
        held.process.in_work.remove(held)

    def published_offsets(self) -> list[list[int]]:
        return [
            [offset for _, (of, offset) in self.broker.published if of == partition]
            for partition in range(NUM_PARTITIONS)
        ]


def place_of(held: Held) -> Place:
    return held.record.partition, held.record.offset


class AtLeastOnce(Protocol):
    """At least once: nothing lost, first answers in order, a second answer only after trouble."""

    delivery = "at_least_once"

    @invariant()
    def nothing_is_lost_doubled_or_reordered(self) -> None:
        for partition, offsets in enumerate(self.published_offsets()):
            firsts = list(dict.fromkeys(offsets))
            assert firsts == self.broker.inputs[partition][: len(firsts)]
            assert set(firsts) >= {
                o for o in self.broker.inputs[partition] if o < self.broker.committed[partition]
            }
            assert self.broker.num_incidents or firsts == offsets

    @invariant()
    def committed_offsets_never_go_back(self) -> None:
        """They may: a commit that comes late, of a member that is still one, is taken."""


TestExactlyOnce = Protocol.TestCase
TestExactlyOnce.settings = run_settings(
    max_examples=100,
    stateful_step_count=60,
    deadline=None,
    phases=[
        Phase.explicit,
        Phase.reuse,
        Phase.generate,
        Phase.shrink,
    ],  # to explain takes minutes, and tells little
)
TestAtLeastOnce = AtLeastOnce.TestCase
TestAtLeastOnce.settings = TestExactlyOnce.settings
