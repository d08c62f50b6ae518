"""Alert rules and dashboard: promtool reads and tries them, and they use nothing but documented metrics."""

import json
import re
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.conftest import REPO, skip_or_fail
from workers.metrics import COMMON_LABELS, METRICS, PREFIX, RAYS_OWN, Metric

ALERTS = REPO / "deploy" / "prometheus" / "alerts.yaml"
ALERTS_TEST = REPO / "deploy" / "prometheus" / "alerts_test.yaml"
DASHBOARD = REPO / "deploy" / "grafana" / "hctdmg.json"
OPERATIONS = REPO / "docs" / "operations.md"

WORDS = {
    "absent", "and", "by", "deriv", "histogram_quantile", "increase", "label_values", "max", "min", "rate", "sum",
}  # fmt: skip
"""What PromQL gives that the expressions use."""
RAYS_LABELS = {"WorkerId", "NodeAddress", "SessionName"}


def series() -> dict[str, set[str]]:
    """Every series that may be used, and its labels. Sums of histograms may not: Ray makes them up."""
    common = {label.name for label in COMMON_LABELS}
    ours = [(metric, common) for metric in METRICS]
    rays: list[tuple[Metric, set[str]]] = [(metric, set()) for metric in RAYS_OWN]
    found: dict[str, set[str]] = {}
    for metric, others in [*ours, *rays]:
        labels = {label.name for label in metric.labels} | others | RAYS_LABELS
        name = PREFIX + metric.name
        if metric.kind == "histogram":
            found |= {f"{name}_bucket": labels | {"le"}, f"{name}_count": labels}
        else:
            found[name] = labels
    return found


def alerts() -> list[dict[str, Any]]:
    return [rule for group in yaml.safe_load(ALERTS.read_text())["groups"] for rule in group["rules"]]


def panels() -> Iterator[tuple[str, str]]:
    """Title and expression of everything that the dashboard asks for."""
    dashboard = json.loads(DASHBOARD.read_text())
    for variable in dashboard["templating"]["list"]:
        if variable["type"] == "query":
            yield variable["name"], variable["definition"]
    for panel in dashboard["panels"]:
        for target in panel.get("targets", ()):
            yield panel["title"], target["expr"]


def complaints(expression: str) -> list[str]:
    """What an expression uses that no metric has."""
    known = series()
    bare = re.sub(r'"[^"]*"', '""', expression)
    used = set(re.findall(r"\bray_\w+", bare))
    found = [f"no metric {name}" for name in used - set(known)]
    for name, matchers in re.findall(r"\b(ray_\w+)\{([^}]*)\}", bare):
        found += [
            f"{name} has no {label}"
            for label in re.findall(r"(\w+)\s*(?:=~|!~|!=|=)", matchers)
            if label not in known.get(name, ())
        ]
    grouped = {
        label.strip() for labels in re.findall(r"\bby\s*\(([^)]*)\)", bare) for label in labels.split(",")
    }
    found += [
        f"{name} has no {label}" for name in used for label in grouped if label not in known.get(name, ())
    ]
    rest = re.sub(r"\{[^}]*\}|\[[^]]*\]|\bby\s*\([^)]*\)|\blabel_values\([^)]*\)", " ", bare)
    words = set(re.findall(r"[A-Za-z_]\w*", rest)) - used - WORDS
    return found + [f"what is {word}?" for word in words]


EXPRESSIONS = [*((rule["alert"], rule["expr"]) for rule in alerts()), *panels()]


@pytest.mark.parametrize(("where", "expression"), EXPRESSIONS, ids=[where for where, _ in EXPRESSIONS])
def test_expressions_use_documented_metrics_and_their_labels(where: str, expression: str) -> None:
    assert complaints(expression) == [], where
    assert "ray_" in expression


@pytest.mark.parametrize(
    "wrong",
    [
        "ray_hctdmg_lag",
        "ray_hctdmg_stage_seconds_sum",
        'ray_hctdmg_lag_segments{stage="decode"}',
        "sum by (partition) (ray_hctdmg_events_total)",
        "summe(ray_hctdmg_events_total)",
    ],
)
def test_a_wrong_expression_is_found(wrong: str) -> None:
    assert complaints(wrong)


def test_every_metric_of_ours_is_on_the_dashboard() -> None:
    text = " ".join(expression for _, expression in panels())
    assert [metric.name for metric in METRICS if PREFIX + metric.name not in text] == []


def test_each_alert_has_its_entry_in_the_runbook_and_the_other_way_round() -> None:
    _, runbook = OPERATIONS.read_text().split("\n## Runbook\n")
    entries = dict(re.findall(r"^### (Hctdmg\w+)\n(.*?)(?=^##|\Z)", runbook, re.MULTILINE | re.DOTALL))
    assert set(entries) == {rule["alert"] for rule in alerts()}
    for rule in alerts():
        file, anchor = rule["annotations"]["runbook_url"].split("#")
        assert REPO / file == OPERATIONS
        assert anchor == rule["alert"].lower()  # as Markdown makes an anchor of a heading
        for part in ("**Means** ", "**Look at** ", "**Do** "):
            assert part in entries[rule["alert"]]


def test_each_alert_is_tried() -> None:
    fired = {
        check["alertname"]
        for test in yaml.safe_load(ALERTS_TEST.read_text())["tests"]
        for check in test["alert_rule_test"]
        if check["exp_alerts"]
    }
    assert fired == {rule["alert"] for rule in alerts()}


@pytest.fixture(scope="module")
def promtool() -> str:
    """Prometheus' own checker."""
    found = shutil.which("promtool")
    if found is None:
        skip_or_fail("no promtool on the PATH: it comes with Prometheus (Debian: apt-get install prometheus)")
    assert found is not None
    return found


def told(*command: str | Path) -> str:
    finished = subprocess.run(command, capture_output=True, text=True, check=False, timeout=60)
    assert finished.returncode == 0, finished.stdout + finished.stderr
    return finished.stdout


def test_promtool_reads_the_rules_and_each_fires_when_it_should(promtool: str) -> None:
    assert f"{len(alerts())} rules found" in told(promtool, "check", "rules", ALERTS)
    assert "SUCCESS" in told(promtool, "test", "rules", ALERTS_TEST)


def test_promtool_reads_the_dashboard_s_expressions(promtool: str, tmp_path: Path) -> None:
    expressions = [one.replace("$__rate_interval", "5m") for _, one in panels() if "label_values" not in one]
    rules = [{"record": f"panel:{number}", "expr": one} for number, one in enumerate(expressions)]
    path = tmp_path / "rules.yaml"
    path.write_text(yaml.safe_dump({"groups": [{"name": "dashboard", "rules": rules}]}))
    assert f"{len(rules)} rules found" in told(promtool, "check", "rules", path)
