"""The command of the kit: `python -m tests.chaos --kills 100 --segments 20000 --seed 1 --out DIR`.

Exit status 0 only when nothing was lost, doubled or out of order and the dead letters are exactly the planted
ones. Reads arguments and prints; `run` does the work.
"""

import argparse
import signal
import sys
import time
from pathlib import Path
from types import FrameType

import yaml
from rich.console import Console

from tests.chaos.run import Options, run_chaos
from tests.chaos.schedule import KINDS


def main() -> int:
    """Run the command."""
    arguments = _parse()
    console = Console(width=110)
    begun_s = time.monotonic()

    def tell(line: str) -> None:
        console.print(
            f"{time.monotonic() - begun_s:7.1f} s  {line}", highlight=False, soft_wrap=True, markup=False
        )

    def interrupt(number: int, _: FrameType | None) -> None:
        for other in (signal.SIGTERM, signal.SIGINT):
            signal.signal(other, signal.SIG_IGN)
        raise RuntimeError(f"stopped by signal {number}")

    # As an error, so that what was started is stopped and the report is written.
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, interrupt)
    options = Options(
        num_faults=arguments.kills,
        num_segments=arguments.segments,
        seed=arguments.seed,
        kinds=tuple(kind for kind in KINDS if kind in arguments.faults),
        delivery=arguments.delivery,
        num_brokers=arguments.brokers,
        longest_freeze_s=arguments.longest_freeze_s,
        time_limit_s=arguments.time_limit_s,
        settings={
            key: yaml.safe_load(value) for key, _, value in (one.partition("=") for one in arguments.set)
        },
    )
    report = run_chaos(options, tell, arguments.out / "logs" if arguments.logs else None)
    path = report.write(arguments.out)
    report.show(console)
    console.print(f"written to {path}", highlight=False, soft_wrap=True)
    return 0 if not report.failures else 1


def _parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m tests.chaos", description=__doc__)
    parser.add_argument("--kills", type=int, default=100, help="number of faults")
    parser.add_argument("--segments", type=int, default=20_000)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--out", type=Path, required=True, help="folder for the JSON")
    parser.add_argument("--faults", type=_kinds, default=KINDS, help=f"of {','.join(KINDS)}; default all")
    parser.add_argument("--delivery", choices=("exactly_once", "at_least_once"), default="exactly_once")
    parser.add_argument("--brokers", type=int, choices=(1, 3), default=3)
    parser.add_argument("--longest-freeze-s", type=float, default=60.0, help="of an unreachable broker")
    parser.add_argument("--time-limit-s", type=float, default=3 * 3600.0, help="no further fault after this")
    parser.add_argument("--set", action="append", default=[], metavar="GROUP.KEY=VALUE", help="a setting")
    parser.add_argument("--logs", action="store_true", help="keep the workers' logs, in DIR/logs")
    return parser.parse_args()


def _kinds(text: str) -> tuple[str, ...]:
    kinds = tuple(text.split(","))
    unknown = [kind for kind in kinds if kind not in KINDS]
    if unknown:
        raise argparse.ArgumentTypeError(f"no fault {', '.join(unknown)}; known: {', '.join(KINDS)}")
    return kinds


if __name__ == "__main__":
    sys.exit(main())
