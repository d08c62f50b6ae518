import os
import socket

import pytest
import ray

from pipelines.errors import ConfigError
from workers.ray_start import start_ray


@pytest.mark.e2e
def test_without_an_address_it_is_a_ray_of_its_own(monkeypatch: pytest.MonkeyPatch) -> None:
    """Also where a cluster runs on this machine, or the environment names one."""
    monkeypatch.setenv("RAY_ADDRESS", "127.0.0.1:1")
    start_ray(None, relay_logs=False)
    try:
        assert ray.cluster_resources()["CPU"] == max(2, os.cpu_count() or 1)
    finally:
        ray.shutdown()


def test_a_metrics_port_that_is_taken_is_told_before_ray_starts() -> None:
    with socket.socket() as other:
        other.bind(("", 0))
        other.listen()
        port = other.getsockname()[1]
        with pytest.raises(ConfigError, match=f"telemetry.metrics_port {port}: .*name a free one"):
            start_ray(None, relay_logs=False, metrics_port=port)


def test_a_cluster_s_nodes_have_metrics_ports_of_their_own() -> None:
    with pytest.raises(ConfigError, match="ray start --metrics-export-port 8080"):
        start_ray("auto", relay_logs=False, metrics_port=8080)
