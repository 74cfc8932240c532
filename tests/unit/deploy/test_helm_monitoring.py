"""deploy/helm: what it shows to Prometheus, Grafana and the autoscaler names series that services really tell."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import tarfile
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.support.helm import CHART, FOLDER, NAMESPACE, ROOT, Rendered, render, run_helm
from tests.unit.deploy.test_dashboards import ITS_OWN, documented

ALERTS = yaml.safe_load((ROOT / "deploy" / "prometheus" / "alerts.yaml").read_text())["groups"]
DASHBOARDS = {path.name: path.read_text() for path in (ROOT / "deploy" / "grafana").glob("*.json")}
#: What the operator adds to what it scrapes from pods.
FROM_THE_OPERATOR = {"namespace", "pod"}


def groups(rendered: Rendered) -> dict[str, list[dict[str, Any]]]:
    (rules,) = rendered.of("PrometheusRule")
    return {each["name"]: each["rules"] for each in rules["spec"]["groups"]}


def external_metrics(rendered: Rendered) -> list[tuple[dict[str, Any], str, dict[str, str]]]:
    """Who is scaled, by which metric of which series."""
    return [
        (each["spec"]["scaleTargetRef"], metric["name"], metric["selector"]["matchLabels"])
        for each in rendered.of("HorizontalPodAutoscaler")
        for metric in (source["external"]["metric"] for source in each["spec"]["metrics"] if "external" in source)
    ]


def test_the_alerts_are_those_of_the_project() -> None:
    rendered = render(sets=("monitoring.rules.enabled=true",))
    assert groups(rendered) == {each["name"]: each["rules"] for each in ALERTS}


def test_alerts_can_be_left_out_by_name() -> None:
    named = {rule["alert"] for each in ALERTS for rule in each["rules"]}
    left = {rule["alert"] for rule in groups(render("everything"))["llmsched"]}
    assert named - left == {"BeliefsOff"}


def test_the_dashboards_are_those_of_the_project() -> None:
    maps = render(sets=("monitoring.dashboards.enabled=true",)).of("ConfigMap")
    found = {name: text for each in maps for name, text in each["data"].items()}
    assert found == {f"llmsched-{name}": text for name, text in DASHBOARDS.items()}
    assert all(each["metadata"]["labels"]["grafana_dashboard"] == "1" for each in maps)
    assert all(json.loads(text)["panels"] for text in found.values())


def test_a_package_has_the_files_themselves(tmp_path: Path) -> None:
    answer = run_helm("package", CHART, "--destination", tmp_path)
    assert answer.returncode == 0, answer.stderr
    (package,) = tmp_path.glob("*.tgz")
    with tarfile.open(package) as archive:
        members = {each.name.removeprefix("llmsched/"): each for each in archive}
        assert all(each.isfile() for each in members.values())
        alerts = archive.extractfile(members["files/alerts.yaml"])
        assert alerts is not None
        assert yaml.safe_load(alerts.read())["groups"] == ALERTS
    assert {Path(name).name for name in members if "dashboards/" in name} == DASHBOARDS.keys()


def test_every_metric_of_an_autoscaler_is_recorded_and_shown_by_the_adapter() -> None:
    rendered = render("everything")
    adapter = yaml.safe_load((FOLDER / "values" / "prometheus-adapter.yaml").read_text())["rules"]["external"]
    shown: dict[str, list[dict[str, str]]] = {}
    for rule in groups(rendered)["llmsched-autoscaling"]:
        for each in adapter:
            (pattern,) = re.findall(r'__name__=~"([^"]+)"', each["seriesQuery"])
            if re.match(pattern, rule["record"]):
                name = re.sub(each["name"]["matches"], each["name"]["as"].replace("${1}", r"\1"), rule["record"])
                shown.setdefault(name, []).append(rule["labels"])
    scaled = external_metrics(rendered)
    assert {target["name"] for target, _, _ in scaled} == {"rel-llmsched-llm-small", "rel-llmsched-tools"}
    for target, name, wanted in scaled:
        (labels,) = (each for each in shown[name] if wanted.items() <= each.items())
        # The adapter finds series by the namespace of who asks.
        assert labels["namespace"] == NAMESPACE
        assert wanted == {"executors": target["name"]}


def test_what_is_recorded_comes_from_series_that_schedulers_tell() -> None:
    rendered = render("everything")
    series = documented()
    for rule in groups(rendered)["llmsched-autoscaling"]:
        selections = re.findall(r"(\w+)\{([^}]*)\}", rule["expr"])
        assert selections
        for name, matchers in selections:
            assert name in series, f"{name} is not in docs/telemetry.md"
            labels = dict(re.findall(r'(\w+)=~?"([^"]*)"', matchers))
            assert labels.keys() <= series[name] | FROM_THE_OPERATOR | ITS_OWN
            assert labels["namespace"] == NAMESPACE
            assert all(re.fullmatch(labels["pod"], pod) for pod in rendered.workload("scheduler").pods)
            if executors := labels.get("llmsched_executor"):
                component = rule["labels"]["executors"].removeprefix("rel-llmsched-")
                assert all(re.fullmatch(executors, pod) for pod in rendered.workload(component).pods)
                others = [each for each in rendered.workloads() if each.component != component]
                assert not any(re.fullmatch(executors, pod) for each in others for pod in each.pods)


def test_who_is_scaled_has_no_number_of_its_own() -> None:
    rendered = render("everything")
    targets = {each["spec"]["scaleTargetRef"]["name"] for each in rendered.of("HorizontalPodAutoscaler")}
    workloads = {each.name: each for each in rendered.workloads()}
    assert targets <= workloads.keys()
    for name, workload in workloads.items():
        if workload.object["kind"] != "Pod":
            assert ("replicas" in workload.object["spec"]) is (name not in targets)


def test_prometheus_finds_services_by_kind_executors_and_engines() -> None:
    """The label `job` is as in deploy/prometheus/prometheus.yaml, which alerts and dashboards go by."""
    rendered = render("everything")
    scraped: dict[str, set[str]] = {}
    for monitor in rendered.of("PodMonitor"):
        spec = monitor["spec"]
        (endpoint,) = spec["podMetricsEndpoints"]
        (expression,) = spec["selector"]["matchExpressions"]
        relabelled = {each["targetLabel"]: each for each in endpoint["relabelings"]}
        assert relabelled["instance"]["sourceLabels"] == ["__meta_kubernetes_pod_name"]
        for workload in rendered.workloads():
            if workload.labels.get(expression["key"]) in expression["values"]:
                assert spec["selector"]["matchLabels"].items() <= workload.labels.items()
                ports = {port["name"] for each in workload.containers for port in each.get("ports", ())}
                assert endpoint["port"] in ports
                job = relabelled["job"]["replacement"] if "job" in relabelled else workload.labels[spec["jobLabel"]]
                scraped.setdefault(job, set()).add(workload.component)
    executors = {"llm-small", "llm-large", "llm-hosted", "tools"}
    services = {name: {name} for name in ("planner", "profiler", "scheduler")}
    assert scraped == {**services, "executor": executors, "engine": {"llm-small", "llm-large"}}
    configuration = yaml.safe_load((ROOT / "deploy" / "prometheus" / "prometheus.yaml").read_text())
    assert scraped.keys() == {each["job_name"] for each in configuration["scrape_configs"]}


#: What the leader tells of llm-small's one executor, and what is recorded of that; a standby's gauges mean nothing.
RECORDED = [
    pytest.param({"ready": 7, "slots": 8, "used": 8}, {"waiting": 7, "busy": 1}, id="full"),
    pytest.param({"ready": 7, "slots": 8, "used": 6}, {"waiting": 0, "busy": 0.75}, id="it waits for others"),
    pytest.param({"ready": 0, "slots": 8, "used": 2}, {"waiting": 0, "busy": 0.25}, id="idle"),
]


@pytest.mark.parametrize(("told", "expected"), RECORDED)
def test_a_queue_counts_only_for_executors_that_are_full(
    told: dict[str, int], expected: dict[str, float], tmp_path: Path
) -> None:
    promtool = shutil.which("promtool")
    if promtool is None:
        pytest.skip("no promtool on this machine (Debian's package prometheus has it)")
    rules = tmp_path / "rules.yaml"
    recorded = groups(render("everything"))["llmsched-autoscaling"]
    rules.write_text(yaml.safe_dump({"groups": [{"name": "x", "rules": recorded}]}))

    def series(name: str, scheduler: int, value: int, more: str = "") -> dict[str, str]:
        pod = f'namespace="{NAMESPACE}",pod="rel-llmsched-scheduler-{scheduler}",instance="10.0.0.{scheduler}:9464"'
        return {"series": f"{name}{{{pod}{more}}}", "values": f"{value}x10"}

    executor = ',llmsched_executor="rel-llmsched-llm-small-0"'
    given = [
        *(series("llmsched_scheduler_leader", each, 1 - each) for each in (0, 1)),
        *(series("llmsched_scheduler_ready_stages", each, told["ready"] + 90 * each) for each in (0, 1)),
        *(series("llmsched_executor_slots", each, told["slots"] + 90 * each, executor) for each in (0, 1)),
        *(series("llmsched_executor_slots_used", each, told["used"] + 90 * each, executor) for each in (0, 1)),
    ]
    labels = f'{{executors="rel-llmsched-llm-small",namespace="{NAMESPACE}"}}'
    asked = [
        {"expr": name + labels, "eval_time": "5m", "exp_samples": [{"labels": name + labels, "value": value}]}
        for name, value in (("llmsched:waiting_stages", expected["waiting"]), ("llmsched:busy_share", expected["busy"]))
    ]
    test = tmp_path / "test.yaml"
    case = {"interval": "1m", "input_series": given, "promql_expr_test": asked}
    test.write_text(yaml.safe_dump({"rule_files": [str(rules)], "tests": [case]}))
    answer = subprocess.run([promtool, "test", "rules", str(test)], capture_output=True, text=True, check=False)
    assert answer.returncode == 0, answer.stdout + answer.stderr
