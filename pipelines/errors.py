"""The errors of the pipeline: each says what happens to the segment next.

    HctDmgError
    ├── SegmentError     this segment can't be answered: dead-letter it, go on with the next
    ├── RetryableError   it may work in a moment: back off and try again, dead-letter when attempts run out
    └── ConfigError      nothing can work like this: stop before anything starts (exit 2)

Anything else that escapes is a bug or a dying process: it is tried once more alone, then dead-lettered with
its traceback. A missing modality (no audio track, no face, no transcript) is data, never an error.

Both errors about a segment survive pickling, because they cross process borders.
"""

from typing import Literal, get_args

Stage = Literal["parse", "fetch", "decode", "extract", "align", "infer", "publish"]
STAGES: tuple[Stage, ...] = get_args(Stage)


class HctDmgError(Exception):
    """Base of every error this project raises on purpose."""


class SegmentError(HctDmgError):
    """The segment itself is at fault: no retry can help.

    Args:
        stage: Where it was found.
        message: One line that names the value, the limit and, where there is one, the remedy.
    """

    def __init__(self, stage: Stage, message: str) -> None:
        super().__init__(stage, message)
        self.stage: Stage = stage
        self.message = message

    def __str__(self) -> str:
        return f"{self.stage}: {self.message}"


class RetryableError(HctDmgError):
    """Something outside the segment failed in a way that may pass (HTTP 503, time-out, connection reset).

    Args:
        stage: Where it was found.
        message: One line that names what failed.
    """

    def __init__(self, stage: Stage, message: str) -> None:
        super().__init__(stage, message)
        self.stage: Stage = stage
        self.message = message

    def __str__(self) -> str:
        return f"{self.stage}: {self.message}"


class ConfigError(HctDmgError):
    """A setting, a checkpoint or the environment is wrong: nothing may start.

    The message is one line: the value, what is wrong with it, what to do.
    """
