"""`hctdmg run` with the application of the kit: a process of its own, so that all of it can be killed.

python -m tests.chaos.driver RAY_CONFIG --set KEY=VALUE …
"""

import sys
from pathlib import Path

from workers import config_file
from workers.config_file import read_config_file
from workers.run import run_worker

APP = "tests.chaos.app:build_app"


def main() -> int:
    """Run until told to stop."""
    config_file.IMPORT_PATH = APP
    overrides = [argument for argument in sys.argv[2:] if argument != "--set"]
    return run_worker(read_config_file(Path(sys.argv[1]), overrides), None)


if __name__ == "__main__":
    sys.exit(main())
