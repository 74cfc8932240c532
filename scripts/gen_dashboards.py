"""Writes the Grafana dashboards, deploy/grafana/*.json, from the table below, and what the Helm chart has of deploy/.

    python scripts/gen_dashboards.py            write
    python scripts/gen_dashboards.py --check    fail if the committed files differ from what the table says

Metrics are those of docs/telemetry.md, and of engines' own pages (`sglang:…`); a test holds every query against them.

A chart can only read files below its own folder: it has the dashboards and alerts.yaml as copies. Links would do, but
not every way of copying a checkout keeps them.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

DEPLOY = Path(__file__).resolve().parent.parent / "deploy"
CHART_FILES = DEPLOY / "helm" / "llmsched" / "files"
APP = "llmsched_application"
#: Gauges of a standby mean nothing.
LED = "and on (instance) llmsched_scheduler_leader == 1"


@dataclass(frozen=True)
class Panel:
    """A chart; `queries` are pairs of a query and the legend of its lines."""

    title: str
    queries: tuple[tuple[str, str], ...]
    unit: str = "short"
    about: str = ""


def one(title: str, query: str, legend: str = "", unit: str = "short", about: str = "") -> Panel:
    return Panel(title, ((query, legend),), unit, about)


def quantiles(title: str, metric: str, by: str = "", about: str = "") -> Panel:
    """Median and 95th percentile of a histogram of seconds, with lines for each value of the label."""
    group, legend = (f"le, {by}", f"{{{{{by}}}}} ") if by else ("le", "")
    rate = f"sum by ({group}) (rate({metric}_bucket[$__rate_interval]))"
    lines = tuple((f"histogram_quantile({q}, {rate})", f"{legend}p{round(q * 100)}") for q in (0.5, 0.95))
    return Panel(title, lines, "s", about)


def rate(metric: str, by: str, where: str = "") -> str:
    return f"sum by ({by}) (rate({metric}{where}[$__rate_interval]))"


OVERVIEW = [
    quantiles("Job completion time", "llmsched_job_completion_time_seconds", APP, "From acceptance to the end."),
    quantiles("Queueing of tasks", "llmsched_task_queue_time_seconds", APP, "From ready to dispatch."),
    Panel(
        "Jobs",
        ((f"llmsched_jobs_active {LED}", "active"), (f"llmsched_scheduler_ready_stages {LED}", "waiting stages")),
    ),
    one(
        "Utilisation of slots",
        f"sum(llmsched_executor_slots_used {LED}) / sum(llmsched_executor_slots {LED})",
        "used",
        "percentunit",
        "Share of the slots of attached executors that run an attempt.",
    ),
    one(
        "Jobs ended",
        rate("llmsched_jobs_ended_total", f"{APP}, llmsched_job_state"),
        "{{llmsched_application}} {{llmsched_job_state}}",
        "ops",
    ),
    one("Jobs accepted", rate("llmsched_jobs_submitted_total", APP), f"{{{{{APP}}}}}", "ops"),
    one(
        "Jobs refused",
        rate("llmsched_jobs_refused_total", "llmsched_failure_reason"),
        "{{llmsched_failure_reason}}",
        "ops",
    ),
    one("Tokens", rate("llmsched_tokens_total", "type"), "{{type}}", "ops", "Of attempts that succeeded."),
]

SCHEDULER = [
    quantiles("Deciding on a batch of events", "llmsched_scheduler_batch_time_seconds"),
    quantiles("Making a batch durable", "llmsched_scheduler_commit_time_seconds"),
    quantiles("Unfolding by the planner", "llmsched_planner_unfold_time_seconds", APP),
    one(
        "Decisions by rule",
        rate("llmsched_scheduler_decisions_total", "llmsched_policy, llmsched_policy_rule"),
        "{{llmsched_policy}} {{llmsched_policy_rule}}",
        "ops",
        "What ranks came from: `policy` is the policy's own key, `ageing` the guard against starving, `explore` a look "
        "for information. Much ageing means that the policy's order hardly counts.",
    ),
    one("Waiting stages", f"llmsched_scheduler_ready_stages {LED}", "waiting"),
    one(
        "Coverage of beliefs",
        "llmsched_profiler_belief_coverage",
        f"{{{{{APP}}}}} {{{{level}}}}",
        "percentunit",
        "At best each line is at its level.",
    ),
    quantiles("Error of beliefs (CRPS)", "llmsched_profiler_belief_crps_seconds", APP),
    one("Drift", "llmsched_profiler_drift", f"{{{{{APP}}}}}", "percentunit", "1: the application has changed."),
    one("Jobs in the newest profile", "llmsched_profiler_profile_jobs", f"{{{{{APP}}}}}"),
    quantiles("Learning a profile", "llmsched_profiler_learn_time_seconds", APP),
]

ENGINES = [
    one("Batch size", "sglang:num_running_reqs", "{{instance}}", about="Requests that the engine decodes together."),
    one("Requests that wait in the engine", "sglang:num_queue_reqs", "{{instance}}"),
    one("Output tokens per second", rate("sglang:generation_tokens_total", "instance"), "{{instance}}", "ops"),
    one("Prompt tokens per second", rate("sglang:prompt_tokens_total", "instance"), "{{instance}}", "ops"),
    one(
        "Step time",
        "sum by (instance) (avg_over_time(sglang:num_running_reqs[$__rate_interval]))"
        " / on (instance) " + rate("sglang:generation_tokens_total", "instance"),
        "{{instance}}",
        "s",
        "Mean seconds of a decode step: requests in the batch over tokens a second.",
    ),
    one("KV cache in use", "sglang:token_usage", "{{instance}}", "percentunit"),
    Panel(
        "Slots",
        (
            (f"llmsched_executor_slots_used {LED}", "{{llmsched_executor}} used"),
            (f"llmsched_executor_slots {LED}", "{{llmsched_executor}} all"),
        ),
        about="No slots: the executor is away.",
    ),
    quantiles("Attempts", "llmsched_attempt_duration_seconds", "llmsched_stage_kind", "From dispatch to the end."),
    quantiles(
        "Attempts as executors see them",
        "llmsched_executor_attempt_time_seconds",
        "llmsched_stage_kind",
        "Without the way from the scheduler and back.",
    ),
]

RELIABILITY = [
    one("Leader", "llmsched_scheduler_leader", "{{instance}}", about="Exactly one is 1."),
    one("Changes of leader", "sum(changes(llmsched_scheduler_leader[15m]))", "in 15 minutes"),
    one("Leading profiler", "llmsched_profiler_leader", "{{instance}}"),
    one("Services that answer", "up", "{{job}} {{instance}}"),
    one("Executors that a scheduler knows", "llmsched_executor_attached", "{{instance}}"),
    one(
        "Outcomes that wait for a scheduler",
        "llmsched_executor_outcomes_waiting",
        "{{instance}}",
        about="Attempts have ended, and no scheduler has stored how: it grows while none leads.",
    ),
    one("Attempts by outcome", rate("llmsched_attempts_ended_total", "outcome"), "{{outcome}}", "ops"),
    one(
        "Attempts lost",
        rate("llmsched_attempts_ended_total", "llmsched_stage_kind", '{outcome="lost"}'),
        "{{llmsched_stage_kind}}",
        "ops",
        "Their executor died or was restarted; they run again, and no try is counted.",
    ),
    one(
        "Attempts failed",
        rate("llmsched_attempts_ended_total", "llmsched_stage_kind", '{outcome="failed"}'),
        "{{llmsched_stage_kind}}",
        "ops",
        "They are tried again as their application says.",
    ),
    one("Observations of the profiler", rate("llmsched_profiler_observations_total", "type"), "{{type}}", "ops"),
    one(
        "Changes of applications",
        f"sum by ({APP}) (increase(llmsched_profiler_drift_alarms_total[1h]))",
        f"{{{{{APP}}}}}",
    ),
]

DASHBOARDS = {"overview": OVERVIEW, "scheduler": SCHEDULER, "engines": ENGINES, "reliability": RELIABILITY}


def dashboard(name: str, panels: list[Panel]) -> dict[str, Any]:
    return {
        "uid": f"llmsched-{name}",
        "title": f"LLMSched {name}",
        "tags": ["llmsched"],
        "schemaVersion": 39,
        "time": {"from": "now-1h", "to": "now"},
        "refresh": "10s",
        "links": [{"type": "dashboards", "tags": ["llmsched"], "title": "LLMSched", "asDropdown": False}],
        "panels": [_panel(place, panel) for place, panel in enumerate(panels)],
    }


def _panel(place: int, panel: Panel) -> dict[str, Any]:
    source = {"type": "prometheus", "uid": "prometheus"}
    return {
        "id": place + 1,
        "type": "timeseries",
        "title": panel.title,
        "description": panel.about,
        "datasource": source,
        "gridPos": {"h": 8, "w": 12, "x": place % 2 * 12, "y": place // 2 * 8},
        "fieldConfig": {"defaults": {"unit": panel.unit, "min": 0}, "overrides": []},
        "targets": [
            {"refId": chr(ord("A") + number), "datasource": source, "expr": query, "legendFormat": legend}
            for number, (query, legend) in enumerate(panel.queries)
        ],
    }


def files() -> Iterator[tuple[Path, str]]:
    for name, panels in DASHBOARDS.items():
        text = json.dumps(dashboard(name, panels), indent=1) + "\n"
        for folder in (DEPLOY / "grafana", CHART_FILES / "dashboards"):
            yield folder / f"{name}.json", text
    yield CHART_FILES / "alerts.yaml", (DEPLOY / "prometheus" / "alerts.yaml").read_text()


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--check", action="store_true")
    check, wrong = parser.parse_args().check, 0
    for path, text in files():
        if not check:
            path.write_text(text)
        elif not path.exists() or path.read_text() != text:
            name = path.relative_to(DEPLOY.parent)
            print(f"{name} is not what scripts/gen_dashboards.py says: run it", file=sys.stderr)
            wrong = 1
    return wrong


if __name__ == "__main__":
    sys.exit(main())
