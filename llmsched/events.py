"""What `watch` tells about a job, and how it changes a job."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace
from datetime import datetime
from typing import TypeAlias

from llmsched.types import Failure, Job, JobState, Stage, Task


@dataclass(frozen=True, slots=True, kw_only=True)
class Snapshot:
    """The whole job; starts a watch, and replaces what was known when older changes are no longer kept."""

    #: Grows by one with every change of the job; pass it as `after_sequence` to go on from here.
    sequence: int
    time: datetime | None
    job: Job


@dataclass(frozen=True, slots=True, kw_only=True)
class JobChanged:
    """The job's state changed."""

    sequence: int
    time: datetime | None
    state: JobState
    #: Why, when it failed or was cancelled.
    failure: Failure | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class StageChanged:
    """A stage appeared or changed."""

    sequence: int
    time: datetime | None
    #: The stage without its tasks.
    stage: Stage


@dataclass(frozen=True, slots=True, kw_only=True)
class TaskChanged:
    """A task appeared or changed."""

    sequence: int
    time: datetime | None
    stage_id: str
    task: Task


@dataclass(frozen=True, slots=True, kw_only=True)
class OutputDelta:
    """Text that a running LLM task wrote. Not durable: a broken connection may swallow or repeat some."""

    #: The job's last change before it; deltas have no number of their own.
    sequence: int
    time: datetime | None
    stage_id: str
    #: Place in the stage, from 0.
    task_index: int
    #: The attempt that writes; a new attempt starts again at offset 0.
    attempt: int
    #: Characters of this attempt's output before `text`.
    offset: int
    text: str


Event: TypeAlias = Snapshot | JobChanged | StageChanged | TaskChanged | OutputDelta


def apply(job: Job, event: Event) -> Job:
    """The job after the event. Token usage of the job as a whole is only brought up to date by snapshots."""
    match event:
        case Snapshot():
            return event.job
        case JobChanged():
            end_time = event.time if event.state.ended else None
            return replace(job, state=event.state, failure=event.failure, end_time=end_time)
        case StageChanged(stage=stage):
            return replace(job, stages=_with_stage(job.stages, stage))
        case TaskChanged(stage_id=stage_id, task=task):
            stages = tuple(_with_task(stage, task) if stage.stage_id == stage_id else stage for stage in job.stages)
            return replace(job, stages=stages, start_time=job.start_time or task.start_time)
        case OutputDelta():
            return job


def _with_stage(stages: tuple[Stage, ...], changed: Stage) -> tuple[Stage, ...]:
    known = {stage.stage_id: stage for stage in stages}
    before = known.get(changed.stage_id)
    known[changed.stage_id] = replace(changed, tasks=before.tasks) if before else changed
    return tuple(known.values())


def _with_task(stage: Stage, changed: Task) -> Stage:
    others: Iterable[Task] = (task for task in stage.tasks if task.index != changed.index)
    return replace(stage, tasks=tuple(sorted((*others, changed), key=lambda task: task.index)))
