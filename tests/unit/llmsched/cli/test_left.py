"""What running jobs still need, in `get` and `watch`: shown if a profiler knows, and missed by nobody if not."""

from __future__ import annotations

import grpc
import pytest

from llmsched.cli.tree import job_tree
from llmsched.cli.watch import LiveView
from llmsched.conversion import prediction
from llmsched.types import Job, JobState
from tests.unit.llmsched.cli.conftest import Run, documents, lines
from tests.unit.llmsched.fake_servers import FakePlanner, FakeProfiler, State, stage, status

TOLD = "10.0s of work expected, 4.0s to 20.0s (LLM 9.0s, tools 1.0s; each task as if alone, without waiting; profile 3)"


@pytest.fixture
def job(planner: FakePlanner, profiler: FakeProfiler) -> str:
    profiler.learn()
    planner.add_job("j", State.STATE_RUNNING)
    return "j"


def test_get_shows_what_is_left(run: Run, job: str) -> None:
    shown = run("get", job).stdout
    assert f"left      {TOLD}\n" in shown
    assert "beliefs   80% intervals held 75% (of the application's newest 20 jobs)\n" in shown
    assert documents(run("get", job, "-o", "json"))["prediction"]["total"] == {"lower": 4, "upper": 20, "expected": 10}


def test_a_job_that_has_ended_needs_nothing(run: Run, planner: FakePlanner, profiler: FakeProfiler) -> None:
    profiler.learn()
    planner.add_job("j", State.STATE_SUCCEEDED)
    assert "left" not in run("get", "j").stdout
    assert documents(run("get", "j", "-o", "json"))["prediction"] is None
    assert profiler.calls == []


def test_nobody_is_asked_who_should_not_be(run: Run, job: str, profiler: FakeProfiler) -> None:
    assert "left" not in run("get", job, "--no-eta").stdout
    assert profiler.calls == []


@pytest.mark.parametrize("code", [grpc.StatusCode.NOT_FOUND, grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.INTERNAL])
def test_a_profiler_that_does_not_know_is_passed_over(
    run: Run, job: str, profiler: FakeProfiler, code: grpc.StatusCode
) -> None:
    profiler.guard = lambda method, request: status(code, "NO", "no")
    result = run("get", job)
    assert (result.exit_code, result.stderr) == (0, "")
    assert "left" not in result.stdout


def test_how_good_beliefs_were_need_not_be_known(run: Run, job: str, profiler: FakeProfiler) -> None:
    profiler.refuse("ListProfiles", status(grpc.StatusCode.INTERNAL, "NO", "no"))
    result = run("get", job)
    assert (result.exit_code, "beliefs" in result.stdout) == (0, False)
    assert f"left      {TOLD}\n" in result.stdout


def test_without_a_profiler_nothing_is_missed(run: Run, job: str) -> None:
    result = run("get", job, "--profiler", "127.0.0.1:1")
    assert (result.exit_code, result.stderr) == (0, "")


def test_watch_asks_at_changes_of_stages(run: Run, planner: FakePlanner, profiler: FakeProfiler, job: str) -> None:
    planner.tell(job, stage_changed={"stage": stage("draft", 3)})
    planner.tell(job, job_changed={"state": State.STATE_SUCCEEDED})
    events = lines(run("watch", job, "-o", "json"))
    assert {event["event"] for event in events} >= {"snapshot", "stage_changed", "job_changed"}
    assert all(event["total"]["expected"] == 10 for event in events if event["event"] == "prediction")
    assert len(profiler.calls) <= 2
    assert run("watch", job, "--no-eta").exit_code == 0
    assert len(profiler.calls) <= 2


def test_a_live_tree_shows_the_latest(profiler: FakeProfiler) -> None:
    profiler.learn()
    job = Job(name="jobs/j", application="hello", version=1, state=JobState.RUNNING)
    live = LiveView(job)
    live.left(prediction(profiler.prediction))
    assert str(live.__rich__().children[-1].label) == f"left: {TOLD}"
    live.left(None)
    assert len(live.__rich__().children) == len(job_tree(job).children)
