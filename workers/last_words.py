"""Where a process was when it crashed or was cut off, read from what `faulthandler` wrote.

Knows faulthandler's lines. Does not know processes.
"""

import os
import re
from dataclasses import dataclass
from typing import get_args

from pipelines.errors import Stage

FRAME = re.compile(r'File "(?P<file>[^"]+)", line (?P<line>\d+) in (?P<name>\S+)')
ENDS = (b"in main", b"in <module>", b"...")
"""How the last line ends: at the outermost frame, or where faulthandler has told a hundred."""


@dataclass(frozen=True)
class Place:
    """A place in the code.

    Attributes:
        stage: What was being done.
        where: The innermost line, in words.
    """

    stage: Stage
    where: str


def is_whole(words: bytes) -> bool:
    """Whether faulthandler has nothing more to say."""
    return words.rstrip().endswith(ENDS)


def read_place(words: bytes) -> Place:
    """The outermost function that is named after a stage, for a stage may use another one's; and the innermost line."""
    frames = [match.groupdict() for match in FRAME.finditer(words.decode(errors="replace"))]
    if not frames:
        return Place("extract", "where nobody knows")
    outermost: Stage = "extract"
    for frame in frames:
        if frame["name"] in get_args(Stage):
            outermost = frame["name"]  # type: ignore[assignment]
    innermost = frames[0]
    where = f"in {innermost['name']} ({os.path.basename(innermost['file'])}:{innermost['line']})"
    return Place(outermost, where)
