"""Starts Ray on this machine, or connects to a cluster, so that it writes nothing but what we let it.

Ray prints what workers log, and whenever one dies a paragraph about it, to the driver's stdout, which is
ours. So its printer is replaced (it offers no other way): the lines of our own loggers go to stderr, all
others nowhere; with HCTDMG_DEBUG=1 all go to stderr.
"""

import logging
import os
import re
import sys
from collections.abc import Mapping
from typing import Any

import ray
import ray._private.worker as ray_worker

from workers.output import debugging
from workers.telemetry import OURS

MIN_CPUS = 2
"""Ray counts cores to place replicas, it does not reserve any: the shipped config needs two."""

OUR_LINE = re.compile(rf"^\S+ \S+ [A-Z]+ ({'|'.join(OURS)}|kafka)[. ]")
"""As `workers.telemetry` formats them."""


def start_ray(address: str | None, relay_logs: bool) -> None:
    """Start or connect.

    Args:
        address: Of a Ray cluster; None starts a Ray of its own on this machine.
        relay_logs: Whether the lines of our own loggers are written to stderr.
    """
    # Nothing of this machine is reported to anyone.
    os.environ["RAY_USAGE_STATS_ENABLED"] = "0"
    os.environ.setdefault("RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO", "0")  # else Ray warns about its own default
    ray_worker.print_to_stdstream = _relay if relay_logs or debugging() else _discard
    logging.getLogger("ray.serve").setLevel(logging.INFO if debugging() else logging.ERROR)
    level = logging.INFO if debugging() else logging.ERROR
    options: dict[str, Any] = {"namespace": "serve", "logging_level": level, "log_to_driver": True}
    if address is not None:
        ray.init(address=address, **options)
        return
    num_cpus = max(MIN_CPUS, os.cpu_count() or 1)
    # "local", or it would join a cluster that runs on this machine or that RAY_ADDRESS names.
    ray.init(address="local", num_cpus=num_cpus, include_dashboard=False, **options)


def _relay(data: Mapping[str, Any], **_: object) -> None:
    for line in data["lines"]:
        if debugging() or OUR_LINE.match(line):
            sys.stderr.write(f"{line}\n")


def _discard(*_: object, **__: object) -> None:
    pass
