"""The RayService for a GPU cluster: pods by Kubernetes' schemas, the application by Ray's and by our settings."""

import copy
import json
import shlex
import tomllib
from typing import Annotated, Any

import kubernetes_validate
import pytest
import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError
from ray.serve.schema import ServeDeploySchema

from tests.conftest import REPO
from tests.deploy.test_images import stages
from workers.app import SHUTDOWN_MARGIN_S, bind
from workers.config import validate_settings
from workers.config_file import SHIPPED, ConfigFile, read_config_file
from workers.scaling import Rules
from workers.scaling_policy import CONSUMER, SCALED

FILE = REPO / "deploy" / "ray" / "rayservice.yaml"
KUBERNETES = "1.34"
HEAD = "head"

Count = Annotated[int, Field(ge=0)]


class Strict(BaseModel):
    """Of what KubeRay's `ray.io/v1` has, what this manifest uses."""

    model_config = ConfigDict(extra="forbid")


class Upgrade(Strict):
    type: Annotated[str, Field(pattern="^(NewCluster|None)$")]


class AutoscalerOptions(Strict):
    idleTimeoutSeconds: Count


class Head(Strict):
    rayStartParams: dict[str, str]
    template: dict[str, Any]


class Group(Head):
    groupName: Annotated[str, Field(pattern="^[a-z][a-z0-9-]*$")]
    replicas: Count
    minReplicas: Count
    maxReplicas: Count


class Cluster(Strict):
    rayVersion: str
    enableInTreeAutoscaling: bool
    autoscalerOptions: AutoscalerOptions
    headGroupSpec: Head
    workerGroupSpecs: list[Group]


class Spec(Strict):
    upgradeStrategy: Upgrade
    serveConfigV2: str
    rayClusterConfig: Cluster


class RayService(Strict):
    apiVersion: Annotated[str, Field(pattern="^ray.io/v1$")]
    kind: Annotated[str, Field(pattern="^RayService$")]
    metadata: dict[str, str]
    spec: Spec


def manifest() -> RayService:
    return RayService.model_validate(yaml.safe_load(FILE.read_text()))


def groups() -> dict[str, Head]:
    cluster = manifest().spec.rayClusterConfig
    return {HEAD: cluster.headGroupSpec} | {one.groupName: one for one in cluster.workerGroupSpecs}


def worker_groups() -> list[Group]:
    return manifest().spec.rayClusterConfig.workerGroupSpecs


def container(group: Head) -> dict[str, Any]:
    (found,) = group.template["spec"]["containers"]
    assert isinstance(found, dict)
    return found


def config(tmp_path: Any) -> ConfigFile:
    path = tmp_path / "ray_config.yaml"
    path.write_text(manifest().spec.serveConfigV2)
    return read_config_file(path)


def deployments() -> dict[str, dict[str, Any]]:
    (application,) = yaml.safe_load(manifest().spec.serveConfigV2)["applications"]
    return {one["name"]: one for one in application["deployments"]}


def validate_pod(template: dict[str, Any]) -> None:
    pod = {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "pod"}, **copy.deepcopy(template)}
    pod["metadata"] = {"name": "pod", **template["metadata"]}
    kubernetes_validate.validate(pod, KUBERNETES, strict=True)


@pytest.mark.parametrize("name", groups())
def test_its_pods_keep_to_kubernetes_schema(name: str) -> None:
    validate_pod(groups()[name].template)


@pytest.mark.parametrize(
    ("path", "value"),
    [
        (("imagee",), "x"),
        (("ports",), [{"containerPort": "six"}]),
        (("securityContext", "capabilities"), {"dorp": ["ALL"]}),
        (("readinessProbe", "periodSeconds"), "often"),
    ],
)
def test_a_wrong_pod_is_found(path: tuple[str, ...], value: object) -> None:
    template = copy.deepcopy(groups()["cpu"].template)
    place = template["spec"]["containers"][0]
    for key in path[:-1]:
        place = place[key]
    place[path[-1]] = value
    with pytest.raises(kubernetes_validate.ValidationError):
        validate_pod(template)


def test_an_unknown_field_of_the_service_is_found() -> None:
    document = yaml.safe_load(FILE.read_text())
    document["spec"]["rayClusterConfig"]["workerGroupSpec"] = []
    with pytest.raises(ValidationError, match="workerGroupSpec"):
        RayService.model_validate(document)


def test_the_application_is_one_that_ray_and_our_settings_take(tmp_path: Any) -> None:
    found = config(tmp_path)
    ServeDeploySchema.model_validate(dict(found.document))
    validate_settings(found.application["args"])
    Rules(**found.application["autoscaling_policy"]["policy_kwargs"])
    assert found.document["proxy_location"] == "Disabled"


def test_it_names_the_deployments_that_there_are(tmp_path: Any) -> None:
    application = bind(config(tmp_path).settings)
    bound = {application._bound_deployment.name}
    bound |= {one._bound_deployment.name for one in application._bound_deployment.init_args[1:]}
    assert set(deployments()) == bound == {CONSUMER, *SCALED}
    assert set(deployments()) == {
        one["name"] for one in yaml.safe_load(SHIPPED.read_text())["applications"][0]["deployments"]
    }


def test_replicas_find_their_kind_of_node_and_no_other() -> None:
    cpu_node = {
        name
        for name, group in groups().items()
        if "cpu_node" in json.loads(shlex.split(group.rayStartParams.get("resources", "'{}'"))[0])
    }
    gpu = {
        name
        for name, group in groups().items()
        if "nvidia.com/gpu" in container(group)["resources"]["limits"]
    }
    assert (cpu_node, gpu) == ({"cpu"}, {"gpu"})
    for name in (CONSUMER, "FeatureExtractor"):
        options = deployments()[name]["ray_actor_options"]
        assert options["resources"]["cpu_node"] > 0
        assert "num_gpus" not in options
    assert 0 < deployments()["HctDmgReplica"]["ray_actor_options"]["num_gpus"] < 1
    assert groups()[HEAD].rayStartParams["num-cpus"] == "0"


def test_all_replicas_have_room_when_all_are_wanted() -> None:
    """Else the policy would ask for what never comes."""
    cpu, gpu = worker_groups()
    most = {name: one["autoscaling_config"]["max_replicas"] for name, one in deployments().items()}
    cores = {name: one["ray_actor_options"]["num_cpus"] for name, one in deployments().items()}
    on_cpu = most[CONSUMER] * cores[CONSUMER] + most["FeatureExtractor"] * cores["FeatureExtractor"]
    assert on_cpu <= cpu.maxReplicas * int(container(cpu)["resources"]["requests"]["cpu"])
    share = deployments()["HctDmgReplica"]["ray_actor_options"]["num_gpus"]
    assert most["HctDmgReplica"] * share <= gpu.maxReplicas * int(
        container(gpu)["resources"]["limits"]["nvidia.com/gpu"]
    )
    assert cores["HctDmgReplica"] / share <= int(container(gpu)["resources"]["requests"]["cpu"])
    bounds = deployments()[CONSUMER]["autoscaling_config"]
    assert bounds["min_replicas"] == bounds["max_replicas"]


@pytest.mark.parametrize("name", groups())
def test_its_pods_run_our_images_without_rights(name: str) -> None:
    group = groups()[name]
    spec, one = group.template["spec"], container(group)
    image, _, tag = one["image"].partition(":")
    version, _, stage = tag.rpartition("-")
    project = tomllib.loads((REPO / "pyproject.toml").read_text())["project"]
    assert (image, version) == ("hctdmg", project["version"])
    assert stage == ("gpu" if name == "gpu" else "cpu")
    assert stage in stages()
    user = dict(stages()["runtime"])["USER"].split(":")
    assert spec["securityContext"]["runAsNonRoot"] is True
    assert [str(spec["securityContext"][key]) for key in ("runAsUser", "runAsGroup")] == user
    assert one["securityContext"] == {"allowPrivilegeEscalation": False, "capabilities": {"drop": ["ALL"]}}
    assert one["resources"]["limits"]["memory"] == one["resources"]["requests"]["memory"]


def test_a_pod_waits_for_the_drain(tmp_path: Any) -> None:
    needed_s = config(tmp_path).settings.flow.drain_timeout_s + SHUTDOWN_MARGIN_S
    for group in groups().values():
        assert group.template["spec"]["terminationGracePeriodSeconds"] > needed_s


def test_the_image_has_the_ray_that_it_says() -> None:
    pinned = dict(
        line.split("==") for line in (REPO / "constraints.txt").read_text().splitlines() if "==" in line
    )
    assert manifest().spec.rayClusterConfig.rayVersion == pinned["ray"]


@pytest.mark.parametrize("group", worker_groups(), ids=lambda group: group.groupName)
def test_readiness_does_not_ask_the_proxy_that_there_is_not(group: Group) -> None:
    """KubeRay's own probe does; one that is given takes its place."""
    for probe in ("readinessProbe", "livenessProbe"):
        python, flag, code = container(group)[probe]["exec"]["command"]
        assert (python, flag) == ("python", "-c")
        compile(code, probe, "exec")
        assert "52365/api/local_raylet_healthz" in code
