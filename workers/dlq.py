"""The commands `hctdmg dlq list` and `hctdmg dlq replay`: dead letters shown, and put back.

Knows what is written for people and programs, one dead letter at a time, however many there are. Does not know
how they are read or sent.
"""

from collections import Counter
from collections.abc import Iterator

from rich.console import Console

from workers.config import KafkaConfig
from workers.dead_letter_topic import DeadLetterTopic
from workers.dead_letters import DeadLetter, Wanted, place_text
from workers.output import note, print_json, print_line
from workers.resend import Resender
from workers.rfc3339 import time_text

WIDE = 1000
"""Columns of a line that no terminal cuts off, as in a pipe."""


def list_dead_letters(kafka: KafkaConfig, wanted: Wanted, as_json: bool) -> int:
    """Run `hctdmg dlq list`.

    Returns:
        The exit status.

    Raises:
        ConfigError: The broker can't be reached or lacks the topic.
        DeadLetterTopicError: It can't be read to its end.
    """
    topic = DeadLetterTopic(kafka)
    write = Writer(as_json)
    statuses: Counter[str] = Counter()
    num_letters = 0
    for letter in topic.letters():
        num_letters += 1
        if not wanted.includes(letter):
            continue
        obstacle = letter.obstacle(kafka.input_topic)
        status = "replayed" if topic.is_replayed(letter) else "unreplayable" if obstacle else "waiting"
        statuses[status] += 1
        write(letter, status, obstacle if status == "unreplayable" else None)
    note(
        f"{statuses.total()} of {num_letters} dead letters in {kafka.dead_letter_topic} match: "
        f"{statuses['waiting']} waiting, {statuses['replayed']} replayed, "
        f"{statuses['unreplayable']} that can't be replayed"
    )
    return 0


def replay_dead_letters(kafka: KafkaConfig, wanted: Wanted, is_real: bool, as_json: bool) -> int:
    """Run `hctdmg dlq replay`.

    Args:
        kafka: The settings.
        wanted: Which dead letters.
        is_real: False only shows what would be done, and disturbs nobody.
        as_json: One JSON line for each instead of a table.

    Returns:
        The exit status.

    Raises:
        ConfigError: The broker can't be reached or lacks a topic.
        DeadLetterTopicError: The dead-letter topic can't be read to its end.
        ResendError: The replay can't go on.
    """
    write = Writer(as_json)
    statuses: Counter[str] = Counter()
    letters = _replayable(kafka, wanted, statuses, write)
    if is_real:
        # Opened before the first letter is read: it ends any other replay, and only then the markers count.
        with Resender(kafka) as resender:
            _resend(resender, letters, statuses, write)
        return 0
    for letter in letters:
        statuses["waiting"] += 1
        write(letter, "waiting", None)
    note(f"{statuses['waiting']} dead letters would be replayed, with --yes; {_rest(statuses)}")
    return 0


def _resend(
    resender: Resender, letters: Iterator[DeadLetter], statuses: Counter[str], write: "Writer"
) -> None:
    """Replay, and say how many were, also when it breaks off."""
    try:
        for letter in resender.resend(letters):
            statuses["replayed"] += 1
            write(letter, "replayed", None)
    finally:
        note(f"{statuses['replayed']} dead letters replayed; {_rest(statuses)}")


def _rest(statuses: Counter[str]) -> str:
    return f"{statuses['before']} were replayed before, {statuses['unreplayable']} can't be"


def _replayable(
    kafka: KafkaConfig, wanted: Wanted, statuses: Counter[str], write: "Writer"
) -> Iterator[DeadLetter]:
    """What is wanted and can be replayed; of the rest it is said why not."""
    topic = DeadLetterTopic(kafka)
    for letter in topic.letters():
        if not wanted.includes(letter):
            continue
        if topic.is_replayed(letter):
            statuses["before"] += 1
        elif (obstacle := letter.obstacle(kafka.input_topic)) is not None:
            statuses["unreplayable"] += 1
            write(letter, "unreplayable", obstacle)
        else:
            yield letter


class Writer:
    """Writes one line for each dead letter: JSON, or a row of a table with columns of fixed width.

    Args:
        as_json: JSON lines.
    """

    def __init__(self, as_json: bool) -> None:
        self._as_json = as_json
        console = Console()
        self._columns = console.width if console.is_terminal else WIDE
        self._has_head = as_json

    def __call__(self, letter: DeadLetter, status: str, obstacle: str | None) -> None:
        """Write one.

        Args:
            letter: The dead letter.
            status: "waiting", "replayed", or "unreplayable" when it can't be replayed.
            obstacle: Why it can't.
        """
        if self._as_json:
            print_json(_json_line(letter, status, obstacle))
            return
        if not self._has_head:
            self._row("AT", "TIME", "STREAM", "SEGMENT", "STAGE", "ERROR", "STATUS", "MESSAGE")
            self._has_head = True
        message = obstacle or _last_line(letter.message)
        again = "" if letter.replay_of is None else f"(replay of {letter.replay_of}) "
        self._row(
            f"{letter.place.partition}/{letter.place.offset}",
            time_text(letter.time)[:19] + "Z",
            letter.stream_id or "-",
            letter.segment_id or "-",
            letter.stage,
            letter.error,
            status,
            again + message,
        )

    def _row(self, *cells: str) -> None:
        at, time, stream, segment, stage, error, status, message = map(_printable, cells)
        ids = f"{at:>8} {time:20} {stream:16} {segment:20}"
        print_line(f"{ids} {stage:7} {error:16} {status:12} {message}"[: self._columns].rstrip())


def _json_line(letter: DeadLetter, status: str, obstacle: str | None) -> dict[str, object]:
    return {
        "dead_letter": place_text(letter.place),
        "time": time_text(letter.time),
        "stream_id": letter.stream_id,
        "segment_id": letter.segment_id,
        "stage": letter.stage,
        "error": letter.error,
        "message": letter.message,
        "attempts": letter.num_attempts,
        "source": place_text(letter.source),
        "value_bytes": letter.dropped_bytes or len(letter.value or b""),
        "replay_of": letter.replay_of,
        "status": status,
        "obstacle": obstacle,
    }


def _last_line(text: str) -> str:
    return (text.strip().splitlines() or [""])[-1]


def _printable(text: str) -> str:
    """Without what could move the cursor: some of it comes from producers."""
    return "".join(letter if letter.isprintable() else "?" for letter in text)
