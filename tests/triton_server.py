"""A real tritonserver for tests: NVIDIA's from a wheel, its Python backend, on free loopback ports, on the CPU.

Run `python -m tests.triton_server` to fetch it beforehand (once, into .cache/triton).
"""

import os
import shutil
import signal
import subprocess
import sys
import sysconfig
import tempfile
import time
import urllib.error
import urllib.request
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path

from tests.kafka_broker import free_ports

REPO = Path(__file__).parent.parent
CACHE = REPO / ".cache" / "triton"
WHEEL = "nvidia-pytriton==0.7.0"
"""Carries tritonserver 2.51. Installed without its dependencies: it asks for numpy 1."""
SERVER = CACHE / "pytriton" / "tritonserver"
FETCHED = CACHE / "fetched"
FETCH_TIMEOUT_S = 300.0
START_TIMEOUT_S = 120.0
STOP_TIMEOUT_S = 20.0


class TritonMissingError(Exception):
    """There is no tritonserver here, and it can't be fetched."""


def fetch_server() -> None:
    """Install the wheel into the cache, unless it is there.

    Raises:
        TritonMissingError: It can't be had.
    """
    version = f"{sys.version_info.major}.{sys.version_info.minor}"
    if FETCHED.is_file() and FETCHED.read_text() == f"{WHEEL} {version}":
        return
    shutil.rmtree(CACHE, ignore_errors=True)
    pip = [sys.executable, "-m", "pip", "install", "--quiet", "--disable-pip-version-check"]
    done = subprocess.run(
        [*pip, "--no-deps", "--target", str(CACHE), WHEEL],
        capture_output=True,
        text=True,
        check=False,
        timeout=FETCH_TIMEOUT_S,
    )
    if done.returncode != 0:
        raise TritonMissingError(f"pip can't fetch {WHEEL}: {done.stderr.strip()[-500:]}")
    stub = SERVER / "python_backend_stubs" / version / "triton_python_backend_stub"
    if not stub.is_file():
        raise TritonMissingError(f"{WHEEL} has no Python backend for Python {version}")
    shutil.copy(stub, SERVER / "backends" / "python" / stub.name)
    FETCHED.write_text(f"{WHEEL} {version}")


class TritonServer:
    """A server of one model repository, that can be killed and started again on the same port.

    Args:
        repository: The repository.
        models: Which of its models are loaded.
    """

    def __init__(self, repository: Path, models: Sequence[str]) -> None:
        self.repository = repository
        self._models = models
        self._port, self._http_port = free_ports(2)
        self._folder = Path(tempfile.mkdtemp(prefix="hctdmg-triton-"))
        self._environment = _environment(self._folder)
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def url(self) -> str:
        """Of its gRPC service."""
        return f"127.0.0.1:{self._port}"

    @property
    def log(self) -> str:
        """All that it wrote."""
        return (self._folder / "server.log").read_text(errors="replace")

    def start(self) -> None:
        """Start it, and wait until its models answer."""
        with (self._folder / "server.log").open("ab") as log:
            self._process = subprocess.Popen(
                self._command(), stdout=log, stderr=log, env=self._environment, start_new_session=True
            )
        deadline_s = time.monotonic() + START_TIMEOUT_S
        while not self._is_ready():
            if self._process.poll() is not None or time.monotonic() > deadline_s:
                raise RuntimeError(f"tritonserver did not start: {self.log[-3000:]}")
            time.sleep(0.05)

    def kill(self) -> None:
        """Kill it with its backends, as a machine that loses its power does."""
        if self._process is not None:
            _signal(self._process, signal.SIGKILL)
            self._process.wait()
        self._process = None

    def close(self) -> None:
        """Stop it; what it wrote is deleted."""
        if self._process is not None:
            self._process.terminate()
            with suppress(subprocess.TimeoutExpired):
                self._process.wait(STOP_TIMEOUT_S)
            self.kill()
        shutil.rmtree(self._folder, ignore_errors=True)

    def _is_ready(self) -> bool:
        url = f"http://127.0.0.1:{self._http_port}/v2/health/ready"
        try:
            with urllib.request.urlopen(url, timeout=1.0) as answer:
                return bool(answer.status == 200)
        except (urllib.error.URLError, OSError):
            return False

    def _command(self) -> list[str]:
        return [
            str(SERVER / "bin" / "tritonserver"),
            f"--model-repository={self.repository}",
            f"--backend-directory={SERVER / 'backends'}",
            "--model-control-mode=explicit",
            *(f"--load-model={name}" for name in self._models),
            "--grpc-address=127.0.0.1",
            f"--grpc-port={self._port}",
            "--http-address=127.0.0.1",
            f"--http-port={self._http_port}",
            "--allow-metrics=false",
            # Two servers at once need names of their own for the backend's shared memory.
            f"--backend-config=python,shm-region-prefix-name=hctdmg{self._port}_",
        ]


def _signal(process: "subprocess.Popen[bytes]", number: signal.Signals) -> None:
    """To the server's own process group: its backends are processes too."""
    with suppress(ProcessLookupError):
        os.killpg(process.pid, number)


def _environment(folder: Path) -> dict[str, str]:
    """What the server needs to find its libraries, and its backend this checkout and our packages.

    The backend's interpreter is isolated: it ignores PYTHONPATH, and takes the packages of the first `python3` in
    PATH. So that one is a virtual environment that holds nothing but the way to ours.
    """
    paths = sysconfig.get_paths(vars={"base": str(folder / "venv"), "platbase": str(folder / "venv")})
    packages, programs = Path(paths["purelib"]), Path(paths["scripts"])
    packages.mkdir(parents=True)
    programs.mkdir()
    (packages / "ours.pth").write_text(f"{REPO}\n{sysconfig.get_paths()['purelib']}\n")
    python = Path(sys.executable).resolve()
    (programs / "python3").symlink_to(python)
    (folder / "venv" / "pyvenv.cfg").write_text(f"home = {python.parent}\n")
    libraries = [str(CACHE / "nvidia_pytriton.libs"), sysconfig.get_config_var("LIBDIR")]
    return {
        **os.environ,
        "LD_LIBRARY_PATH": os.pathsep.join(libraries),
        "PATH": os.pathsep.join([str(programs), os.environ["PATH"]]),
    }


@contextmanager
def running_triton(repository: Path, models: Sequence[str]) -> Iterator[TritonServer]:
    """A server, from when it answers until the block is left.

    Raises:
        TritonMissingError: There is no server to start.
    """
    fetch_server()
    server = TritonServer(repository, models)
    try:
        server.start()
        yield server
    finally:
        server.close()


if __name__ == "__main__":
    fetch_server()
    print(f"tritonserver is in {os.path.relpath(SERVER)}")
