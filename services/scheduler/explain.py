"""Why a job stands where it stands, in words and numbers. Pure: reads views of the machine."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence

from llmsched.api.scheduler.v1 import scheduler_pb2
from services.scheduler.convert import figures_to_proto, timestamp
from services.scheduler.core.explanation import in_words, key_figures
from services.scheduler.core.model import JobSnapshot, JobState, StageSnapshot, StageState, TaskSnapshot, TaskState
from services.scheduler.core.policies.base import Policy
from services.scheduler.core.views import ExecutorView, QueueEntry
from services.scheduler.decisions import key_text


def queued_stage(rank: int, entry: QueueEntry, policy: Policy, now: float) -> scheduler_pb2.QueuedStage:
    """A place in the queue, as operators see it."""
    return scheduler_pb2.QueuedStage(
        rank=rank,
        job_id=entry.job.job_id,
        stage_id=entry.stage.stage_id,
        application=entry.job.application,
        kind=f"STAGE_KIND_{entry.stage.kind}",
        requirement=entry.requirement,
        waiting_tasks=entry.waiting_tasks,
        ready_time=timestamp(entry.stage.ready_at),
        key=key_text(entry.key),
        reason=in_words(entry, policy, now),
        figures=figures_to_proto(key_figures(entry, policy)),
    )


def reasons(
    job: JobSnapshot, queue: Sequence[QueueEntry], executors: Sequence[ExecutorView], *, now: float
) -> list[str]:
    """One line for each thing that holds the job up or moves it on."""
    lines = []
    if job.state is JobState.CANCELLING:
        running = sum(task.state is TaskState.RUNNING for stage in job.stages for task in stage.tasks)
        why = f" ({job.failure.reason}: {job.failure.message})" if job.failure else ""
        lines.append(f"the job stops{why}: {running} attempts have been asked to end and still run")
    places = {entry.stage.stage_id: place for place, entry in enumerate(queue) if entry.job.job_id == job.job_id}
    for stage in sorted(job.stages, key=lambda stage: stage.spec.position):
        if stage.spec.stage_id in places:
            lines.append(_waiting(places[stage.spec.stage_id], queue, executors, now))
        lines += _stage(stage, now)
    waiting = sum(stage.state is StageState.WAITING for stage in job.stages)
    if waiting:
        one = "1 stage waits for stages before it"
        lines.append(one if waiting == 1 else f"{waiting} stages wait for stages before them")
    ended = all(stage.state.is_final for stage in job.stages)
    if job.open and ended and job.state is not JobState.CANCELLING:
        lines.append("the job is open and has nothing to do: its program has not added the next stage")
    return lines


def _stage(stage: StageSnapshot, now: float) -> list[str]:
    name = stage.spec.stage_id
    if stage.state is StageState.UNFOLDING:
        return [f"stage {name} waits for a planner to unfold it"]
    if stage.state is StageState.EXPANDED:
        return [f"stage {name} waits for the {len(stage.waits_on)} stages it was expanded to"]
    return [line for index, task in enumerate(stage.tasks) if (line := _task(name, index, task, now))]


def _task(stage: str, index: int, task: TaskSnapshot, now: float) -> str:
    if task.state is TaskState.RUNNING and task.started_at is not None:
        running = _seconds(now - task.started_at)
        return f"task {index} of stage {stage} has been running on {task.executor_id} for {running}"
    if task.state is TaskState.BACKOFF and task.retry_at is not None:
        why = f" after {task.failure.reason}" if task.failure else ""
        return f"task {index} of stage {stage} is tried again in {_seconds(task.retry_at - now)}{why}"
    return ""


def _waiting(place: int, queue: Sequence[QueueEntry], executors: Sequence[ExecutorView], now: float) -> str:
    entry = queue[place]
    able = [executor for executor in executors if entry.requirement in executor.offers]
    before = sum(1 for other in queue[:place] if _compete(other.requirement, able))
    tasks = "a slot" if entry.waiting_tasks == 1 else f"{entry.waiting_tasks} slots"
    line = f"stage {entry.stage.stage_id} has waited {_seconds(now - entry.stage.ready_at)} for {tasks} of"
    return f"{line} {entry.requirement}: {_slots(able)}, {before} {'stage' if before == 1 else 'stages'} before it"


def _compete(requirement: str, executors: Iterable[ExecutorView]) -> bool:
    return any(requirement in executor.offers for executor in executors)


def _slots(able: Collection[ExecutorView]) -> str:
    if not able:
        return "no executor offers it"
    usable = [executor for executor in able if executor.attached and executor.healthy and not executor.draining]
    free = sum(executor.free_slots for executor in usable)
    text = f"{free} of {sum(executor.slots for executor in usable)} free"
    missing = len(able) - len(usable)
    return f"{text} ({missing} executors are detached, draining or unhealthy)" if missing else text


def _seconds(value: float) -> str:
    return f"{max(0.0, value):.1f} s"
