"""What a job has shown, in the words of beliefs: nothing that a policy may not know can get past here."""

from __future__ import annotations

from services.profiler.core.statistics import WorkModel
from services.profiler.core.variables import JobSeen, StageSeen
from services.scheduler.core.model import Measurement, StageKind, StageState, TaskState
from services.scheduler.core.policies.base import JobView, StageFacts, TaskFacts

#: States of stages that have shown nothing of what they take: they did not run, or failed and left their job to go on.
_NOTHING = (StageState.SKIPPED, StageState.FAILED)


def job_seen(job: JobView, work: WorkModel, slowdown: float = 1.0) -> JobSeen:
    """The job as of `job.shown_at`.

    Args: `slowdown`: how many times longer than alone an LLM call may take at most, for what its elapsed time says.
    """
    growing = _growing(job)
    stages = [
        _stage(stage, job.shown_at, work, slowdown, growing=stage.spec.stage_id in growing)
        for stage in job.stages.values()
        if stage.spec.kind is not StageKind.DYNAMIC and stage.state not in _NOTHING
    ]
    return JobSeen(application=job.application, stages=tuple(stages))


def _growing(job: JobView) -> frozenset[str]:
    """Stages that may yet make others: those behind which the planner is being asked what they have made (parents, or
    the last of a loop's round), and those of an open job that have made none."""
    if job.open:
        made = {one.spec.generated_by for one in job.stages.values()}
        return frozenset(job.stages.keys() - made)
    asked = [one.spec for one in job.stages.values() if one.state is StageState.UNFOLDING]
    found = {parent for spec in asked if spec.kind is StageKind.DYNAMIC for parent in spec.parents}
    if any(spec.kind is StageKind.DYNAMIC for spec in asked):
        done = [one.spec.stage_id for one in job.stages.values() if one.tasks and one.state.is_done]
        found.update(done[-1:])
    return frozenset(found)


def _stage(stage: StageFacts, at: float, work: WorkModel, slowdown: float, *, growing: bool) -> StageSeen:
    spec, done = stage.spec, stage.state.is_done
    is_llm = spec.kind is StageKind.LLM
    tasks = stage.tasks
    if not tasks and not done:
        return StageSeen(name=spec.name, occurrence=spec.occurrence, is_llm=is_llm)
    left = [task for task in tasks if task.state is not TaskState.SUCCEEDED]
    ended = [_units(task.measurement, is_llm=is_llm) for task in tasks if task.measurement is not None]
    running = [_used(task, at, work, slowdown, is_llm=is_llm) for task in left if task.state is TaskState.RUNNING]
    return StageSeen(
        name=spec.name,
        occurrence=spec.occurrence,
        is_llm=is_llm,
        done=done,
        growing=done and growing,
        width=len(tasks),
        prompt_tokens=sum(task.spec.prompt_tokens for task in tasks),
        units=sum(ended),
        running_units=sum(running),
        ended=tuple(ended),
        running=tuple(running),
        left=len(left),
        left_prompt_tokens=sum(task.spec.prompt_tokens for task in left),
    )


def _units(measured: Measurement, *, is_llm: bool) -> float:
    """Output tokens, or seconds of a tool without the wait inside its executor."""
    return float(measured.output_tokens) if is_llm else max(0.0, measured.total_seconds - measured.queue_seconds)


def _used(task: TaskFacts, at: float, work: WorkModel, slowdown: float, *, is_llm: bool) -> float:
    """Units that a running task has certainly used by now."""
    elapsed = max(0.0, at - (at if task.started_at is None else task.started_at))
    if not is_llm:
        return elapsed
    return max(0.0, elapsed / slowdown - work.prefill * task.spec.prompt_tokens) / work.decode
