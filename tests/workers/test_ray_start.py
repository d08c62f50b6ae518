import os

import pytest
import ray

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
