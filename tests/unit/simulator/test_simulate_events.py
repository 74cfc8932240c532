"""`llmsched simulate --events`: what happened, line by line."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from llmsched.cli.main import cli
from services.scheduler.core.effects import Dispatch
from services.scheduler.core.model import AttemptRef
from simulator.events_file import EventLines
from tests.unit.services.profiler.traces import line, stage, tool

WORLD = ["--llm-executors=1", "--max-batch=1", "--tool-slots=1", "--prefill=0", "--decode=1"]
JOBS = [line(stage("a"), tool("t", "a", seconds=0.5), job_id="j"), line(stage("a"), job_id="k", arrival_seconds=0.25)]


def events(folder: Path, *args: str, name: str = "e.jsonl") -> list[dict[str, Any]]:
    """Runs JOBS, and reads the file again; nothing else may be left in the folder."""
    (folder / "w.jsonl").write_text("\n".join(JOBS))
    command = ["simulate", str(folder / "w.jsonl"), *WORLD, "--events", str(folder / name), *args]
    result = CliRunner().invoke(cli, command, catch_exceptions=False)
    assert result.exit_code == 0, result.output
    assert {path.name for path in folder.iterdir()} <= {"w.jsonl", "e.jsonl", name}
    return [json.loads(one) for one in (folder / name).read_text().splitlines()]


def test_every_arrival_dispatch_and_end_has_its_line(tmp_path):
    found = events(tmp_path, "--policy", "fcfs")
    assert {one.pop("policy") for one in found} == {"fcfs"}
    first = {"job_id": "1:j", "stage_id": "a", "task_index": 0, "attempt": 1, "executor_id": "llm-0"}
    then = {**first, "stage_id": "t", "executor_id": "tools"}
    second = {**first, "job_id": "2:k"}
    by_arrival = {"rule": "policy", "waited_seconds": 0.0}
    assert found == [
        {"at": 0.0, "event": "arrival", "job_id": "1:j"},
        {"at": 0.0, "event": "dispatch", **first, "decision": 1, "key": [0.0, 0, 0], **by_arrival},
        {"at": 0.25, "event": "arrival", "job_id": "2:k"},
        {"at": 1.0, "event": "attempt_end", **first, "outcome": "succeeded"},
        {"at": 1.0, "event": "dispatch", **then, "decision": 2, "key": [0.0, 0, 1], **by_arrival},
        {
            "at": 1.0,
            "event": "dispatch",
            **second,
            "decision": 3,
            "key": [0.25, 1, 0],
            "rule": "policy",
            "waited_seconds": 0.75,
        },
        {"at": 1.5, "event": "attempt_end", **then, "outcome": "succeeded"},
        {"at": 1.5, "event": "job_end", "job_id": "1:j", "outcome": "succeeded"},
        {"at": 2.0, "event": "attempt_end", **second, "outcome": "succeeded"},
        {"at": 2.0, "event": "job_end", "job_id": "2:k", "outcome": "succeeded"},
    ]


def test_runs_follow_each_other_and_two_processes_write_what_one_writes(tmp_path):
    policies = ("--policy=fair", "--policy=random", "--policy=fcfs", "--seed=3")
    found = events(tmp_path, *policies, "--processes=1")
    names = [one["policy"] for one in found]
    assert list(dict.fromkeys(names)) == ["fair", "random", "fcfs"]
    assert names == sorted(names, key=["fair", "random", "fcfs"].index)
    assert events(tmp_path, *policies, "--processes=2", name="again.jsonl") == found


def test_attempts_that_fail_end_and_so_do_their_jobs(tmp_path):
    found = events(tmp_path, "--policy=fcfs", "--failures=1")
    dispatched = [one for one in found if one["event"] == "dispatch"]
    ended = [one for one in found if one["event"] == "attempt_end"]
    assert len(dispatched) == len(ended) == 20
    assert {one["outcome"] for one in ended} == {"failed"}
    assert [one["attempt"] for one in ended if one["job_id"] == "2:k"] == list(range(1, 11))
    assert [one["outcome"] for one in found if one["event"] == "job_end"] == ["failed", "failed"]


def test_what_is_cancelled_beside_a_failure_ends_too(tmp_path, monkeypatch):
    # The tool is still busy when the last attempt of "a" fails, and with it the job.
    monkeypatch.setattr(f"{__name__}.JOBS", [line(stage("a"), tool("t", seconds=1e9))])
    found = events(tmp_path, "--policy=fcfs", "--failures=1")
    last = [(one["event"], one.get("stage_id"), one["outcome"]) for one in found[-3:]]
    assert last == [("attempt_end", "a", "failed"), ("attempt_end", "t", "cancelled"), ("job_end", None, "failed")]


@pytest.mark.parametrize(("part", "written"), [(float("inf"), "inf"), (float("-inf"), "-inf"), (1.5, 1.5), ("x", "x")])
def test_keys_are_json_whatever_is_in_them(part, written):
    lines: list[str] = []
    ref = AttemptRef(job_id="j", stage_id="a", task_index=0, attempt=1)
    more = {"executor_id": "e", "priority": 0, "timeout_seconds": None, "policy": "p", "rule": "policy"}
    dispatch = Dispatch(cause="", attempt=ref, number=1, key=(part,), waited_seconds=0.0, waiting_stages=1, **more)
    EventLines("p", lines.append).observe(0.0, dispatch)
    assert json.loads(lines[0], parse_constant=None)["key"] == [written]
