"""Starts the application on Ray Serve, waits until it consumes, and stops it in order.

    with running(config) as application:   # a local Ray of its own, or the cluster at `address`
        ...                                 # it consumes: every consumer is a member of the group
    # left: drained, its partitions given back, Ray stopped

`run_worker` is `hctdmg run`: the same in the foreground, until SIGTERM or Ctrl-C. Knows Ray and Serve. Does
not know what the application does.
"""

import logging
import os
import signal
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType

import ray
from pydantic import ValidationError
from ray import serve
from ray.serve._private import api as serve_api
from ray.serve.handle import DeploymentHandle
from ray.serve.schema import ApplicationStatusOverview, ServeDeploySchema

from pipelines.errors import ConfigError, HctDmgError
from workers.app import preflight
from workers.brake import REMEDY
from workers.config_file import ConfigFile
from workers.consumer import Status
from workers.lookout import look_until
from workers.output import EXIT_HALTED, note, print_line
from workers.ray_start import metrics_urls, start_ray, stop_ray

START_TIMEOUT_S = 180.0
"""Loading the libraries takes some 20 s on two cores, several times that on a busy machine."""
CALL_TIMEOUT_S = 10.0
WAIT_S = 0.1
ALL_ANSWERED = "all is answered"
CONSUMER = "SegmentConsumer"


class DeployError(HctDmgError):
    """The application did not start."""


class Application:
    """A deployed application.

    Args:
        name: Its name in Serve.
        drain_timeout_s: How long a drain may take.
    """

    def __init__(self, name: str, drain_timeout_s: float) -> None:
        self.name = name
        self._drain_timeout_s = drain_timeout_s

    def wait_until_running(self) -> None:
        """Wait until Serve has started every replica.

        Raises:
            DeployError: Serve gave up, or it took too long.
        """
        deadline_s = time.monotonic() + START_TIMEOUT_S
        while (
            overview := serve.status().applications.get(self.name)
        ) is None or overview.status != "RUNNING":
            if overview is not None and overview.status == "DEPLOY_FAILED":
                raise DeployError(f"the application does not start: {_why(overview)}")
            if time.monotonic() > deadline_s:
                what = "Serve says nothing of it" if overview is None else _why(overview)
                raise DeployError(
                    f"the application did not start within {START_TIMEOUT_S:g} s: {what}; {_resources()}"
                )
            time.sleep(WAIT_S)

    def wait_until_consuming(self) -> None:
        """Wait until every consumer is a member of the group.

        Raises:
            DeployError: It took too long.
        """
        joined = self._ask(lambda handle: handle.status, lambda status: status.is_consuming, START_TIMEOUT_S)
        if not joined:
            raise DeployError(
                f"no consumer joined its group within {START_TIMEOUT_S:g} s: see the broker's log"
            )

    def drain(self) -> bool:
        """Have every consumer finish what is in flight, within the budget, and leave the group.

        Returns:
            Whether all said that they did.
        """
        budget_s = self._drain_timeout_s + CALL_TIMEOUT_S
        return self._ask(lambda handle: handle.stop, lambda status: status.is_done, budget_s)

    def statuses(self) -> list[Status]:
        """What each consumer is doing."""
        found: dict[str, Status] = {}
        self._ask(lambda handle: handle.status, lambda _: True, CALL_TIMEOUT_S, found)
        return list(found.values())

    def halted_by(self) -> str | None:
        """The cap on dead letters that has halted a consumer, if any."""
        return next((status.halted_by for status in self.statuses() if status.halted_by), None)

    def resume(self) -> list[Status]:
        """Have halted consumers go on.

        Returns:
            Those that were halted, as they were.

        Raises:
            DeployError: One of them did not answer.
        """
        halted = [status for status in self.statuses() if status.halted_by is not None]
        if halted and not self._ask(
            lambda handle: handle.resume, lambda status: status.halted_by is None, CALL_TIMEOUT_S
        ):
            raise DeployError(f"not every consumer answered within {CALL_TIMEOUT_S:g} s: try it again")
        return halted

    def _ask(
        self,
        method: Callable[[DeploymentHandle], DeploymentHandle],
        is_done: Callable[[Status], bool],
        timeout_s: float,
        found: dict[str, Status] | None = None,
    ) -> bool:
        """Call every replica of the consumer until each is done; Serve sends each call to any of them."""
        latest = {} if found is None else found
        deadline_s = time.monotonic() + timeout_s
        while time.monotonic() < deadline_s and self.name in serve.status().applications:
            try:
                handle = serve.get_app_handle(self.name)
                status: Status = method(handle).remote().result(timeout_s=CALL_TIMEOUT_S)
            except Exception as error:  # noqa: BLE001 - a replica that restarts; Ray has many errors for it
                logging.getLogger(__name__).info("%s does not answer: %s", CONSUMER, error)
                time.sleep(WAIT_S)
                continue
            latest[status.replica] = status
            alive = self._num_consumers()
            if sum(map(is_done, latest.values())) >= alive > 0:
                return True
            time.sleep(WAIT_S / 2)
        return False

    def _num_consumers(self) -> int:
        overview = serve.status().applications.get(self.name)
        # Serve names no deployments while it takes in another config.
        consumer = None if overview is None else overview.deployments.get(CONSUMER)
        return 0 if consumer is None else consumer.replica_states.get("RUNNING", 0)


@contextmanager
def running(
    config: ConfigFile, address: str | None = None, relay_logs: bool = False
) -> Iterator[Application]:
    """The application, from when it consumes until the block is left; then it is drained and stopped.

    Args:
        config: The config file.
        address: Of a Ray cluster; None starts a Ray of its own on this machine, and stops it in the end.
        relay_logs: Whether what the workers log is written to stderr here.

    Raises:
        ConfigError: One line, before anything is started: something is wrong or missing.
        DeployError: The application did not start.
    """
    document = _checked(config)
    preflight(config.settings)
    try:
        with _signals_kept():
            start_ray(address, relay_logs, config.settings.telemetry.metrics_port)
        application = Application(config.application["name"], config.settings.flow.drain_timeout_s)
        client = serve_api.serve_start(
            http_options=document.http_options.model_dump(), proxy_location=document.proxy_location
        )
        client.deploy_apps(document)
        try:
            application.wait_until_running()
            try:
                application.wait_until_consuming()
                yield application
            finally:
                if not application.drain():
                    note("not all was finished in time: what is not committed is processed again")
        finally:
            if address is not None:
                serve.delete(application.name)
    finally:
        stop_ray()


def run_worker(config: ConfigFile, address: str | None, is_over: Callable[[], bool] = lambda: False) -> int:
    """The command `hctdmg run`: consume until SIGTERM or Ctrl-C, then drain. A second one exits at once.

    Args:
        config: The config file.
        address: Of a Ray cluster; None starts a Ray of its own on this machine.
        is_over: Asked now and then; once it is so, it drains too.

    Returns:
        The exit status; 3 when dead letters past a cap have halted it.

    Raises:
        ConfigError: Something is wrong or missing; nothing was started.
        DeployError: The application did not start.
    """
    _stop_on_signals()
    try:
        with running(config, address, relay_logs=True) as application:
            note(f"metrics at {', '.join(metrics_urls())}")
            print_line("ready")
            why = look_until(lambda: application.halted_by() or (ALL_ANSWERED if is_over() else None))
        if why != ALL_ANSWERED:
            note(f"error: halted: {why}; {REMEDY}")
            return EXIT_HALTED
        note(f"{why}: stopped")
    except KeyboardInterrupt:
        note("stopped")
    return 0


def _stop_on_signals() -> None:
    """Have the first signal interrupt the main thread, and a second one end the process."""
    come: list[int] = []

    def handle(number: int, _: FrameType | None) -> None:
        come.append(number)
        if len(come) > 1:
            os._exit(128 + number)
        note("draining; a second signal stops at once")
        raise KeyboardInterrupt

    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, handle)


@contextmanager
def _signals_kept() -> Iterator[None]:
    """Put back, after the body, who handles SIGTERM and Ctrl-C: Ray's own handlers would not drain."""
    handlers = {number: signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGINT)}
    try:
        yield
    finally:
        for number, handler in handlers.items():
            signal.signal(number, handler)


def _checked(config: ConfigFile) -> ServeDeploySchema:
    try:
        return ServeDeploySchema.model_validate(dict(config.document))
    except ValidationError as error:
        problem = error.errors(include_url=False, include_input=False)[0]
        where = ".".join(str(part) for part in problem["loc"])
        raise ConfigError(f"{config.path}: {where}: {problem['msg']}") from None


def _why(overview: ApplicationStatusOverview) -> str:
    """The last line of the traceback of each deployment that failed, else what Serve says of all."""
    failed = {
        name: found.message for name, found in overview.deployments.items() if found.status == "DEPLOY_FAILED"
    }
    reasons = failed or {"application": overview.message}
    return "; ".join(f"{name}: {(text.strip().splitlines() or ['?'])[-1]}" for name, text in reasons.items())


def _resources() -> str:
    free = ray.available_resources()
    return f"free in the Ray cluster: {free.get('CPU', 0):g} CPUs, {free.get('GPU', 0):g} GPUs"
