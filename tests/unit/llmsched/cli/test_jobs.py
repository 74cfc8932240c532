"""Commands about jobs that exist."""

from __future__ import annotations

from typing import Any

import pytest

from llmsched.api.planner.v1 import planner_pb2
from tests.unit.llmsched.cli.conftest import Run, documents, lines
from tests.unit.llmsched.fake_servers import FakePlanner, State, failure, stage


@pytest.fixture
def ran(planner: FakePlanner) -> None:
    """A job with an expanded stage, retries, tokens and a failure."""
    usage = {"prompt_tokens": 20, "completion_tokens": 5, "cached_tokens": 8}
    loop = stage("refine", 5, kind=3)
    draft = stage("refine/1/draft", 6, generated_by="refine", usage=usage)
    draft.ready_time.FromSeconds(1_700_000_001)
    draft.end_time.FromSeconds(1_700_000_004)
    for index in range(2):
        task = draft.tasks.add(index=index, state=4, attempt=index + 1, executor="llm-1")
        task.start_time.FromSeconds(1_700_000_002)
    test = stage("refine/1/test", 8, kind=2, generated_by="refine", failure=failure("TOOL_RAISED", "boom\x1b[2J"))
    job = planner.add_job(
        "j",
        State.STATE_FAILED,
        stages=[loop, draft, test],
        usage=usage,
        labels={"team": "a"},
        failure=failure("STAGE_FAILED", "refine/1/test failed"),
    )
    job.start_time.FromSeconds(1_700_000_002)
    job.end_time.FromSeconds(1_700_000_065)


@pytest.mark.usefixtures("ran")
def test_get_shows_stages_times_tokens_and_the_failure(run: Run) -> None:
    out = run("get", "jobs/j").stdout
    tree = out.splitlines()
    assert tree[0].split("  ")[:3] == ["j", "hello@1", "FAILED"]
    assert "1m05s" in tree[0]
    assert "20 (8 cached) + 5 tokens" in tree[0]
    assert tree[1].startswith("└── refine  dynamic  EXPANDED")
    assert "2/2 tasks · attempt 2 · queued 1.0s · ran 2.0s" in tree[2]
    assert tree[2].startswith("    ├── refine/1/draft")
    assert "TOOL_RAISED: boom�[2J" in tree[4]
    assert "labels    team=a" in out
    assert tree[-1] == "STAGE_FAILED: refine/1/test failed"
    assert "\x1b" not in out


@pytest.mark.usefixtures("ran")
def test_get_as_json_has_every_field(run: Run) -> None:
    job = documents(run("get", "j", "-o", "json"))
    assert job["name"] == "jobs/j"
    assert job["state"] == "FAILED"
    assert job["create_time"] == "2023-11-14T22:13:20Z"
    assert job["usage"] == {"prompt_tokens": 20, "completion_tokens": 5, "cached_tokens": 8}
    assert job["stages"][2]["failure"]["reason"] == "TOOL_RAISED"
    assert job["stages"][1]["tasks"][1]["attempt"] == 2


def test_an_unknown_job(run: Run) -> None:
    result = run("get", "nobody")
    assert result.exit_code == 3
    assert result.stdout == ""
    assert result.stderr == "Error: there is no such job\n"


def test_errors_as_json_go_to_stderr(run: Run) -> None:
    result = run("-o", "json", "get", "nobody")
    assert result.stdout == ""
    (line,) = result.stderr.splitlines()
    assert '"reason": "JOB_NOT_FOUND"' in line
    assert '"exit_code": 3' in line


@pytest.mark.usefixtures("ran")
def test_jobs(run: Run, planner: FakePlanner) -> None:
    planner.add_job("k", State.STATE_RUNNING)
    out = run("jobs").stdout.splitlines()
    assert out[0].split() == ["JOB", "APPLICATION", "STATE", "SUBMITTED", "TOOK", "TOKENS", "LABELS"]
    assert out[1].split()[:3] == ["j", "hello@1", "FAILED"]
    assert out[1].split()[-3:] == ["1m05s", "25", "team=a"]
    only = run("jobs", "--state", "running", "--state", "pending", "--app", "hello", "--label", "a=b=c", "--limit", "9")
    assert [line.split()[0] for line in only.stdout.splitlines()] == ["JOB", "k"]
    request = planner.requests("ListJobs")[-1]
    assert list(request.states) == [State.STATE_RUNNING, State.STATE_PENDING]
    assert (request.application, dict(request.labels), request.page_size) == ("applications/hello", {"a": "b=c"}, 9)
    assert [job["name"] for job in documents(run("jobs", "-o", "json"))] == ["jobs/j", "jobs/k"]


def test_no_jobs_leaves_a_pipe_empty(run: Run) -> None:
    result = run("jobs")
    assert (result.stdout, result.stderr) == ("", "No jobs.\n")
    assert documents(run("jobs", "-o", "json")) == []


@pytest.mark.parametrize("label", ["a", "=b"])
def test_a_bad_label_is_a_usage_error(run: Run, label: str) -> None:
    assert run("jobs", "--label", label).exit_code == 2


def test_result(run: Run, planner: FakePlanner) -> None:
    planner.add_job("j", State.STATE_SUCCEEDED, output={"poem": "Ü", "n": 3})
    assert documents(run("result", "j")) == {"poem": "Ü", "n": 3}


@pytest.mark.parametrize(
    ("state", "code"), [(State.STATE_FAILED, 1), (State.STATE_CANCELLED, 1), (State.STATE_RUNNING, 7)]
)
def test_result_of_a_job_without_one(run: Run, planner: FakePlanner, state: Any, code: int) -> None:
    planner.add_job("j", state)
    result = run("result", "j")
    assert (result.exit_code, result.stdout) == (code, "")


def test_result_can_wait(run: Run, planner: FakePlanner) -> None:
    planner.add_job("j", State.STATE_RUNNING, output=1)
    planner.tell("j", job_changed={"state": State.STATE_SUCCEEDED})
    assert documents(run("result", "j", "--wait")) == 1
    assert [method for method, _ in planner.calls] == ["WatchJob", "GetJob", "GetJobResult"]


def test_stage_outputs(run: Run, planner: FakePlanner) -> None:
    planner.add_job("j", State.STATE_RUNNING)
    output = planner_pb2.GetJobResultResponse.TaskOutput(stage_id="idea")
    output.result.llm.text = "boats"
    output.result.timings.total.FromMilliseconds(1250)
    planner.task_outputs["jobs/j"].append(output)
    (found,) = documents(run("result", "j", "--stages"))
    assert (found["stage_id"], found["output"], found["timings"]["total"]) == ("idea", "boats", 1.25)


def test_cancel_several(run: Run, planner: FakePlanner) -> None:
    planner.add_job("a", State.STATE_RUNNING)
    planner.add_job("b", State.STATE_RUNNING)
    result = run("cancel", "a", "nobody", "b", "--reason", "stop")
    assert result.stdout == "a CANCELLED\nb CANCELLED\n"
    assert result.exit_code == 3
    assert {request.reason for request in planner.requests("CancelJob")} == {"stop"}


def test_rerun(run: Run, planner: FakePlanner) -> None:
    planner.add_job("a", State.STATE_FAILED)
    assert run("rerun", "a").stdout == "again\n"
    assert documents(run("rerun", "a", "-o", "json")) == {"name": "jobs/again"}


def _watched(planner: FakePlanner, end: State = State.STATE_SUCCEEDED) -> None:
    planner.add_job("j", State.STATE_RUNNING, output={"poem": "x"})
    planner.tell("j", stage_changed={"stage": stage("idea", 4)})
    planner.tell("j", task_changed={"stage_id": "idea", "task": {"state": 2, "attempt": 1, "executor": "llm-1"}})
    planner.tell("j", output_delta={"stage_id": "idea", "attempt": 1, "text": "Riv\ners\x1b"})
    why = failure("CANCELLED", "enough") if end is State.STATE_CANCELLED else None
    planner.tell("j", job_changed={"state": end, "failure": why})


def test_watch_in_a_pipe_is_plain_lines(run: Run, planner: FakePlanner) -> None:
    _watched(planner)
    result = run("watch", "j", "--deltas")
    assert result.exit_code == 0
    assert [" ".join(line.split()) for line in result.stdout.splitlines()] == [
        "j hello@1 RUNNING",
        "2.000 idea RUNNING",
        "3.000 idea[0] RUNNING attempt 1 llm-1",
        "4.000 idea[0] > Riv\\ners�",
        "5.000 j SUCCEEDED",
    ]
    assert planner.requests("WatchJob")[0].include_output_deltas


def test_watch_as_json_lines(run: Run, planner: FakePlanner) -> None:
    _watched(planner)
    events = lines(run("watch", "j", "-o", "json"))
    kinds = ["snapshot", "stage_changed", "task_changed", "output_delta", "job_changed"]
    assert [event["event"] for event in events] == kinds
    assert [event["sequence"] for event in events] == [1, 2, 3, 4, 5]
    assert events[-1]["state"] == "SUCCEEDED"
    assert not planner.requests("WatchJob")[0].include_output_deltas


def test_watch_tells_how_the_job_ended(run: Run, planner: FakePlanner) -> None:
    _watched(planner, State.STATE_CANCELLED)
    planner.jobs["jobs/j"].failure.CopyFrom(failure("CANCELLED", "enough"))
    result = run("watch", "j")
    assert result.exit_code == 1
    assert result.stdout.splitlines()[-1] == "CANCELLED: enough"
