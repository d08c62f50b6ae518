"""The folder that `--out` names, seen to before any work is done for it. Knows folders alone."""

import os
from pathlib import Path

from pipelines.errors import ConfigError


def make_folder(folder: Path) -> None:
    """Make it, or see that it can be written.

    Raises:
        ConfigError: It can't be.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise ConfigError(f"--out {folder}: {error.strerror}; give a folder that can be written") from None
    if not os.access(folder, os.W_OK):
        raise ConfigError(f"--out {folder}: can't be written; give another folder")
