"""How events change a job."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta

from llmsched.events import JobChanged, OutputDelta, Snapshot, StageChanged, TaskChanged, apply
from llmsched.types import Failure, Job, JobState, Stage, StageKind, StageState, Task, TaskState

T0 = datetime(2026, 1, 1, tzinfo=UTC)
T1 = T0 + timedelta(seconds=3)
TASK = Task(index=0, state=TaskState.RUNNING, attempt=1, executor="llm-1", start_time=T1)
DRAFT = Stage(stage_id="draft", name="draft", kind=StageKind.LLM, state=StageState.RUNNING, tasks=(TASK,))
JOB = Job(name="jobs/1", application="a", version=1, state=JobState.RUNNING, create_time=T0, stages=(DRAFT,))


def test_a_snapshot_replaces_everything() -> None:
    other = replace(JOB, state=JobState.PENDING, stages=())
    assert apply(JOB, Snapshot(sequence=9, time=T1, job=other)) is other


def test_the_end_of_a_job_sets_its_time_and_failure() -> None:
    why = Failure(reason="TIMEOUT", message="too slow")
    ended = apply(JOB, JobChanged(sequence=2, time=T1, state=JobState.FAILED, failure=why))
    assert (ended.state, ended.failure, ended.completion_time) == (JobState.FAILED, why, timedelta(seconds=3))


def test_a_change_that_is_not_the_end_sets_no_time() -> None:
    assert apply(JOB, JobChanged(sequence=2, time=T1, state=JobState.CANCELLING)).end_time is None


def test_a_stage_keeps_its_tasks_and_its_place() -> None:
    other = replace(DRAFT, stage_id="test", tasks=())
    job = replace(JOB, stages=(DRAFT, other))
    done = replace(DRAFT, state=StageState.SUCCEEDED, tasks=())
    changed = apply(job, StageChanged(sequence=2, time=T1, stage=done))
    assert changed.stages == (replace(done, tasks=(TASK,)), other)


def test_a_new_stage_is_appended() -> None:
    new = replace(DRAFT, stage_id="new", tasks=())
    assert apply(JOB, StageChanged(sequence=2, time=T1, stage=new)).stages == (DRAFT, new)


def test_tasks_are_replaced_or_added_in_order() -> None:
    done = replace(TASK, state=TaskState.SUCCEEDED)
    third, second = replace(TASK, index=2), replace(TASK, index=1)
    job = JOB
    for task in (third, second, done):
        job = apply(job, TaskChanged(sequence=2, time=T1, stage_id="draft", task=task))
    assert job.stages[0].tasks == (done, second, third)


def test_the_first_dispatch_starts_the_job() -> None:
    started = apply(JOB, TaskChanged(sequence=2, time=T1, stage_id="draft", task=TASK))
    later = replace(TASK, index=1, start_time=T1 + timedelta(seconds=1))
    assert started.start_time == T1
    assert apply(started, TaskChanged(sequence=3, time=T1, stage_id="draft", task=later)).start_time == T1


def test_text_changes_nothing() -> None:
    delta = OutputDelta(sequence=1, time=T1, stage_id="draft", task_index=0, attempt=1, offset=0, text="x")
    assert apply(JOB, delta) is JOB
