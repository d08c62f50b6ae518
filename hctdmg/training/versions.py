"""What a result depends on besides data and settings: versions and the machine. Knows nothing of either."""

import importlib.metadata
import platform

import torch

PACKAGES = ("hctdmg", "torch", "numpy", "scipy", "scikit-learn", "safetensors")


def versions() -> dict[str, str]:
    """Versions of packages and Python, and what computes."""
    found = {name: _version(name) for name in PACKAGES}
    machine = platform.machine()
    if torch.cuda.is_available():
        machine += f", {torch.cuda.get_device_name()}"
    return {**found, "python": platform.python_version(), "machine": machine}


def _version(name: str) -> str:
    try:
        return importlib.metadata.version(name)
    except importlib.metadata.PackageNotFoundError:
        return "not installed"
