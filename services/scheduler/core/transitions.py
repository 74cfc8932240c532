"""The states of jobs, stages and tasks: which trigger leads from which state to which.

A trigger that is missing from a state's row is an error of the machine, never of its input: events that do not fit
are refused before they get here. docs/states.md is drawn from these tables by scripts/gen_states.py.
"""

from __future__ import annotations

from collections.abc import Mapping
from enum import StrEnum
from typing import TypeVar

from services.scheduler.core.model import JobState, StageState, TaskState


class InvalidTransition(Exception):
    """The machine wanted a change that its tables do not have."""


class JobTrigger(StrEnum):
    ADMITTED = "admitted"
    STAGES_DONE = "all stages done"
    STOPPED = "failed or cancelled, attempts still run"
    FAILED = "failed, no attempt runs"
    CANCELLED = "cancelled, no attempt runs"


class StageTrigger(StrEnum):
    PARENTS_DONE = "parents done"
    PARENTS_ENDED = "parents ended, task known"
    SKIPPED = "condition false"
    EMPTY = "nothing to do"
    TASKS_ADDED = "tasks added"
    STAGES_ADDED = "stages added"
    DISPATCHED = "first dispatch"
    TASKS_DONE = "all tasks succeeded"
    STAGES_DONE = "added stages done"
    AGAIN = "added stages done, once more"
    RECOVERING = "failed, fallback wanted"
    FAILED = "failed for good"
    STOPPED = "job stops"


class TaskTrigger(StrEnum):
    DISPATCHED = "dispatched"
    SUCCEEDED = "attempt succeeded"
    RETRIED = "attempt failed, may be retried"
    LOST = "attempt lost"
    BACKOFF_ENDED = "backoff ended"
    FAILED = "failed for good"
    STOPPED = "job or stage stops"


JOB: Mapping[JobState, Mapping[JobTrigger, JobState]] = {
    JobState.PENDING: {
        JobTrigger.ADMITTED: JobState.RUNNING,
        JobTrigger.FAILED: JobState.FAILED,
    },
    JobState.RUNNING: {
        JobTrigger.STAGES_DONE: JobState.SUCCEEDED,
        JobTrigger.STOPPED: JobState.CANCELLING,
        JobTrigger.FAILED: JobState.FAILED,
        JobTrigger.CANCELLED: JobState.CANCELLED,
    },
    JobState.CANCELLING: {
        JobTrigger.FAILED: JobState.FAILED,
        JobTrigger.CANCELLED: JobState.CANCELLED,
    },
    JobState.SUCCEEDED: {},
    JobState.FAILED: {},
    JobState.CANCELLED: {},
}

STAGE: Mapping[StageState, Mapping[StageTrigger, StageState]] = {
    StageState.WAITING: {
        StageTrigger.PARENTS_DONE: StageState.UNFOLDING,
        StageTrigger.PARENTS_ENDED: StageState.READY,
        StageTrigger.STOPPED: StageState.CANCELLED,
    },
    StageState.UNFOLDING: {
        StageTrigger.SKIPPED: StageState.SKIPPED,
        StageTrigger.EMPTY: StageState.SUCCEEDED,
        StageTrigger.TASKS_ADDED: StageState.READY,
        StageTrigger.STAGES_ADDED: StageState.EXPANDED,
        StageTrigger.RECOVERING: StageState.UNFOLDING,
        StageTrigger.FAILED: StageState.FAILED,
        StageTrigger.STOPPED: StageState.CANCELLED,
    },
    StageState.READY: {
        StageTrigger.DISPATCHED: StageState.RUNNING,
        StageTrigger.STOPPED: StageState.CANCELLED,
    },
    StageState.RUNNING: {
        StageTrigger.TASKS_DONE: StageState.SUCCEEDED,
        StageTrigger.RECOVERING: StageState.UNFOLDING,
        StageTrigger.FAILED: StageState.FAILED,
        StageTrigger.STOPPED: StageState.CANCELLED,
    },
    StageState.EXPANDED: {
        StageTrigger.STAGES_DONE: StageState.SUCCEEDED,
        StageTrigger.AGAIN: StageState.UNFOLDING,
        StageTrigger.STOPPED: StageState.CANCELLED,
    },
    StageState.SUCCEEDED: {},
    StageState.SKIPPED: {},
    StageState.FAILED: {},
    StageState.CANCELLED: {},
}

TASK: Mapping[TaskState, Mapping[TaskTrigger, TaskState]] = {
    TaskState.READY: {
        TaskTrigger.DISPATCHED: TaskState.RUNNING,
        TaskTrigger.STOPPED: TaskState.CANCELLED,
    },
    TaskState.RUNNING: {
        TaskTrigger.SUCCEEDED: TaskState.SUCCEEDED,
        TaskTrigger.RETRIED: TaskState.BACKOFF,
        TaskTrigger.LOST: TaskState.READY,
        TaskTrigger.FAILED: TaskState.FAILED,
        TaskTrigger.STOPPED: TaskState.CANCELLED,
    },
    TaskState.BACKOFF: {
        TaskTrigger.BACKOFF_ENDED: TaskState.READY,
        TaskTrigger.STOPPED: TaskState.CANCELLED,
    },
    TaskState.SUCCEEDED: {},
    TaskState.FAILED: {},
    TaskState.CANCELLED: {},
}

State = TypeVar("State", bound=StrEnum)
Trigger = TypeVar("Trigger", bound=StrEnum)


def after(table: Mapping[State, Mapping[Trigger, State]], state: State, trigger: Trigger) -> State:
    """The state that `trigger` leads to.

    Raises:
        InvalidTransition: the table has no such change.
    """
    try:
        return table[state][trigger]
    except KeyError:
        raise InvalidTransition(f"no way from {state} by {trigger!r}") from None
