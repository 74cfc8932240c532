"""Whether what the planner or the store says about stages makes sense: a finder returns the first problem, in words."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Container, Iterable

from services.scheduler.core.events import StageUnfolded
from services.scheduler.core.jobs import Stage, dependencies
from services.scheduler.core.model import OPEN, JobSnapshot, JobState, StageKind, StageSnapshot, StageState, TaskState

#: Task states that a stage in this state can have while its job runs.
_TASKS_OF = {
    StageState.READY: {TaskState.READY},
    StageState.RUNNING: {TaskState.READY, TaskState.RUNNING, TaskState.BACKOFF, TaskState.SUCCEEDED},
}


def admission_problem(job: JobSnapshot) -> str | None:
    """Why the job cannot be taken up: every stage must be able to end, or the job would hang for ever."""
    stages = {stage.spec.stage_id: stage for stage in job.stages}
    problem = _naming_problem([stage.spec.stage_id for stage in job.stages], known=())
    for stage in job.stages:
        problem = problem or _parents_problem(stage.spec.stage_id, (*stage.spec.parents, *stage.waits_on), stages)
        judged = job.structure == OPEN and stage.state is StageState.FAILED  # a failure is for the program to judge
        if job.state is not JobState.CANCELLING and not judged:
            problem = problem or _state_problem(stage)

    def needs(stage_id: str) -> tuple[str, ...]:
        stage = stages[stage_id]
        return dependencies(stage.state, stage.spec, stage.waits_on)

    if problem is None and has_cycle(stages, needs):
        return "its stages wait for each other in a cycle"
    return problem


def unfolding_problem(stage: Stage, answer: StageUnfolded) -> str | None:
    """Why the answer cannot be applied to the stage that asked."""
    if answer.tasks:
        if answer.stages:
            return "it has both tasks and stages"
        if answer.again:
            return "it has tasks, and only stages can be unfolded again"
        if stage.spec.kind is StageKind.DYNAMIC:
            return "a DYNAMIC stage cannot have tasks"
        # The attempts of the tasks that failed may still be under way: new ones would share their names.
        return None if stage.failure is None else "a fallback cannot have tasks, only stages"
    if not answer.stages:
        return "it has no stages, and yet wants to be unfolded again" if answer.again else None
    return _growth_problem(stage, answer)


def _growth_problem(stage: Stage, answer: StageUnfolded) -> str | None:
    known = stage.job.stages
    added = {spec.stage_id: spec for spec in answer.stages}
    problem = _naming_problem([spec.stage_id for spec in answer.stages], known)
    for spec in answer.stages:
        problem = problem or _parents_problem(spec.stage_id, [one for one in spec.parents if one not in added], known)

    def needs(stage_id: str) -> Iterable[str]:
        if stage_id in added:
            return added[stage_id].parents
        # The asking stage is UNFOLDING, so that it does not wait for the added ones yet.
        return tuple(added) if stage_id == stage.spec.stage_id else known[stage_id].needs

    if problem is None and has_cycle([stage.spec.stage_id], needs):
        return "its stages wait for each other, or for the stage they belong to, in a cycle"
    return problem


def _naming_problem(names: list[str], known: Container[str]) -> str | None:
    for name, count in Counter(names).items():
        if count > 1 or name in known:
            return f"stage id {name!r} is taken"
    return None


def _parents_problem(stage_id: str, parents: Iterable[str], known: Container[str]) -> str | None:
    for parent in parents:
        if parent not in known:
            return f"stage {stage_id!r} waits for an unknown stage {parent!r}"
    return None


def _state_problem(stage: StageSnapshot) -> str | None:
    if stage.state in (StageState.FAILED, StageState.CANCELLED):
        return f"stage {stage.spec.stage_id!r} is {stage.state}, the job is not"
    allowed = _TASKS_OF.get(stage.state)
    if allowed is None:
        return None
    states = {task.state for task in stage.tasks}
    if states <= allowed and states - {TaskState.SUCCEEDED} and stage.ready_at is not None:
        return None
    return f"stage {stage.spec.stage_id!r} is {stage.state}, its tasks are not"


def has_cycle(start: Iterable[str], needs: Callable[[str], Iterable[str]]) -> bool:
    """Whether a stage that can be reached from `start` needs itself, however indirectly."""
    entered: set[str] = set()
    left: set[str] = set()
    # Each stage is visited twice, before and after those that it needs; no recursion, as chains may be long.
    todo = list(start)
    while todo:
        stage_id = todo.pop()
        if stage_id in left:
            continue
        if stage_id in entered:
            left.add(stage_id)
            continue
        entered.add(stage_id)
        todo.append(stage_id)
        for needed in needs(stage_id):
            if needed in left:
                continue
            if needed in entered:
                return True
            todo.append(needed)
    return False
