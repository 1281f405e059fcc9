"""The chart's alerts: judged by promtool, on metrics that exist, each with a paragraph that says what to do."""

import re
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml

from axon_operator.process import metrics
from axon_testbed.layout import REPOSITORY
from unit.packaging.conftest import Helm, Manifest, documents, one

CASES = Path(__file__).with_name("alerts.test.yaml")


@pytest.fixture(scope="module")
def rules(helm: Helm) -> Manifest:
    """The rule file, as the PrometheusRule of the rendered chart has it."""
    done = helm("--set", "monitoring.prometheusRule.enabled=true")
    assert done.returncode == 0, done.stderr
    spec: Manifest = one(documents(done.stdout), "PrometheusRule", "axon-operator")["spec"]
    return spec


def _alerts(rules: Manifest) -> list[dict[str, Any]]:
    return [rule for group in rules["groups"] for rule in group["rules"]]


def test_promtool_accepts_the_rules_and_each_alert_fires_when_it_should(
    rules: Manifest, promtool: str, tmp_path: Path
) -> None:
    file = tmp_path / "rules.yaml"
    file.write_text(yaml.safe_dump(rules))
    cases = shutil.copy(CASES, tmp_path)
    for arguments in (["check", "rules", "--lint=all", "--lint-fatal", str(file)], ["test", "rules", str(cases)]):
        done = subprocess.run([promtool, *arguments], capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stdout + done.stderr


def test_each_alert_is_tried_both_ways(rules: Manifest) -> None:
    tried = [case for test in yaml.safe_load(CASES.read_text())["tests"] for case in test["alert_rule_test"]]
    fires = {case["alertname"] for case in tried if case.get("exp_alerts")}
    silent = {case["alertname"] for case in tried if not case.get("exp_alerts")}
    names = {alert["alert"] for alert in _alerts(rules)}
    assert fires == names
    assert silent == names


def test_alerts_look_at_metrics_that_exist(rules: Manifest) -> None:
    exported = {sample.name for family in metrics.REGISTRY.collect() for sample in family.samples}
    exported |= {family.name for family in metrics.REGISTRY.collect()}
    exported |= {f"{family.name}_total" for family in metrics.REGISTRY.collect() if family.type == "counter"}
    used = {name for alert in _alerts(rules) for name in re.findall(r"axon_operator_\w+", alert["expr"])}
    assert used <= exported


def test_each_alert_says_what_it_means_and_where_to_read_what_to_do(rules: Manifest) -> None:
    page = (REPOSITORY / "docs" / "operations.md").read_text(encoding="utf-8")
    anchors = {
        re.sub(r"[^\w\- ]", "", title).lower().replace(" ", "-") for title in re.findall(r"^#+ (.+)$", page, re.M)
    }
    for alert in _alerts(rules):
        assert alert["labels"]["severity"] in {"critical", "warning"}
        notes = alert["annotations"]
        assert notes["summary"]
        assert notes["description"].endswith(".")
        base, _, anchor = notes["runbook_url"].partition("#")
        assert base == "docs/operations.md"
        assert anchor in anchors, alert["alert"]


def test_runbooks_and_labels_are_yours(helm: Helm) -> None:
    settings = (
        "monitoring.prometheusRule.enabled=true,monitoring.podMonitor.enabled=true",
        "monitoring.prometheusRule.labels.release=mine,monitoring.podMonitor.labels.release=mine",
        "monitoring.prometheusRule.runbooks=https://docs.example/operations",
    )
    manifests = documents(helm(*(part for setting in settings for part in ("--set", setting))).stdout)
    rule = one(manifests, "PrometheusRule", "axon-operator")
    monitor = one(manifests, "PodMonitor", "axon-operator")
    assert rule["metadata"]["labels"]["release"] == monitor["metadata"]["labels"]["release"] == "mine"
    for alert in _alerts(rule["spec"]):
        assert alert["annotations"]["runbook_url"] == f"https://docs.example/operations#{alert['alert'].lower()}"


def test_the_monitor_finds_the_pods_port(helm: Helm, chart: list[Manifest]) -> None:
    manifests = documents(helm("--set", "monitoring.podMonitor.enabled=true").stdout)
    monitor = one(manifests, "PodMonitor", "axon-operator")["spec"]
    template = one(chart, "Deployment", "axon-operator")["spec"]["template"]
    assert monitor["selector"]["matchLabels"].items() <= template["metadata"]["labels"].items()
    (endpoint,) = monitor["podMetricsEndpoints"]
    assert endpoint["port"] in {port["name"] for c in template["spec"]["containers"] for port in c["ports"]}
    assert endpoint["path"] == "/metrics"


def test_nothing_of_it_is_there_unless_asked_for(chart: list[Manifest]) -> None:
    assert not {m["kind"] for m in chart} & {"PrometheusRule", "PodMonitor", "ServiceMonitor"}
