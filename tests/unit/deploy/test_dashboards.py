"""deploy/grafana and alerts ask only for what services and engines tell; the dashboards are as they were generated."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from tests.support.telemetry_page import quoted, table

ROOT = Path(__file__).parents[3]
DASHBOARDS = sorted((ROOT / "deploy" / "grafana").glob("*.json"))
ALERTS = ROOT / "deploy" / "prometheus" / "alerts.yaml"
#: Those of the engine simulator; SGLang has the same.
ENGINE = set(
    re.findall(r'"(?:gauge|counter)", "(\w+)"', (ROOT / "services/executors/engine_sim/server.py").read_text())
)
#: What Prometheus adds itself.
ITS_OWN = {"instance", "job", "le"}


def documented() -> dict[str, set[str]]:
    """Series of services, with their labels."""
    series = {}
    for row in table("metric"):
        (name,) = quoted(row["in Prometheus"])
        labels = {label.replace(".", "_") for label in quoted(row["labels"])}
        if row["kind"].startswith("histogram"):
            series |= {f"{name}_{part}": labels for part in ("bucket", "count", "sum")}
        else:
            series[name] = labels
    return series


def queries() -> list[object]:
    found = []
    for path in DASHBOARDS:
        for panel in json.loads(path.read_text())["panels"]:
            found += [pytest.param(each["expr"], id=f"{path.stem}: {panel['title']}") for each in panel["targets"]]
    for group in yaml.safe_load(ALERTS.read_text())["groups"]:
        found += [pytest.param(rule["expr"], id=rule["alert"]) for rule in group["rules"]]
    return found


@pytest.mark.parametrize("query", queries())
def test_queries_name_what_is_told(query: str) -> None:
    series = documented()
    named = set(re.findall(r"\bllmsched_[a-z_]+\b", query))
    labels = {label for each in series.values() for label in each}
    metrics = {name for name in named if name in series}
    assert named - metrics <= labels, "neither a metric nor a label of docs/telemetry.md"
    assert set(re.findall(r"sglang:(\w+)", query)) <= ENGINE
    # What series are grouped by, all of them have.
    own = [labels_of | ITS_OWN for name, labels_of in series.items() if name in metrics]
    for group in re.findall(r"\bby \(([^)]*)\)", query):
        for label in filter(None, map(str.strip, group.split(","))):
            assert label in ITS_OWN or all(label in each for each in own)


def test_the_dashboards_are_what_the_script_says() -> None:
    command = [sys.executable, str(ROOT / "scripts" / "gen_dashboards.py"), "--check"]
    assert subprocess.run(command, capture_output=True, text=True, check=False).stderr == ""


def test_every_dashboard_is_there() -> None:
    assert [path.stem for path in DASHBOARDS] == ["engines", "overview", "reliability", "scheduler"]
    assert {"num_running_reqs", "generation_tokens_total"} <= ENGINE
