"""`llmsched top`: what a frame shows, at each size of the terminal, and what rates count."""

from __future__ import annotations

import time
from datetime import UTC, datetime, timedelta

import grpc
import pytest
from rich.console import Console

from llmsched.api.planner.v1 import job_pb2
from llmsched.cli.overview import DispatchRate, Overview, ended_per_minute, speeds
from llmsched.cli.top import Frame
from llmsched.types import (
    Calibration,
    Cluster,
    Decision,
    Executor,
    ExecutorState,
    Job,
    JobState,
    Policy,
    QueuedStage,
    StageKind,
)
from tests.unit.llmsched.cli.conftest import Run, documents
from tests.unit.llmsched.fake_servers import UNAVAILABLE, FakePlanner, FakeScheduler, status

NOW = datetime(2026, 5, 1, 12, 0, 0, tzinfo=UTC)
State = job_pb2.Job.State
REFUSED = status(grpc.StatusCode.PERMISSION_DENIED, message="not you")


def executor(name: str, used: int = 3, slots: int = 4, state: ExecutorState = ExecutorState.ATTACHED) -> Executor:
    return Executor(executor_id=name, kind="llm", state=state, slots=slots, used_slots=used, engine_waiting=2)


def stage(rank: int) -> QueuedStage:
    return QueuedStage(
        rank=rank,
        job_id=f"job-{rank}",
        stage_id="draft",
        application="hello",
        kind=StageKind.LLM,
        requirement="llm",
        waiting_tasks=5,
        ready_time=None,
        key="",
        reason=f"index: {rank}.5 s",
    )


def overview(*executors: Executor, stages: int = 2, waiting: int | None = None, **more: object) -> Overview:
    cluster = Cluster(
        executors=executors or (executor("llm-0"),),
        active_jobs=7,
        ready_stages=stages if waiting is None else waiting,
        running_attempts=3,
        epoch=4,
        policy=Policy(name="gittins"),
    )
    queue = tuple(map(stage, range(stages)))
    return Overview(time=NOW, cluster=cluster, queue=queue, **more)  # type: ignore[arg-type]


def drawn(shown: Overview, width: int = 120, height: int = 40, *, fit: bool = False) -> list[str]:
    console = Console(width=width, height=height, markup=False, emoji=False, highlight=False, color_system=None)
    with console.capture() as capture:
        console.print(Frame(shown, fit_height=fit))
    return [line.rstrip() for line in capture.get().splitlines()]


def test_everything_has_its_place() -> None:
    more = {
        "states": {JobState.FAILED: 2, JobState.RUNNING: 7},
        "speeds": {"llm-0": 123.4},
        "jobs_per_minute": 12.0,
        "tasks_per_minute": 90.0,
    }
    lines = drawn(overview(**more))
    assert lines[0] == "12:00:00 UTC · slots 3/4 · jobs 7 · waiting 2 · running 3 · policy gittins · epoch 4"
    assert lines[1] == "ended 12 jobs/min · dispatched 90/min · running 7 · failed 2"
    assert lines[3].split() == ["EXECUTOR", "STATE", "SLOTS", "KIND", "WAITING", "TOK/S", "LOAD", "LAST", "SEEN"]
    assert lines[4].split() == ["llm-0", "ATTACHED", "3/4", "llm", "2", "123", "████████████····"]
    assert lines[6].split() == ["RANK", "JOB", "STAGE", "TASKS", "READY", "APPLICATION", "BY"]
    assert lines[7].split() == ["0", "job-0", "draft", "5", "hello", "index:", "0.5", "s"]


def test_what_is_not_known_is_a_question_mark_and_what_may_be_more_says_so() -> None:
    assert drawn(overview())[1] == "ended ? jobs/min · dispatched ?/min"
    assert drawn(overview(jobs_per_minute=200.0, more_jobs=True))[1].startswith("ended ≥200 jobs/min")


@pytest.mark.parametrize(
    ("width", "columns"), [(99, ["KIND", "WAITING", "TOK/S"]), (60, ["KIND", "WAITING", "TOK/S"]), (59, []), (30, [])]
)
def test_narrow_terminals_get_fewer_columns_and_no_line_is_broken(width: int, columns: list[str]) -> None:
    shown = overview(executor("an-executor-with-quite-a-long-name"), problems=("the planner " + "is away " * 20,))
    lines = drawn(shown, width)
    assert lines[4].split() == ["EXECUTOR", "STATE", "SLOTS", *columns]
    assert len(lines) == 3 + 1 + 2 + 1 + 3  # head, executors and queue, each row one line
    assert max(map(len, lines)) <= width


def test_a_low_terminal_gets_fewer_rows_and_says_so() -> None:
    shown = overview(*(executor(f"e{number}") for number in range(30)), stages=30, waiting=90)
    lines = drawn(shown, height=24, fit=True)
    assert len(lines) <= 24
    assert "… and 23 more" in lines
    assert "… and 83 more" in lines


def test_few_executors_leave_their_room_to_the_queue() -> None:
    lines = drawn(overview(stages=30), height=24, fit=True)
    assert len(lines) <= 24
    assert "… and 17 more" in lines


def test_slots_of_executors_that_are_away_do_not_count() -> None:
    away = executor("llm-1", used=0, state=ExecutorState.DETACHED)
    assert "slots 3/4" in drawn(overview(executor("llm-0"), away))[0]


def test_a_problem_is_shown_and_the_rest_too() -> None:
    lines = drawn(overview(problems=("the planner is away",)))
    assert lines[2] == "! the planner is away"
    assert "llm-0" in "".join(lines)
    assert drawn(Overview(time=NOW, problems=("gone",)))[2] == "! gone"


def decision(number: int) -> Decision:
    return Decision(
        number=number,
        decide_time=None,
        job_id="j",
        stage_id="s",
        task_index=0,
        attempt=1,
        executor_id="e",
        policy="fcfs",
        key="",
        rule="policy",
        waited=None,
        waiting_stages=1,
    )


class TestDispatchRate:
    def after(self, seconds: float) -> datetime:
        return NOW + timedelta(seconds=seconds)

    def test_nothing_is_known_before_it_begins_nor_at_once(self) -> None:
        rate = DispatchRate()
        assert rate.per_minute(NOW) is None
        rate.begin(NOW)
        assert rate.per_minute(self.after(0.5)) is None
        assert rate.per_minute(self.after(10)) == 0

    def test_it_counts_by_number_over_the_last_minute(self) -> None:
        rate = DispatchRate()
        rate.begin(NOW)
        rate.add(decision(10), self.after(5))
        rate.add(decision(19), self.after(20))  # eight in between were missed
        assert rate.per_minute(self.after(30)) == 20
        assert rate.per_minute(self.after(60)) == 10
        rate.add(decision(24), self.after(70))
        assert rate.per_minute(self.after(75)) == 6  # 19 to 24
        assert rate.per_minute(self.after(200)) == 0

    def test_numbers_that_begin_anew_are_another_cluster(self) -> None:
        rate = DispatchRate()
        rate.begin(NOW)
        rate.add(decision(1000), self.after(5))
        rate.add(decision(1), self.after(20))
        assert rate.per_minute(self.after(60)) == 1


def test_jobs_that_ended_in_the_last_minute() -> None:
    ends = [None, NOW - timedelta(seconds=59), NOW - timedelta(seconds=61), NOW]
    jobs = [Job(name="jobs/j", application="a", version=1, state=JobState.SUCCEEDED, end_time=end) for end in ends]
    assert ended_per_minute(jobs, NOW) == 2


def test_speed_is_that_of_the_present_batch() -> None:
    def calibration(name: str, *steps: float) -> Calibration:
        return Calibration(
            executor_id=name,
            prefill_seconds=0,
            step_seconds=steps,
            step_counts=(),
            prompt_count=0,
            version=1,
            publish_time=None,
            measure_time=None,
        )

    cluster = overview(executor("idle", used=0), executor("two", used=2), executor("more", used=3)).cluster
    measured = [calibration(name, 0.01, 0.0125) for name in ("idle", "two", "more", "gone")]
    assert speeds(cluster, measured) == {"idle": 100, "two": 160, "more": 160}
    assert speeds(cluster, [calibration("two"), calibration("idle", 0.0)]) == {"idle": 0}
    assert speeds(None, measured) == {}


class TestOnce:
    def test_one_frame(self, run: Run, planner: FakePlanner) -> None:
        job = planner.add_job("a", State.STATE_SUCCEEDED)
        job.end_time.FromSeconds(int(time.time()))
        planner.add_job("b", State.STATE_RUNNING)
        result = run("top", "--once")
        assert result.exit_code == 0
        lines = result.stdout.splitlines()
        assert "slots 3/4 · jobs 2 · waiting 1 · running 3 · policy fcfs · epoch 7" in lines[0]
        assert lines[1] == "ended 1 jobs/min · dispatched ?/min · running 1 · succeeded 1"
        assert any("index: 1.5 s" in line for line in lines)

    def test_a_pipe_gets_one_frame(self, run: Run) -> None:
        assert run("top").stdout.count("EXECUTOR") == 1

    def test_json(self, run: Run, planner: FakePlanner) -> None:
        planner.add_job("a", State.STATE_FAILED)
        found = documents(run("top", "-o", "json"))
        assert found["states"] == {"FAILED": 1}
        assert [one["rank"] for one in found["queue"]] == [0, 1, 2]
        assert (found["jobs_per_minute"], found["tasks_per_minute"], found["problems"]) == (0, None, [])

    def test_who_does_not_answer_is_named(self, run: Run, planner: FakePlanner) -> None:
        planner.guard = lambda method, request: REFUSED if method == "ListJobs" else None
        result = run("top", "--once")
        assert (result.exit_code, result.stdout.splitlines()[2]) == (0, "! not you")
        assert "ended ? jobs/min" in result.stdout

    def test_without_a_scheduler_there_is_nothing_to_show(
        self, run: Run, scheduler: FakeScheduler, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setenv("LLMSCHED_CONNECT_TIMEOUT", "0.2")
        scheduler.guard = lambda method, request: UNAVAILABLE
        result = run("top", "--once")
        assert (result.exit_code, result.stdout) == (5, "")
        assert "down for a moment" in result.stderr
