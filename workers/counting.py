"""How far a long piece of work is: a bar where stderr is a terminal, a line now and then where it is not.

Knows numbers. Does not know the work.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager

from workers.output import note

NUM_LINES = 10
"""Where there is no terminal: a line for each tenth of the work."""


@contextmanager
def counting(text: str, total: int) -> Iterator[Callable[[], None]]:
    """Show progress while the body runs.

    Args:
        text: What is counted.
        total: How many there will be.

    Yields:
        A function to call once for each that is done.
    """
    from rich.console import Console  # late: `--help` does not need it
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    console = Console(stderr=True)
    if console.is_terminal:
        columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
        with Progress(*columns, console=console, transient=True) as progress:
            task = progress.add_task(text, total=total)
            yield lambda: progress.advance(task)
        return
    num_done = 0

    def count() -> None:
        nonlocal num_done
        num_done += 1
        if num_done * NUM_LINES // total > (num_done - 1) * NUM_LINES // total:
            note(f"{text}: {num_done} of {total}")

    yield count
