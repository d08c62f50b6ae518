"""What a segment costs in counts that repeat: a guard against overhead that creeps in.

    python -m tests.bench.guard            # counts, and holds them against the committed baseline
    python -m tests.bench.guard --write    # writes the baseline anew, tests/bench/guard.json

Seconds depend on the machine, and in CI on its neighbours. Counted are instead
- of delivery: a session works off a backlog on the embedded broker, exactly once, its records answered by the worker's
  own rules of trying: the Python instructions of our packages, a segment, from poll to commit;
- of preparation: a drawn face and voice through parse, decode, extract, align and infer: the same, with the calls of
  native functions, and the most memory in use beyond what was there before.

Instructions inside native code are not counted: `tests.bench.pipeline` measures those.
"""

import argparse
import asyncio
import json
import sys
import tempfile
import tracemalloc
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from types import CodeType, FrameType
from typing import Any

from pipelines.events import AffectEvent
from tests.bench.one_session import EXAMPLE
from tests.segments import by_reference
from tests.topics import Topics
from workers.attempts import Attempts
from workers.clips import SCRIPTS, draw_clips
from workers.config import FlowConfig, KafkaConfig, Settings
from workers.embedded import API_VERSION, EmbeddedBroker
from workers.messages import Answer, Failure, Record, Work, event_answer
from workers.session import Session

REPO = Path(__file__).parent.parent.parent
BASELINE = Path(__file__).parent / "guard.json"
OURS = tuple(str(REPO / room) for room in ("workers", "pipelines", "hctdmg"))
TOLERANCE = 0.1
"""Three counts in a row differ by less than 5 %, so that this lets noise pass and stops what costs 20 % more."""
NUM_SEGMENTS = 400
NUM_PARTITIONS = 2
TRANSCRIPT = "I love this place and would come back any day"
Counts = dict[str, float]


def main() -> int:
    """Count, compare or write."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--write", action="store_true")
    counts = {"delivery": deliver(), "preparation": prepare()}
    if parser.parse_args().write:
        baselines = json.loads(BASELINE.read_text()) if BASELINE.exists() else {}
        BASELINE.write_text(json.dumps(baselines | {python(): counts}, indent=1) + "\n")
        return 0
    found = [worse for path, found in counts.items() for worse in compare(found, baseline()[path], path)]
    print(json.dumps(counts, indent=1), *found, sep="\n")
    return 1 if found else 0


def python() -> str:
    """The version whose instructions are counted: others have others."""
    return f"{sys.version_info.major}.{sys.version_info.minor}"


def baseline() -> dict[str, Counts]:
    """The committed counts of this version of Python; KeyError without."""
    counts: dict[str, Counts] = json.loads(BASELINE.read_text())[python()]
    return counts


def compare(counts: Counts, before: Counts, path: str) -> list[str]:
    """What has become worse by more than the tolerance."""
    return [
        f"{path}: {counts[name]:.0f} {name}, baseline {value:.0f}, limit {value * (1 + TOLERANCE):.0f}: make it "
        "cheaper, or say why it must be so and run python -m tests.bench.guard --write"
        for name, value in before.items()
        if counts[name] > value * (1 + TOLERANCE)
    ]


def deliver(also: Callable[[], None] = lambda: None, counted: Sequence[str] = OURS) -> Counts:
    """Counts of a session, a segment; `also` is done with each record."""
    with EmbeddedBroker(dict.fromkeys(("segments", "events", "dead"), NUM_PARTITIONS)) as broker:
        config = KafkaConfig(
            bootstrap_servers=broker.bootstrap_servers,
            api_version=API_VERSION,
            input_topic="segments",
            output_topic="events",
            dead_letter_topic="dead",
            commit_interval_s=0.001,
        )
        topics = Topics(config, NUM_PARTITIONS)
        numbers = range(NUM_SEGMENTS)
        topics.send([by_reference(one % NUM_PARTITIONS, f"s/{one}", "file:///a.mp4") for one in numbers])
        with answering_at_once(also) as submit:
            session = Session(Settings(kafka=config), "guard-0", submit)
            busy = Busy(session, Counter(counted))
            with busy.counter:
                session.run(busy.is_over)
            session.leave()
        assert session.progress.num_dead_letters == 0
    return {
        "instructions": busy.num_instructions / NUM_SEGMENTS,
        "calls in the client": busy.num_client_calls / NUM_SEGMENTS,
    }


class Busy:
    """Counts the turns of a session in which records were taken in or answers published; it waits in the others."""

    def __init__(self, session: Session, counter: "Counter") -> None:
        self.counter = counter
        self.num_instructions = 0
        self.num_client_calls = 0
        self._session = session
        self._before = (0, 0)
        self._counted = (0, 0)

    def is_over(self) -> bool:
        """Look at the turn that has just ended."""
        progress, counter = self._session.progress, self.counter
        now = (progress.num_events, progress.num_in_flight)
        counted = (counter.num_instructions, counter.num_client_calls)
        if now != self._before:
            self.num_instructions += counted[0] - self._counted[0]
            self.num_client_calls += counted[1] - self._counted[1]
        self._before, self._counted = now, counted
        return progress.num_events >= NUM_SEGMENTS


@contextmanager
def answering_at_once(also: Callable[[], None]) -> Iterator[Callable[[Record], "Future[Answer]"]]:
    """Answers records on the session's own thread, so that nothing depends on which thread is faster."""
    loop, attempts = asyncio.new_event_loop(), Attempts(FlowConfig(), AtOnce())

    def submit(record: Record) -> "Future[Answer]":
        future: Future[Answer] = Future()
        future.set_result(loop.run_until_complete(attempts.answer(record)))
        also()
        return future

    yield submit
    loop.close()


class AtOnce:
    """A `workers.attempts.Backend` that finds the same in every segment."""

    def __init__(self) -> None:
        self._event = AffectEvent.model_validate_json(EXAMPLE.read_text())

    async def together(self, work: Work) -> Answer | Failure:
        """The event as its message."""
        return event_answer(self._event, datetime.now(UTC), work.traceparent)

    async def alone(self, work: Work) -> Answer | Failure:
        """The same."""
        return await self.together(work)


def prepare() -> Counts:
    """Counts of a segment's way through the pipeline and the model."""
    from hctdmg.checkpoint import load_checkpoint
    from hctdmg.predictor import Predictor
    from pipelines.deadline import Deadline
    from pipelines.media import MediaConfig
    from pipelines.prepare import Preparer
    from pipelines.segment import IncomingSegment, Segment

    checkpoint = load_checkpoint("hct-dmg-starter")
    preparer, predictor = Preparer(checkpoint.manifest.features, MediaConfig()), Predictor(checkpoint)
    segment = Segment(stream_id="s", segment_id="s/0", transcript=TRANSCRIPT)
    incoming = IncomingSegment(segment, drawn())

    def once() -> None:
        predictor.predict([preparer.prepare(incoming, Deadline.after(600)).features])

    once()  # what is made at first use
    counter = Counter(OURS)
    with counter:
        once()
    tracemalloc.start()
    once()
    peak_bytes = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    return {
        "instructions": counter.num_instructions,
        "native calls": counter.num_native_calls,
        "bytes at most": peak_bytes,
    }


def drawn() -> bytes:
    """Ten seconds of a face that speaks."""
    with tempfile.TemporaryDirectory() as folder:
        (clip,) = draw_clips(Path(folder), SCRIPTS[:1])
        return clip.path.read_bytes()


class Counter:
    """Counts what this thread does in our packages while the block lasts.

    Args:
        counted: Folders, or files, whose code counts.
    """

    def __init__(self, counted: Sequence[str]) -> None:
        self._counted = tuple(counted)
        self._is_counted: dict[CodeType, bool] = {}
        self.num_instructions = 0
        self.num_native_calls = 0
        self.num_client_calls = 0

    def __enter__(self) -> None:
        """Begin."""
        sys.setprofile(self._profile)
        sys.settrace(self._enter)

    def __exit__(self, *_: object) -> None:
        """End."""
        sys.settrace(None)
        sys.setprofile(None)

    def _counts(self, frame: FrameType) -> bool:
        code = frame.f_code
        if code not in self._is_counted:
            self._is_counted[code] = code.co_filename.startswith(self._counted)
        return self._is_counted[code]

    def _enter(self, frame: FrameType, event: str, argument: Any) -> Any:  # noqa: ARG002 - as Python calls it
        if not self._counts(frame):
            self.num_client_calls += frame.f_globals.get("__name__", "").startswith("kafka.")
            return None
        frame.f_trace_opcodes, frame.f_trace_lines = True, False
        return self._step

    def _step(self, frame: FrameType, event: str, argument: Any) -> Any:  # noqa: ARG002 - as Python calls it
        self.num_instructions += event == "opcode"
        return self._step

    def _profile(self, frame: FrameType, event: str, argument: Any) -> None:  # noqa: ARG002 - as Python calls it
        if event == "c_call" and self._counts(frame):
            self.num_native_calls += 1


if __name__ == "__main__":
    sys.exit(main())
