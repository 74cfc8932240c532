"""deploy/prometheus: every alert fires when it should and only then (promtool decides), and has its runbook."""

from __future__ import annotations

import re
import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import yaml

ROOT = Path(__file__).parents[3]
FOLDER = ROOT / "deploy" / "prometheus"
RULES = {
    rule["alert"]: rule
    for group in yaml.safe_load((FOLDER / "alerts.yaml").read_text())["groups"]
    for rule in group["rules"]
}
LEADER = 'llmsched_scheduler_leader{instance="a"}'
STANDBY = 'llmsched_scheduler_leader{instance="b"}'
LEADS = {LEADER: "1x120", STANDBY: "0x120"}
ENDED = 'llmsched_jobs_ended_total{llmsched_application="x",llmsched_job_state="%s"}'
ATTEMPTS = 'llmsched_attempts_ended_total{outcome="%s"}'
COMMITS = 'llmsched_scheduler_commit_time_seconds_bucket{le="%s"}'
DECISIONS = 'llmsched_scheduler_decisions_total{instance="a"}'
WAITING = {**LEADS, 'llmsched_scheduler_ready_stages{instance="a"}': "3x120"}
SLOTS = 'llmsched_executor_slots{instance="%s",llmsched_executor="e"}'
REFUSED = 'llmsched_jobs_refused_total{llmsched_failure_reason="%s"}'
DRIFT = 'llmsched_profiler_drift{llmsched_application="x"}'
COVERAGE = 'llmsched_profiler_belief_coverage{llmsched_application="x",level="%s"}'


@dataclass(frozen=True)
class Case:
    """Series, one value a minute in promtool's notation, and whether the alert fires at this minute."""

    alert: str
    fires: bool
    series: dict[str, str]
    minute: int = 30


CASES = [
    Case("ServiceDown", True, {'up{job="planner",instance="p"}': "1x9 0x20"}),
    Case("ServiceDown", False, {'up{job="planner",instance="p"}': "1x29 0x5"}),  # not yet for a minute
    Case("ServiceDown", False, {'up{job="engine",instance="e"}': "0x30"}),
    Case("NoLeader", True, {LEADER: "1x9 0x30", STANDBY: "0x40"}),
    Case("NoLeader", True, {}),  # no scheduler at all
    Case("NoLeader", False, LEADS),
    Case("NoLeader", False, {LEADER: "1x9 0x30", STANDBY: "0x9 1x30"}),  # the standby took over
    Case("LeaderChangesOften", True, {LEADER: "1 0 1 0 1 0 1 0 1 0 1 0 1 0 1", STANDBY: "0x40"}, minute=14),
    Case("LeaderChangesOften", False, {LEADER: "1x9 0x30", STANDBY: "0x9 1x30"}, minute=14),  # one change
    Case("ExecutorAway", True, {**LEADS, SLOTS % "a": "8x9 0x30"}),
    Case("ExecutorAway", False, {**LEADS, SLOTS % "a": "8x40"}),
    Case("ExecutorAway", False, {**LEADS, SLOTS % "a": "8x9 stale"}),  # it was taken out on purpose
    Case("ExecutorAway", False, {**LEADS, SLOTS % "a": "8x40", SLOTS % "b": "0x40"}),  # a standby's gauge
    Case("QueueStuck", True, {**WAITING, DECISIONS: "50x40"}),
    Case("QueueStuck", True, WAITING),  # nothing was ever dispatched
    Case("QueueStuck", False, {**WAITING, DECISIONS: "0+5x40"}),
    Case("QueueStuck", False, {**LEADS, 'llmsched_scheduler_ready_stages{instance="a"}': "0x40", DECISIONS: "9x40"}),
    Case("JobsFail", True, {ENDED % "FAILED": "0+1x40", ENDED % "SUCCEEDED": "0+4x40"}),
    Case("JobsFail", False, {ENDED % "FAILED": "0+1x40", ENDED % "SUCCEEDED": "0+20x40"}),
    Case("JobsFail", False, {ENDED % "FAILED": "0x20 1x20", ENDED % "SUCCEEDED": "0x20 1x20"}),  # two jobs only
    Case("AttemptsLost", True, {ATTEMPTS % "lost": "0+1x40", ATTEMPTS % "succeeded": "0+9x40"}),
    Case("AttemptsLost", False, {ATTEMPTS % "lost": "0+1x40", ATTEMPTS % "succeeded": "0+99x40"}),
    Case("AttemptsLost", False, {ATTEMPTS % "failed": "0+9x40", ATTEMPTS % "succeeded": "0+9x40"}),
    Case("JobsRefused", True, {REFUSED % "QUEUE_FULL": "0+1x40"}),
    Case("JobsRefused", False, {REFUSED % "QUEUE_FULL": "7x40"}),
    Case("JobsRefused", False, {REFUSED % "INVALID_INPUT": "0+1x40"}),  # the caller's mistake
    Case("SlowCommits", True, {COMMITS % "0.25": "0+1x40", COMMITS % "0.5": "0+9x40", COMMITS % "+Inf": "0+9x40"}),
    Case("SlowCommits", False, {COMMITS % "0.1": "0+9x40", COMMITS % "0.5": "0+9x40", COMMITS % "+Inf": "0+9x40"}),
    Case("ApplicationChanged", True, {DRIFT: "0.4x9 1x110"}, minute=100),
    Case("ApplicationChanged", False, {DRIFT: "0.4x9 1x30 0x80"}, minute=100),  # it was learned anew
    Case("BeliefsOff", True, {COVERAGE % "0.8": "0.3x120"}, minute=100),
    Case("BeliefsOff", False, {COVERAGE % "0.8": "0.75x120"}, minute=100),
    Case("BeliefsOff", False, {COVERAGE % "0.5": "0.3x120"}, minute=100),  # another level
]


@pytest.fixture
def promtool() -> str:
    found = shutil.which("promtool")
    if found is None:
        pytest.skip("no promtool on this machine (Debian's package prometheus has it)")
    return found


def as_test(case: Case) -> dict[str, Any]:
    firing = f'count(ALERTS{{alertname="{case.alert}",alertstate="firing"}})'
    return {
        "interval": "1m",
        "input_series": [{"series": name, "values": values} for name, values in case.series.items()],
        "promql_expr_test": [
            {
                "expr": firing,
                "eval_time": f"{case.minute}m",
                "exp_samples": [{"labels": "{}", "value": 1}] if case.fires else [],
            }
        ],
    }


def verdict(promtool: str, folder: Path, cases: list[Case]) -> subprocess.CompletedProcess[str]:
    tests = {"rule_files": [str(FOLDER / "alerts.yaml")], "evaluation_interval": "15s"}
    file = folder / "tests.yaml"
    file.write_text(yaml.safe_dump({**tests, "tests": [as_test(case) for case in cases]}))
    return subprocess.run([promtool, "test", "rules", str(file)], capture_output=True, text=True, check=False)


def test_alerts_fire_when_they_should_and_only_then(promtool: str, tmp_path: Path) -> None:
    answer = verdict(promtool, tmp_path, CASES)
    assert answer.returncode == 0, answer.stderr + answer.stdout


def test_a_wrong_expectation_is_noticed(promtool: str, tmp_path: Path) -> None:
    assert verdict(promtool, tmp_path, [Case("ServiceDown", True, {'up{job="planner"}': "1x40"})]).returncode != 0


def test_prometheus_takes_the_configuration(promtool: str) -> None:
    command = [promtool, "check", "config", str(FOLDER / "prometheus.yaml")]
    answer = subprocess.run(command, capture_output=True, text=True, check=False)
    assert answer.returncode == 0, answer.stderr + answer.stdout


def test_every_alert_has_a_case_of_each_kind() -> None:
    assert {(case.alert, case.fires) for case in CASES} == {(name, fires) for name in RULES for fires in (True, False)}


@pytest.mark.parametrize("name", RULES)
def test_every_alert_has_its_runbook(name: str) -> None:
    page, _, anchor = RULES[name]["annotations"]["runbook_url"].partition("#")
    assert anchor == name.lower()
    headings = re.findall(r"^### (\w+)$", (ROOT / page).read_text(), re.MULTILINE)
    assert headings.count(name) == 1
