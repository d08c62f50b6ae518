"""What pages name exists, and their tables are what the committed results and the code say."""

import json
import re
from pathlib import Path
from types import ModuleType

import pytest
import yaml
from ray.serve.schema import ServeDeploySchema

from tests.bench import benchmark_page, capacity_page, delivery_page, model_speed, peers, science_page
from tests.bench.blocks import DOCS
from workers.config_file import SHIPPED
from workers.scaling import Rules

REPO = Path(__file__).parent.parent
PAGE = delivery_page.PAGE.read_text()


@pytest.mark.parametrize("path", sorted(set(re.findall(r"\b(?:workers|pipelines|tests)/[\w/]+\.py", PAGE))))
def test_a_file_that_the_delivery_page_names_exists(path: str) -> None:
    assert (REPO / path).is_file()


@pytest.mark.parametrize("name", sorted(set(re.findall(r"`(test_\w+)`", PAGE))))
def test_a_test_that_the_delivery_page_names_exists(name: str) -> None:
    assert any(f"def {name}(" in path.read_text() for path in (REPO / "tests").rglob("test_*.py"))


@pytest.mark.parametrize("page", [benchmark_page, delivery_page, capacity_page, model_speed, science_page])
def test_tables_are_what_the_results_say(page: ModuleType, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sys.argv", ["page", "--check"])
    assert page.main() == 0


OPERATIONS = (DOCS / "operations.md").read_text()
AUTOSCALING = re.search(r"^### Autoscaling\n(.*?)^### ", OPERATIONS, re.MULTILINE | re.DOTALL)


def test_the_autoscaling_s_table_has_its_rules_and_their_defaults() -> None:
    assert AUTOSCALING is not None
    rows = re.findall(r"^\| `(\w+)` \| ([\d.]+) \|", AUTOSCALING[1], re.MULTILINE)
    assert {name: float(default) for name, default in rows} == Rules().model_dump()


def test_the_autoscaling_s_snippets_are_a_config_that_serve_takes() -> None:
    assert AUTOSCALING is not None
    policy, deployments = (
        yaml.safe_load(one) for one in re.findall(r"```yaml\n(.*?)```", AUTOSCALING[1], re.DOTALL)
    )
    document = yaml.safe_load(SHIPPED.read_text())
    (application,) = document["applications"]
    options = {one["name"]: one for one in application["deployments"]}
    for one in deployments:
        del options[one["name"]]["num_replicas"]
        options[one["name"]] |= one
    application |= policy
    ServeDeploySchema.model_validate(document)
    Rules(**application["autoscaling_policy"]["policy_kwargs"])


def test_every_picture_that_the_science_page_shows_is_there() -> None:
    pictures = re.findall(r"!\[[^]]*\]\(([^)]+)\)", science_page.PAGE.read_text())
    assert not [name for name in pictures if not (science_page.PAGE.parent / name).is_file()]


def test_the_page_of_peers_shows_what_was_measured_and_claims_nothing_else() -> None:
    _, _, rest = peers.PAGE.read_text().partition(f"{peers.BEGIN}\n")
    shown, end, _ = rest.partition(peers.END)
    assert end
    results = peers.RESULTS
    assert shown == (peers.as_table(json.loads(results.read_text())) if results.exists() else peers.NOT_RUN)
