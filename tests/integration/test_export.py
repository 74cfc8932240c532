"""`llmsched jobs export`, from log files to files that `llmsched simulate` takes."""

from __future__ import annotations

import json
import re
from dataclasses import replace
from itertools import islice
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from llmsched.cli.main import cli
from services.profiler.core.statistics import WorkModel
from services.profiler.core.trace import TraceJob, TraceStage, TraceTask, read_history, read_workload
from services.scheduler.core import PolicySettings, SchedulerMachine
from services.scheduler.core.model import JobState
from services.scheduler.event_log import EventLog
from simulator.cluster import Cluster, ClusterShape
from simulator.engine import Simulation
from simulator.workload import Workload

SHAPE = ClusterShape(llm_executors=2, max_batch=3, tool_slots=2, batch_slowdown=0.08)
WORK = WorkModel(prefill=0.0003, decode=0.02)


def invoke(*args: object) -> Result:
    return CliRunner().invoke(cli, [str(each) for each in args], prog_name="llmsched", catch_exceptions=False)


def log_of(jobs: list[TraceJob], path: Path, policy: PolicySettings) -> Path:
    """The event log of a leader to whom all this happened in virtual time."""
    workload = Workload(jobs, WORK)
    cluster = Cluster(SHAPE, workload.load)
    machine = SchedulerMachine(policy)
    simulation = Simulation(machine, workload, cluster, arrivals=workload.arrivals(), record=True)
    simulation.schedule(cluster.executors())
    simulation.run()
    log = EventLog(str(path))
    log.begin(1, policy)
    for record in simulation.records:
        log.handled(record.events, record.effects, 0.0)
    log.close()
    return path


def job(number: int, *stages: TraceStage, app: str) -> TraceJob:
    return TraceJob(
        app=app, job_id=f"{app}-{number}", structure="generated", stages=stages, arrival_seconds=2.0 * number
    )


def llm(name: str, *parents: str, width: int = 1, output: int = 50, **more: str) -> TraceStage:
    tasks = tuple(TraceTask(prompt_tokens=200 + 90 * place, output_tokens=output) for place in range(width))
    return TraceStage(**{"id": name, "name": name, "kind": "llm", "parents": parents, "tasks": tasks, **more})  # type: ignore[arg-type]


def tool(name: str, *parents: str, **more: str) -> TraceStage:
    tasks = (TraceTask(seconds=0.5),)
    return TraceStage(**{"id": name, "name": name, "kind": "tool", "parents": parents, "tasks": tasks, **more})  # type: ignore[arg-type]


def some_jobs() -> list[TraceJob]:
    """Wide, planned and chained, with a stage that is known at arrival and comes after generated ones."""
    return [
        job(
            number,
            llm("plan", kind="plan", output=30 + number),
            tool("left", "plan", generated_by="plan"),
            llm("right", "plan", width=1 + number % 4, generated_by="plan"),
            llm("nothing", "right", width=0, generated_by="plan", width_by="right"),
            tool("end", "left", "nothing"),
            app="planned" if number % 2 else "other",
        )
        for number in range(12)
    ]


def recorded_jobs(folder: Path) -> list[TraceJob]:
    """A few jobs of each application, with a second for each tool whose time is not known."""
    files = sorted(folder.glob("*.jsonl"))
    assert files
    found = []
    for file in files:
        with file.open() as lines:
            found += list(islice(read_history(lines, file.name), 6))

    def known(stage: TraceStage) -> TraceStage:
        tasks = [replace(task, seconds=None if stage.is_llm else task.seconds or 1.0) for task in stage.tasks]
        return replace(stage, tasks=tuple(tasks))

    return [
        replace(each, arrival_seconds=float(number), stages=tuple(known(stage) for stage in each.stages))
        for number, each in enumerate(found)
    ]


def check_round_trip(jobs: list[TraceJob], tmp_path: Path, policy: PolicySettings) -> None:
    """What was simulated, logged and exported is what it was, and simulates to the same times."""
    log = log_of(jobs, tmp_path / "events.jsonl", policy)
    out = tmp_path / "out"
    said = json.loads(invoke("jobs", "export", log, "--out", out, "-o", "json").stdout)
    assert said["jobs"] == len(jobs)
    with (out / "workload.jsonl").open() as lines:
        exported = list(read_workload(lines, "workload"))
    assert [each.app for each in exported] == [each.app for each in jobs]
    for before, after in zip(jobs, exported, strict=True):
        assert [(stage.id, stage.name, stage.kind) for stage in after.stages] == [
            (stage.id, stage.name, stage.kind) for stage in before.stages
        ]
        assert [(stage.generated_by, len(stage.tasks)) for stage in after.stages] == [
            (stage.generated_by, len(stage.tasks)) for stage in before.stages
        ]
    options = ("--cluster", out / "cluster.json", "--policy", policy.name, "--json", "-")
    run = json.loads(invoke("simulate", out / "workload.jsonl", *options).stdout)["runs"][0]
    recorded = [each.recorded_jct_seconds or 0.0 for each in exported]
    assert run["mean_jct"] == pytest.approx(sum(recorded) / len(recorded), rel=1e-4)
    assert run["max_jct"] == pytest.approx(max(recorded), rel=1e-3)


@pytest.mark.parametrize("policy", ["fcfs", "fair"])
def test_a_simulated_run_comes_back_from_its_log(policy: str, tmp_path: Path) -> None:
    check_round_trip(some_jobs(), tmp_path, PolicySettings(name=policy))


def test_recorded_jobs_come_back_from_the_log_of_their_simulation(traces: Path, tmp_path: Path) -> None:
    check_round_trip(recorded_jobs(traces / "dev"), tmp_path, PolicySettings(name="fcfs"))


def test_the_cluster_file_says_what_the_log_shows(tmp_path: Path) -> None:
    policy = PolicySettings(name="ps-tcs", application_order=("planned", "other"), ageing_seconds=90.0)
    log = log_of(some_jobs(), tmp_path / "events.jsonl", policy)
    said = invoke("jobs", "export", log, "--out", tmp_path / "out").stdout
    cluster = json.loads((tmp_path / "out" / "cluster.json").read_text())
    assert cluster.pop("about")["fit"]["r_squared"] == pytest.approx(1.0)
    assert cluster == {
        "llm_executors": 2,
        "max_batch": 3,
        "tool_slots": 2,
        "batch_slowdown": pytest.approx(SHAPE.batch_slowdown, abs=1e-4),
        "prefill": pytest.approx(WORK.prefill, rel=1e-3),
        "decode": pytest.approx(WORK.decode, rel=1e-3),
        "policy": "ps-tcs",
        "ageing": 90.0,
        "application_order": ["planned", "other"],
    }
    assert "12 jobs in" in said
    assert "R² 1.0000, half of the times within 0.0%" in said
    assert "under ps-tcs (12 jobs)" in said


def test_another_policy_can_be_asked_with_the_history(tmp_path: Path) -> None:
    out = tmp_path / "out"
    invoke("jobs", "export", log_of(some_jobs(), tmp_path / "log", PolicySettings()), "--out", out)
    files = (out / "workload.jsonl", "--cluster", out / "cluster.json", "--history", out / "history.jsonl")
    result = invoke("simulate", *files, "--policy", "srtf", "--policy", "fcfs", "--json", "-")
    assert [run["jobs"] for run in json.loads(result.stdout)["runs"]] == [12, 12]


@pytest.mark.parametrize(("live", "other"), [("fair", "srtf"), ("srtf", "fcfs")])
def test_the_next_command_names_the_live_policy_and_another_one(live: str, other: str, tmp_path: Path) -> None:
    log = log_of(some_jobs(), tmp_path / "log", PolicySettings())
    log.write_text(log.read_text().replace('"fcfs"', f'"{live}"'))
    said = invoke("jobs", "export", log, "--out", tmp_path / "out").stdout
    assert said.endswith(f" --policy {live} --policy {other}\n")


def test_jobs_are_chosen_on_the_command_line(tmp_path: Path) -> None:
    log = log_of(some_jobs(), tmp_path / "log", PolicySettings())
    out = tmp_path / "out"

    def chosen(*options: str) -> int:
        said = json.loads(invoke("jobs", "export", log, "--out", out, "-o", "json", *options).stdout)
        assert isinstance(said["jobs"], int)
        return said["jobs"]

    # In virtual time the epoch is the beginning; jobs arrive every two seconds.
    assert chosen("--since", "1970-01-01T00:00:04Z", "--until", "1970-01-01T00:00:10") == 3
    assert chosen("--since", "1970-01-01T02:00:20+02:00") == 2
    assert chosen("--application", "planned") == 6
    assert chosen("--application", "planned", "--application", "other") == 12


def test_what_cannot_be_exported_is_refused_with_a_reason(tmp_path: Path) -> None:
    log, out = log_of(some_jobs(), tmp_path / "log", PolicySettings()), tmp_path / "out"
    (tmp_path / "empty").touch()
    (tmp_path / "file").touch()
    (tmp_path / "workload").write_text('{"app": "a", "stages": []}\n')
    (tmp_path / "list").write_text("[1]\n")
    for args, code, text in [
        ((tmp_path / "missing", "--out", out), 2, "does not exist"),
        ((tmp_path / "empty", "--out", out), 4, "is empty"),
        ((log, "--out", tmp_path / "file"), 2, "is a file"),
        ((log, "--out", tmp_path / "file" / "below"), 4, "cannot be written"),
        ((log, "--out", out, "--since", "tuesday"), 2, "'tuesday' is no time such as"),
        ((log, "--out", out, "--since", "2026-01-02", "--until", "2026-01-01"), 2, "must be later than"),
        (
            (log, "--out", out, "--application", "nobody"),
            3,
            "no job that was asked for: its jobs are of other, planned,",
        ),
        ((log, "--out", out, "--since", "2026-01-01"), 3, "arrived from 1970-01-01T00:00:00Z to 1970-01-01T00:00:22Z"),
        (
            (tmp_path / "workload", "--out", out),
            4,
            "is no event log, or one of another version: a line has no 'events'",
        ),
        ((tmp_path / "list", "--out", out), 4, "is no event log, or one of another version\n"),
    ]:
        result = invoke("jobs", "export", *args)
        assert (result.exit_code, text in result.stderr) == (code, True), result.output
    assert not out.exists()


def test_a_log_in_which_nothing_succeeded_says_what_became_of_the_jobs(tmp_path: Path) -> None:
    log = log_of(some_jobs(), tmp_path / "log", PolicySettings())
    kept = [line for line in log.read_text().splitlines(keepends=True) if JobState.SUCCEEDED not in line]
    log.write_text("".join(kept[:40]))
    result = invoke("jobs", "export", log, "--out", tmp_path / "out", "-o", "json")
    assert result.exit_code == 3
    message = json.loads(result.stderr)["error"]["message"]
    assert "no job in" in message
    assert "had not ended when the log did" in message


def test_jobs_that_are_left_out_are_told_to_people(tmp_path: Path) -> None:
    log = log_of(some_jobs(), tmp_path / "log", PolicySettings())
    lines = log.read_text().splitlines(keepends=True)
    log.write_text("".join(lines[: len(lines) * 2 // 3]))
    told = invoke("jobs", "export", log, "--out", tmp_path / "out").stdout
    assert re.search(r"left out  \d had not ended when the log did; \d+\.\d% of the slot time", told)


def test_tools_alone_say_nothing_of_engines(tmp_path: Path) -> None:
    log = log_of([job(0, tool("a"), app="tools")], tmp_path / "log", PolicySettings())
    assert "no LLM calls to learn from" in invoke("jobs", "export", log, "--out", tmp_path / "out").stdout


def test_jobs_are_still_listed_by_the_command_alone() -> None:
    result = invoke("jobs", "--help")
    assert "List jobs, newest first." in result.stdout
    assert "export" in result.stdout
