"""The worker as processes: started, looked into, drained, killed with everything that it started.

Every Ray that it starts is its own, in a folder of its own; processes are told by descent, never by name alone, for
other Rays may run on this machine. Knows processes. Does not know Kafka.
"""

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import psutil
import yaml

from tests.chaos.driver import APP
from tests.chaos.moments import ORDERS
from workers.config_file import SHIPPED

READY_TIMEOUT_S = 300.0
"""Longer than the worker's own limits for its start, so that it can say what is wrong."""
DRAIN_TIMEOUT_S = 120.0
REPO = Path(__file__).parent.parent.parent


@dataclass(frozen=True)
class Setup:
    """How workers are started.

    Attributes:
        folder: For config, logs and what Ray writes; short, for the paths of Ray's sockets have a limit.
        settings: Overrides, by "GROUP.KEY".
        num_replicas: By deployment.
    """

    folder: Path
    settings: Mapping[str, Any]
    num_replicas: Mapping[str, int]

    def write(self) -> None:
        """Write the config file: the shipped one with this many replicas."""
        document = yaml.safe_load(SHIPPED.read_text())
        application = document["applications"][0]
        application["import_path"] = APP
        for deployment in application["deployments"]:
            deployment["num_replicas"] = self.num_replicas[deployment["name"]]
            # Ray only counts: all of them must fit on two cores.
            deployment["ray_actor_options"] = {"num_cpus": 0.1}
        (self.folder / "ray_config.yaml").write_text(yaml.safe_dump(document))


@dataclass
class Worker:
    """One instance of the application.

    Args:
        setup: How it is started.
        instance: Its `kafka.instance`.
    """

    setup: Setup
    instance: str
    _process: "subprocess.Popen[bytes] | None" = None
    _seen: dict[int, psutil.Process] = field(default_factory=dict)
    _begun: int = 0

    @property
    def log(self) -> Path:
        """What it and its replicas logged."""
        return self.setup.folder / f"{self.instance}.log"

    @property
    def orders(self) -> Path:
        """Where its consumers look for orders to die."""
        return self.setup.folder / f"orders-{self.instance}"

    def start(self) -> None:
        """Start it; it is not waited for."""
        self.orders.mkdir(exist_ok=True)
        settings = {**self.setup.settings, "kafka.instance": self.instance}
        overrides = [f"{key}={json.dumps(value)}" for key, value in settings.items()]
        environment = {
            **os.environ,
            "PYTHONPATH": os.pathsep.join([str(REPO), os.environ.get("PYTHONPATH", "")]),
            ORDERS: str(self.orders),
            "RAY_TMPDIR": str(self.setup.folder),
        }
        self._begun = self._num_ready()
        with self.log.open("ab") as log:
            self._process = subprocess.Popen(
                [
                    sys.executable,
                    "-m",
                    "tests.chaos.driver",
                    str(self.setup.folder / "ray_config.yaml"),
                    *overrides,
                ],
                stdout=log,
                stderr=log,
                env=environment,
                cwd=self.setup.folder,
                start_new_session=True,
            )

    def wait_until_ready(self, timeout_s: float = READY_TIMEOUT_S) -> None:
        """Wait until every consumer is a member of the group.

        Raises:
            RuntimeError: It ended, or it took too long.
        """
        assert self._process is not None
        deadline_s = time.monotonic() + timeout_s
        while self._num_ready() <= self._begun:
            if self._process.poll() is not None or time.monotonic() > deadline_s:
                raise RuntimeError(
                    f"worker {self.instance} is not ready: {self.log.read_text(errors='replace')[-1500:]}"
                )
            self.look()
            time.sleep(0.2)
        self.look()

    def replicas(self, deployment: str) -> list[psutil.Process]:
        """Live processes of a deployment, by process id."""
        found = []
        for process in self.look():
            try:
                if deployment in " ".join(process.cmdline()) and process.status() != psutil.STATUS_ZOMBIE:
                    found.append(process)
            except psutil.Error:
                continue
        return sorted(found, key=lambda process: process.pid)

    def look(self) -> Sequence[psutil.Process]:
        """Every process that it has started and that lives; remembered, for orphans must be killed too."""
        if self._process is not None and self._process.poll() is None:
            try:
                for process in psutil.Process(self._process.pid).children(recursive=True):
                    self._seen[process.pid] = process
            except psutil.Error:
                pass
        # is_running compares the time of creation: a process id that was given anew is another process.
        self._seen = {pid: process for pid, process in self._seen.items() if process.is_running()}
        return list(self._seen.values())

    def kill(self) -> int:
        """SIGKILL everything: the driver, Ray's own processes, all replicas.

        Returns:
            How many processes that were.
        """
        children = list(self.look())
        number = len(children)
        if self._process is not None and self._process.poll() is None:
            self._process.kill()
            number += 1
        for _ in range(3):  # those that were just being started
            for process in children:
                try:
                    process.kill()
                except psutil.Error:
                    continue
            psutil.wait_procs(children, timeout=10)
            children = list(self.look())
        if self._process is not None:
            self._process.wait(20)
        return number

    def freeze(self) -> None:
        """SIGSTOP everything."""
        for process in self._everything():
            with suppress(psutil.Error):
                process.suspend()

    def thaw(self) -> None:
        """SIGCONT everything."""
        for process in self._everything():
            with suppress(psutil.Error):
                process.resume()

    def terminate(self) -> None:
        """SIGTERM: it drains."""
        assert self._process is not None
        self._process.send_signal(signal.SIGTERM)

    def wait(self, timeout_s: float = DRAIN_TIMEOUT_S) -> int | None:
        """Its exit status; None if it does not end in time. Everything it left is killed."""
        assert self._process is not None
        deadline_s = time.monotonic() + timeout_s
        while self._process.poll() is None and time.monotonic() < deadline_s:
            self.look()
            time.sleep(0.2)
        status = self._process.poll()
        self.kill()
        return status

    def _everything(self) -> list[psutil.Process]:
        assert self._process is not None
        return [psutil.Process(self._process.pid), *self.look()]

    def _num_ready(self) -> int:
        if not self.log.is_file():
            return 0
        return sum(line.strip() == "ready" for line in self.log.read_text(errors="replace").splitlines())
