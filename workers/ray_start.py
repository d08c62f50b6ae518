"""Starts Ray on this machine, or connects to a cluster, so that it writes nothing but what we let it.

Ray prints what workers log, and whenever one dies a paragraph about it, to the driver's stdout, which is
ours. So its printer is replaced (it offers no other way): the lines of our own loggers go to stderr, all
others nowhere; with HCTDMG_DEBUG=1 all go to stderr.
"""

import logging
import os
import re
import socket
import sys
from collections.abc import Mapping
from typing import Any

import ray
import ray._private.worker as ray_worker
from ray.serve import context as serve_context

from pipelines.errors import ConfigError
from workers.output import debugging
from workers.telemetry import OURS

MIN_CPUS = 2
"""Ray counts cores to place replicas, it does not reserve any: the shipped config needs two."""

REACH_TIMEOUT_S = 3.0

OUR_LINE = re.compile(rf"^\S+ \S+ [A-Z]+ ({'|'.join(OURS)}|kafka)[. ]")
"""As `workers.telemetry` formats them."""


def start_ray(address: str | None, relay_logs: bool, metrics_port: int | None = None) -> None:
    """Start or connect.

    Args:
        address: Of a Ray cluster; None starts a Ray of its own on this machine.
        relay_logs: Whether the lines of our own loggers are written to stderr.
        metrics_port: Where a Ray of its own serves metrics; None lets it choose.

    Raises:
        ConfigError: The port can't be had.
    """
    if metrics_port is not None:
        _check_port(metrics_port, address)
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
    if metrics_port is not None:
        options["_metrics_export_port"] = metrics_port
    # "local", or it would join a cluster that runs on this machine or that RAY_ADDRESS names.
    ray.init(address="local", num_cpus=num_cpus, include_dashboard=False, **options)


def join_cluster(address: str) -> None:
    """Connect to a cluster that runs, or start one here for "local".

    Raises:
        ConfigError: There is none at the address.
    """
    _check_reachable(address)
    try:
        start_ray(address, relay_logs=False)
    except (ConnectionError, RuntimeError, ValueError) as error:
        reason = " ".join(str(error).split())
        raise ConfigError(f"no Ray cluster at {address!r} ({reason:.200}): give its --address") from None


def _check_reachable(address: str) -> None:
    """Make a plain connection: at a wrong address Ray would end this process, with a page of text."""
    host, _, port = address.rpartition(":")
    if "://" in address or not port.isdigit():
        return
    try:
        socket.create_connection((host.strip("[]"), int(port)), timeout=REACH_TIMEOUT_S).close()
    except (OSError, OverflowError) as error:
        raise ConfigError(f"no Ray cluster at {address!r} ({error}): give its --address") from None


def stop_ray() -> None:
    """Let go of Ray; a Ray of our own stops.

    Serve's handles first: with autoscaling on, each has a thread that reports, and that would connect again, or start
    another Ray, as soon as this one is gone.
    """
    client = serve_context._global_client
    if client is not None:
        client.shutdown_cached_handles()
    ray.shutdown()


def metrics_urls() -> list[str]:
    """Where each living node serves its metrics."""
    return [
        f"http://{node['NodeManagerAddress']}:{node['MetricsExportPort']}/metrics"
        for node in ray.nodes()
        if node["Alive"]
    ]


def _check_port(port: int, address: str | None) -> None:
    """Say what is wrong with it; Ray would take half a minute and say that something failed."""
    if address is not None:
        raise ConfigError(
            f"telemetry.metrics_port is {port}, but the nodes of a cluster have their own: set it to null here, "
            f"start them with `ray start --metrics-export-port {port}`"
        )
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("", port))
        except OSError as error:
            reason = error.strerror
            raise ConfigError(f"telemetry.metrics_port {port}: {reason}; name a free one, or null") from None


def _relay(data: Mapping[str, Any], **_: object) -> None:
    for line in data["lines"]:
        if debugging() or OUR_LINE.match(line):
            sys.stderr.write(f"{line}\n")


def _discard(*_: object, **__: object) -> None:
    pass
