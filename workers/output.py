"""What the command line writes: tables for people, JSON lines for programs, one line for an error.

Knows streams and exit codes. Does not know any command.
"""

import json
import os
import sys
import traceback
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import typer

from pipelines.errors import ConfigError, HctDmgError, SegmentError

EXIT_FAILURE = 1
EXIT_USER = 2
EXIT_HALTED = 3
"""`hctdmg run`: dead letters past a cap have halted it."""
EXTRAS = {"h5py": "train", "jinja2": "train", "scipy": "train", "sklearn": "train"}
"""Packages that commands import, by the extra that holds them; others say it themselves."""
EXIT_INTERRUPTED = 130
"""128 + SIGINT, as shells report it."""


def print_json(value: Mapping[str, Any]) -> None:
    """Write one machine-readable line to stdout, at once."""
    sys.stdout.write(json.dumps(value, ensure_ascii=False, allow_nan=False) + "\n")
    sys.stdout.flush()


def print_line(text: str) -> None:
    """Write one line for people to stdout."""
    sys.stdout.write(text + "\n")
    sys.stdout.flush()


def note(text: str) -> None:
    """Write one line to stderr: something to know that is no error."""
    sys.stderr.write(" ".join(text.split()) + "\n")
    sys.stderr.flush()


@contextmanager
def working(text: str, announce: bool = False) -> Iterator[Callable[[str], None]]:
    """Turn a wheel on stderr while the body runs.

    Args:
        text: Beside the wheel.
        announce: Where stderr is no terminal, write the text as a line; otherwise nothing is written there.

    Yields:
        A function that changes the text beside the wheel.
    """
    from rich.console import Console  # late: `--help` does not need it

    console = Console(stderr=True)
    if console.is_terminal:
        with console.status(text) as status:
            yield status.update
        return
    if announce:
        note(text)
    yield lambda _: None


def debugging() -> bool:
    """Whether the user asked for tracebacks (--debug or HCTDMG_DEBUG=1)."""
    return os.environ.get("HCTDMG_DEBUG", "") not in ("", "0")


def report(error: BaseException) -> int:
    """Write an error as one line to stderr, after its traceback when debugging.

    Returns:
        The exit status: 2 for the user's mistake, 1 for a failure.
    """
    if debugging():
        traceback.print_exception(error)
    status, message = _explain(error)
    note(f"error: {message}")
    return status


def _explain(error: BaseException) -> tuple[int, str]:
    from hctdmg.data.errors import DataError  # late: only a failing command needs them
    from hctdmg.manifest import CheckpointError
    from hctdmg.training.errors import RecipeError, TrainingError

    if isinstance(error, typer.TyperException):
        return error.exit_code, f"{error.format_message()} (see --help)"
    if isinstance(error, ConfigError | SegmentError | CheckpointError | DataError | RecipeError):
        return EXIT_USER, str(error)
    if isinstance(error, HctDmgError | TrainingError):
        return EXIT_FAILURE, str(error)
    if isinstance(error, ModuleNotFoundError) and (extra := EXTRAS.get((error.name or "").split(".")[0])):
        return EXIT_USER, f"this needs {error.name}: pip install 'hctdmg[{extra}]'"
    hint = "" if debugging() else "; run it again with HCTDMG_DEBUG=1 for the traceback"
    return EXIT_FAILURE, f"{type(error).__name__}: {error}{hint}"
