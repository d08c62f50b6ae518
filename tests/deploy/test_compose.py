"""The compose file: its schema, what it refers to, and the settings of other programs that are in it."""

import os
import re
import shutil
import subprocess
import tempfile
from pathlib import Path
from typing import Any

import compose_spec
import pytest
import yaml

from tests.conftest import REPO, skip_or_fail
from tests.deploy.test_images import stages
from tests.kafka_broker import KafkaMissingError, free_ports, running_server
from workers.cli import run
from workers.config_file import read_config_file
from workers.metrics import ASSIGNED_PARTITIONS, PREFIX

FOLDER = REPO / "deploy" / "compose"
FILE = FOLDER / "compose.yaml"
ROOT_ON_PURPOSE = {"models"}
"""Runs once, writes a new volume, ends."""
OWN_USER = {"kafka", "topics"}
"""Its image names an own user, appuser."""


def interpolated(text: str) -> str:
    """As Compose does it: variables that are not set take their defaults, `$$` is a dollar."""
    return re.sub(r"\$\{\w+:-([^}]*)\}", r"\1", text).replace("$$", "$")


def services() -> dict[str, dict[str, Any]]:
    found: dict[str, dict[str, Any]] = yaml.safe_load(interpolated(FILE.read_text()))["services"]
    return found


def parse(text: str) -> list[str]:
    """The services, by the Compose Specification's own types."""
    spec = compose_spec.PyCompose.from_yaml(interpolated(text)).to_spec()
    return sorted(spec.services or {})


def test_it_keeps_to_the_compose_specification() -> None:
    assert parse(FILE.read_text()) == [
        "grafana", "kafka", "models", "prometheus", "topics", "triton", "worker",
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("right", "wrong"),
    [("restart:", "restrat:"), ("service_healthy", "service_hale"), ("shm_size: 1gb", "shm_size: big")],
)
def test_what_does_not_is_found(right: str, wrong: str) -> None:
    text = FILE.read_text()
    assert right in text
    with pytest.raises(ValueError, match=r"services\."):
        parse(text.replace(right, wrong, 1))


@pytest.mark.parametrize("name", services())
def test_each_service_is_pinned_kept_to_this_machine_and_without_rights(name: str) -> None:
    service = services()[name]
    tag = service["image"].rpartition(":")[2]
    assert re.search(r"\d+\.\d+", tag), f"{service['image']} names no version"
    for port in service.get("ports", ()):
        assert port.startswith("127.0.0.1:"), f"{port} is open to the network"
    if name not in ROOT_ON_PURPOSE | OWN_USER | {"worker"}:  # the worker's is the image's
        assert int(service["user"].split(":")[0]) > 0
    if service.get("restart") and name not in OWN_USER:
        assert service["cap_drop"] == ["ALL"]
        assert service["security_opt"] == ["no-new-privileges:true"]
    assert "privileged" not in service


def test_all_that_stays_up_has_a_health_check() -> None:
    stay = {name for name, one in services().items() if one.get("restart")} | {"kafka"}
    without = {name for name in stay if "healthcheck" not in services()[name]}
    assert without == {"worker"}  # its image has one


def test_every_file_and_volume_and_stage_that_it_names_exists() -> None:
    volumes = yaml.safe_load(FILE.read_text())["volumes"]
    for name, service in services().items():
        for volume in service.get("volumes", ()):
            source = volume.split(":")[0]
            if source == "./media":  # MEDIA's default: made by Compose
                continue
            exists = (FOLDER / source).resolve().is_file() if source.startswith(".") else source in volumes
            assert exists, f"{name}: {source}"
        if "build" in service:
            context = (FOLDER / service["build"]["context"]).resolve()
            assert context == REPO
            assert (context / service["build"]["dockerfile"]).is_file()
            assert service["build"]["target"] in stages()
        for other in service.get("depends_on", {}):
            assert other in services()


def test_the_worker_s_settings_exist_and_lead_to_the_other_services() -> None:
    command, *options = services()["worker"]["command"]
    assert command == "run"
    assert options[::2] == ["--set"] * (len(options) // 2)
    settings = read_config_file(REPO / "ray_config.yaml", options[1::2]).settings
    host, _, port = settings.kafka.bootstrap_servers.partition(":")
    assert f"INSIDE://{host}:{port}" in services()[host]["environment"]["KAFKA_ADVERTISED_LISTENERS"]
    assert settings.model.triton.url.split(":")[0] in services()
    assert f"--load-model={settings.model.triton.model_name}" in services()["triton"]["command"]
    (media,) = services()["worker"]["volumes"]
    assert media.split(":")[1] == settings.media.allowed_roots[0]
    (scraped,) = yaml.safe_load((FOLDER / "prometheus.yaml").read_text())["scrape_configs"]
    assert scraped["static_configs"][0]["targets"] == [f"worker:{settings.telemetry.metrics_port}"]
    grace_s = int(services()["worker"]["stop_grace_period"].removesuffix("s"))
    assert grace_s > settings.flow.drain_timeout_s + 10
    (topics,) = services()["topics"]["command"]
    kafka = settings.kafka
    for topic in (kafka.input_topic, kafka.output_topic, kafka.dead_letter_topic):
        assert re.search(rf"\b{re.escape(topic)}:\d+", topics)


def test_the_topics_script_makes_each_topic(tmp_path: Path) -> None:
    """By a shell, with a stand-in for Kafka's tool that writes down how it was called."""
    (script,) = services()["topics"]["command"]
    tool, calls = tmp_path / "kafka-topics.sh", tmp_path / "calls"
    tool.write_text(f'#!/bin/sh\necho "$@" >> {calls}\n')
    tool.chmod(0o755)
    subprocess.run(["sh", "-c", script.replace("/opt/kafka/bin", str(tmp_path))], check=True, timeout=30)
    made = re.findall(r"--topic (\S+) --partitions (\d+)", calls.read_text())
    assert made == [("video.segments", "6"), ("affect.events", "6"), ("video.segments.dlq", "1")]


def test_the_model_repository_s_command_is_one_that_hctdmg_takes(tmp_path: Path) -> None:
    command = services()["models"]["command"]
    *options, place = command
    assert place.startswith("/models/")
    assert f"--model-repository={place}" in services()["triton"]["command"]
    assert run([*options, str(tmp_path / "repository")]) == 0
    (loaded,) = [one for one in services()["triton"]["command"] if one.startswith("--load-model=")]
    assert (tmp_path / "repository" / loaded.partition("=")[2] / "config.pbtxt").is_file()


@pytest.mark.kafka
def test_a_real_kafka_starts_with_its_settings() -> None:
    """The image makes properties of KAFKA_...; so does this, with ports and folders of its own."""
    environment = services()["kafka"]["environment"]
    settings = {
        name.removeprefix("KAFKA_").lower().replace("_", "."): value for name, value in environment.items()
    }
    inside, outside, controller = free_ports(3)
    ports = {":9092": inside, ":19092": outside, ":9093": controller}
    for name, value in settings.items():
        for written, port in ports.items():
            value = value.replace(f"//{written}", f"//127.0.0.1:{port}")
            value = value.replace(f"kafka{written}", f"127.0.0.1:{port}")
            value = value.replace(f"localhost{written}", f"127.0.0.1:{port}")
        settings[name] = value
    folder = Path(tempfile.mkdtemp(prefix="hctdmg-compose-"))
    settings["log.dirs"] = str(folder / "data")
    try:
        with running_server(folder, settings, inside, standalone=False):
            for port in (inside, outside):
                kafka = [f"kafka.bootstrap_servers=127.0.0.1:{port}"]
                config = read_config_file(REPO / "ray_config.yaml", kafka).settings.kafka
                from workers.kafka import check_connection

                check_connection(config)
    except KafkaMissingError as error:
        skip_or_fail(str(error))
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def test_promtool_reads_prometheus_settings(tmp_path: Path) -> None:
    found = shutil.which("promtool")
    if found is None:
        skip_or_fail("no promtool on the PATH: it comes with Prometheus (Debian: apt-get install prometheus)")
    assert found is not None
    mounts = dict(volume.split(":")[:2] for volume in services()["prometheus"]["volumes"])
    for source, target in mounts.items():
        if source.startswith("."):
            shutil.copy(FOLDER / source, tmp_path / os.path.basename(target))
    done = subprocess.run(
        [found, "check", "config", tmp_path / "prometheus.yaml"],
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert "rules found" in done.stdout


def test_grafana_finds_the_dashboard_where_it_is_put() -> None:
    mounts = {
        target: source for source, target, *_ in (one.split(":") for one in services()["grafana"]["volumes"])
    }
    provider = "/etc/grafana/provisioning/dashboards/hctdmg.yaml"
    (dashboards,) = yaml.safe_load((FOLDER / mounts[provider]).read_text())["providers"]
    folder = dashboards["options"]["path"]
    assert [one for one in mounts if one.startswith(f"{folder}/")] == [f"{folder}/hctdmg.json"]
    (source,) = yaml.safe_load((FOLDER / "grafana" / "datasource.yaml").read_text())["datasources"]
    assert source["url"] == "http://prometheus:9090"
    assert PREFIX + ASSIGNED_PARTITIONS.name in (FOLDER / mounts[f"{folder}/hctdmg.json"]).read_text()
