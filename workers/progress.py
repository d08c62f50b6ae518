"""What a session is doing, as whoever asks is told. Knows nothing else."""

from dataclasses import dataclass

from workers.pace import Video


@dataclass(frozen=True)
class Progress:
    """What a session is doing.

    Attributes:
        is_member: Whether it has joined the group; it may have no partition.
        partitions: The partitions that it owns.
        num_in_flight: Records polled and not yet committed.
        num_bytes_in_flight: Their bytes.
        num_events: Events published so far.
        num_dead_letters: Dead letters published so far.
        halted_by: The cap on dead letters that halted it, one line; None while it consumes.
        video: How much of it there is to do, and was done.
    """

    is_member: bool
    partitions: tuple[int, ...]
    num_in_flight: int
    num_bytes_in_flight: int
    num_events: int
    num_dead_letters: int
    halted_by: str | None = None
    video: Video = Video()  # noqa: RUF009 - frozen
