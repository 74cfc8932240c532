"""What must hold between any two calls of the machine; for tests, and for a driver in doubt.

`validate` counts everything anew, so it costs as much as the machine is large.
"""

from __future__ import annotations

from collections import Counter

from services.scheduler.core.executors import Executor, Fleet
from services.scheduler.core.jobs import Job, Stage
from services.scheduler.core.lifecycle import Lifecycle
from services.scheduler.core.machine import SchedulerMachine
from services.scheduler.core.model import JobState, StageState, TaskState


class InvariantViolated(Exception):
    """The machine contradicts itself."""


def validate(machine: SchedulerMachine) -> None:
    """Checks the whole machine.

    Raises:
        InvariantViolated: the first contradiction that was found.
    """
    lifecycle, fleet = machine._lifecycle, machine._fleet
    for job in lifecycle.jobs.values():
        _validate_job(job)
        for stage in job.stages.values():
            _validate_stage(stage)
            _validate_tasks(stage, lifecycle, fleet)
    _validate_queue(lifecycle)
    for executor in fleet.executors.values():
        _validate_executor(executor, fleet)
    for requirement in lifecycle.queue.lines:
        _expect(fleet.place(requirement) is None, f"a slot is free for {requirement!r} and a task waits for it")
    _expect(lifecycle.effects == [], "effects were kept back")


def _expect(condition: bool, otherwise: str) -> None:
    if not condition:
        raise InvariantViolated(otherwise)


def _validate_job(job: Job) -> None:
    name, stages = f"job {job.view.job_id!r}", job.stages.values()
    running = sum(stage.running for stage in stages)
    _expect(job.view.running_tasks == running, f"{name} counts its running tasks wrongly")
    _expect(job.unfinished == sum(not stage.is_over for stage in stages), f"{name} counts its stages wrongly")
    _expect(set(job.queued) == {stage for stage in stages if stage.ready}, f"{name} has lost track of its ready stages")
    if job.state is JobState.RUNNING:
        moving = {StageState.UNFOLDING, StageState.READY, StageState.RUNNING}
        _expect(job.open or any(stage.state in moving for stage in stages), f"{name} hangs")
    else:
        _expect(job.state is JobState.CANCELLING and running > 0, f"{name} is {job.state} and active")
        _expect(job.failure is not None, f"{name} stops for no reason")


def _validate_stage(stage: Stage) -> None:
    name, stages = f"stage {stage.spec.stage_id!r}", stage.job.stages
    states = Counter(task.state for task in stage.tasks)
    _expect(stage.running == states[TaskState.RUNNING], f"{name} counts its running tasks wrongly")
    blockers = [one for one in stage.needs if not stages[one].is_over]
    _expect(stage.blockers == len(blockers) or stage.job.stopping, f"{name} counts its blockers wrongly")
    for one in blockers:
        _expect(stage in stages[one].dependents, f"{name} will not hear of {one!r}")
    unfinished = len(stage.tasks) - states[TaskState.SUCCEEDED]
    if stage.state in (StageState.READY, StageState.RUNNING):
        _expect(stage.unfinished == unfinished > 0, f"{name} counts its unfinished tasks wrongly")
        _expect(stage.view is not None and stage.view.width == len(stage.tasks), f"{name} shows itself wrongly")
        _expect(not states[TaskState.FAILED], f"{name} goes on with a failed task")
    else:
        _expect(not stage.ready, f"{name} is {stage.state} and has tasks to run")
        _expect(stage.job.stopping or not stage.running, f"{name} is {stage.state} and runs")
    if stage.state in (StageState.WAITING, StageState.EXPANDED):
        _expect(stage.blockers > 0, f"{name} waits for nothing")
    if stage.job.stopping:
        _expect(stage.state.is_final or stage.running > 0, f"{name} goes on in a job that stops")


def _validate_tasks(stage: Stage, lifecycle: Lifecycle, fleet: Fleet) -> None:
    name = f"stage {stage.spec.stage_id!r}"
    waits = stage.state is StageState.WAITING
    ready = [index for index, task in enumerate(stage.tasks) if task.state is TaskState.READY and not waits]
    _expect(sorted(stage.ready) == ready, f"{name} has lost track of its ready tasks")
    for index, task in enumerate(stage.tasks):
        held = fleet.holder(stage.ref(index))
        waits = task.state is TaskState.BACKOFF
        _expect((task in lifecycle.alarms) == waits, f"task {index} of {name} will not be woken, or for nothing")
        if task.state is TaskState.RUNNING:
            _expect(held is not None and held.executor_id == task.executor_id, f"task {index} of {name} has no slot")


def _validate_queue(lifecycle: Lifecycle) -> None:
    queued = {stage for job in lifecycle.jobs.values() for stage in job.queued}
    entries = [(stage, rank) for line in lifecycle.queue.lines.values() for rank, stage in line.by_key.items()]
    _expect(len(entries) == len(queued) and {stage for stage, _ in entries} == queued, "the queue holds other stages")
    lifecycle.queue.settle()
    for stage, rank in entries:
        _expect(rank == lifecycle.queue.key(stage), f"stage {stage.spec.stage_id!r} stands in the wrong place")
    alarms = [job_id for (_, job_id, _, _), _ in lifecycle.alarms.items()]
    _expect(set(alarms) <= set(lifecycle.jobs), "an alarm is set for a job that has ended")


def _validate_executor(executor: Executor, fleet: Fleet) -> None:
    name, load = f"executor {executor.executor_id!r}", len(executor.running)
    for ref in executor.running:
        _expect(fleet.holder(ref) is executor, f"{name} does not know of {ref}")
    free = executor.usable and load < executor.slots
    _expect((executor.entry is not None) == free, f"{name} is in a pool, or not, wrongly")
    _expect(executor.attached or executor.entry is None, f"{name} is gone and takes work")
    if executor.entry is not None:
        _expect(executor.entry[1] == load and executor.entry in executor.pool, f"{name} stands in the wrong place")
