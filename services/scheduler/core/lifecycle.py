"""How jobs, stages and tasks go from state to state, and what has to be told about it.

What holds at all times:
* A task is RUNNING exactly while its latest attempt holds a slot on `task.executor_id`.
* A job that stops keeps its running tasks RUNNING until their attempts have ended, and ends after the last of them.
  When only a stage fails, because a fallback stands in, the job does not wait: the stage's other tasks are CANCELLED
  at once, and their attempts keep nothing but their slots until they have ended.
* A lost attempt (executor lost or restarted, aborted without being asked) is no fault of the task. It is tried again
  at once and does not count against `max_attempts`, up to MAX_LOSSES times; but with `max_attempts` of 1 never, as
  that promises at most one execution.
"""

from __future__ import annotations

from dataclasses import replace

from services.scheduler.core import graph
from services.scheduler.core.effects import (
    CancelAttempt,
    Effect,
    JobChanged,
    StageChanged,
    StoreResult,
    TaskChanged,
    Unfold,
)
from services.scheduler.core.events import PromptTokensCounted, StageUnfolded, UnfoldFailed
from services.scheduler.core.executors import Fleet
from services.scheduler.core.jobs import Job, Stage, Task
from services.scheduler.core.model import (
    AttemptRef,
    Failure,
    JobSnapshot,
    JobState,
    Measurement,
    StageSnapshot,
    StageSpec,
    StageState,
    TaskSnapshot,
    TaskSpec,
    TaskState,
)
from services.scheduler.core.policies.base import Moment
from services.scheduler.core.queue import Ordered, ReadyQueue
from services.scheduler.core.transitions import JOB, STAGE, TASK, JobTrigger, StageTrigger, TaskTrigger, after

MAX_LOSSES = 10  #: a task that took so many executors with it is held to be the cause

MAX_DOUBLINGS = 16  #: of the backoff: 1 s grows to 18 hours at most

#: When a backoff ends, and whose: retry at, job id, stage id, task index.
Alarm = tuple[float, str, str, int]


class Lifecycle:
    """The active jobs. Its methods apply what happened, at the time and for the cause that `begin` was told."""

    def __init__(self, fleet: Fleet, queue: ReadyQueue) -> None:
        self.jobs: dict[str, Job] = {}
        self.programs: dict[str, Job] = {}  #: those that are open
        self.ended: dict[str, Job] = {}  #: by the latest batch, kept for readers until the next one
        self.alarms: Ordered[Alarm, Task] = Ordered()
        self.queue = queue
        self.effects: list[Effect] = []
        self.at = 0.0
        self.cause = ""
        self._fleet = fleet

    def begin(self, at: float, cause: str) -> None:
        self.at = at
        self.cause = cause

    def take_effects(self) -> list[Effect]:
        effects, self.effects = self.effects, []
        return effects

    def forget_ended(self) -> None:
        """Forgets the jobs that the latest batch has ended."""
        for job in self.ended.values():
            job.stages.clear()  # breaks the reference cycles, so that the memory is free at once
            job.shown.clear()
            job.late.clear()
        self.ended.clear()

    def reorder(self, queue: ReadyQueue) -> None:
        """Moves all waiting stages to an empty queue with another policy."""
        for job in self.jobs.values():
            job.view.memo.clear()
            for stage in job.queued:
                queue.put(stage)
        self.queue = queue

    # ---- what happens to jobs ----------------------------------------------------------------------------------

    def admit(self, snapshot: JobSnapshot) -> None:
        """Takes up a job that is new, recovered or a rerun; one that is known or has ended is refused."""
        if snapshot.job_id in self.jobs or snapshot.state.is_final:
            return
        problem = graph.admission_problem(snapshot)
        if problem is not None:
            failure = Failure(reason="INVALID_JOB", message=f"the job cannot run: {problem}")
            self._emit_job(snapshot.job_id, after(JOB, snapshot.state, JobTrigger.FAILED), failure)
            return
        job = self.jobs[snapshot.job_id] = Job(snapshot)
        if job.open:
            self.programs[snapshot.job_id] = job
        if job.state is JobState.PENDING:
            job.started_at = self.at
            self._move_job(job, JobTrigger.ADMITTED)
        for stage, state in [(stage, stage.state) for stage in job.stages.values()]:
            if stage.state is state:  # else a stage before it has set it going
                self._resume(stage)
        for stage in job.stages.values():
            self._expect_attempts(stage)
        if job.stopping:
            self._end_if_quiet(job)
        self._end_if_done(job)

    def cancel(self, job_id: str, reason: str) -> None:
        """Stops the job, unless it is stopping already."""
        job = self.jobs.get(job_id)
        if job is not None and not job.stopping:
            job.cancel_requested = True
            self._stop_job(job, Failure(reason="CANCELLED", message=reason))

    # ---- what the planner answers ------------------------------------------------------------------------------

    def unfolded(self, answer: StageUnfolded) -> None:
        stage = self._asking(answer)
        if stage is None:
            return
        if answer.skipped:
            self._finish_stage(stage, StageTrigger.SKIPPED)
            return
        problem = graph.unfolding_problem(stage, answer)
        if problem is not None:
            message = f"unfolding {answer.unfolding} of stage {answer.stage_id!r} is invalid: {problem}"
            self._fail_stage(stage, Failure(reason="INVALID_UNFOLDING", message=message))
        elif answer.tasks:
            self._add_tasks(stage, answer.tasks)
        elif answer.stages:
            self._add_stages(stage, answer.stages, again=answer.again and stage.failure is None)
        else:
            self._finish_stage(stage, StageTrigger.EMPTY)

    def unfold_failed(self, answer: UnfoldFailed) -> None:
        stage = self._asking(answer)
        if stage is not None:
            self._fail_stage(stage, answer.failure)

    def tokens_counted(self, event: PromptTokensCounted) -> None:
        """Replaces estimates by what an engine has counted; refused unless there is one number for each task."""
        stage = self._stage(event.job_id, event.stage_id)
        if stage is None or stage.view is None or len(event.prompt_tokens) != len(stage.tasks):
            return
        for task, tokens in zip(stage.tasks, event.prompt_tokens, strict=True):
            if tokens is not None:
                task.spec = replace(task.spec, prompt_tokens=tokens, counted=True)
        stage.refresh_view()
        self._touch(stage.job, Moment.TOKENS_COUNTED)

    # ---- what happens to attempts ------------------------------------------------------------------------------
    # In all of these the attempt's slot has been freed already.

    def running(self, ref: AttemptRef) -> tuple[Stage, Task] | None:
        """The task that this attempt is running for; None if the attempt is stale."""
        stage = self._stage(ref.job_id, ref.stage_id)
        if stage is None or not 0 <= ref.task_index < len(stage.tasks):
            return None
        task = stage.tasks[ref.task_index]
        return (stage, task) if task.state is TaskState.RUNNING and task.attempt == ref.attempt else None

    def wants(self, ref: AttemptRef) -> bool:
        """Whether the attempt should go on."""
        found = self.running(ref)
        return found is not None and not found[0].job.stopping

    def started(self, stage: Stage, executor_id: str) -> tuple[int, float]:
        """The stage's first READY task starts. Returns its index and for how many seconds it had waited."""
        index = stage.take_ready()
        if not stage.ready:
            self.queue.discard(stage)
        task = stage.tasks[index]
        since = stage.ready_at if task.waiting_since is None else task.waiting_since
        task.attempt += 1
        task.executor_id = executor_id
        task.started_at = self.at
        task.ended_at = task.retry_at = task.failure = None
        if stage.state is StageState.READY:
            self._move_stage(stage, StageTrigger.DISPATCHED)
        self._move_task(stage, index, TaskTrigger.DISPATCHED)
        stage.running += 1
        stage.job.view.running_tasks += 1
        self.queue.touch(stage.job, Moment.TASK_STARTED)
        return index, 0.0 if since is None else max(0.0, self.at - since)

    def succeeded(self, ref: AttemptRef, measurement: Measurement) -> None:
        found = self._live(ref)
        if found is None:
            return
        stage, task = found
        self.effects.append(StoreResult(cause=self.cause, attempt=ref))
        task.measurement = measurement
        stage.job.attain(stage, task)
        self._end_attempt(stage, ref.task_index, TaskTrigger.SUCCEEDED)
        stage.unfinished -= 1
        if stage.unfinished == 0:
            self._finish_stage(stage, StageTrigger.TASKS_DONE)

    def failed(self, ref: AttemptRef, failure: Failure) -> None:
        found = self._live(ref)
        if found is None:
            return
        stage, task = found
        spec = stage.spec
        task.failure = failure
        tries = task.attempt - task.losses
        if not failure.retryable or tries >= spec.max_attempts:
            self._end_attempt(stage, ref.task_index, TaskTrigger.FAILED)
            self._fail_stage(stage, failure)
            return
        task.retry_at = self.at + spec.backoff_seconds * 2.0 ** min(tries - 1, MAX_DOUBLINGS)
        self._end_attempt(stage, ref.task_index, TaskTrigger.RETRIED)
        self._set_alarm(stage, ref.task_index)

    def lost(self, ref: AttemptRef) -> None:
        """The attempt ended without a word of its own."""
        found = self._live(ref)
        if found is None:
            return
        stage, task = found
        task.losses += 1
        if stage.spec.max_attempts > 1 and task.losses <= MAX_LOSSES:
            self._end_attempt(stage, ref.task_index, TaskTrigger.LOST)
            self._make_ready(stage, ref.task_index)
            return
        message = f"attempt {ref.attempt} was lost with executor {task.executor_id!r}"
        task.failure = Failure(reason="EXECUTOR_LOST", message=message)
        self._end_attempt(stage, ref.task_index, TaskTrigger.FAILED)
        self._fail_stage(stage, task.failure)

    def wake(self) -> None:
        """Ends the backoffs whose time has come."""
        while (head := self.alarms.head()) is not None and head[0][0] <= self.at:
            (_, job_id, stage_id, index), task = head
            self.alarms.discard(task)
            stage = self.jobs[job_id].stages[stage_id]
            self._move_task(stage, index, TaskTrigger.BACKOFF_ENDED)
            self._make_ready(stage, index)

    def _live(self, ref: AttemptRef) -> tuple[Stage, Task] | None:
        """As `running`; but for a job that stops, the end of an attempt means the same however it came about."""
        found = self.running(ref)
        if found is None or not found[0].job.stopping:
            return found
        stage = found[0]
        self._end_attempt(stage, ref.task_index, TaskTrigger.STOPPED)
        if not stage.running and not stage.state.is_final:
            self._move_stage(stage, StageTrigger.STOPPED)
        self._end_if_quiet(stage.job)
        return None

    def _end_attempt(self, stage: Stage, index: int, trigger: TaskTrigger) -> None:
        stage.tasks[index].ended_at = self.at
        stage.running -= 1
        stage.job.view.running_tasks -= 1
        self._move_task(stage, index, trigger)
        self._touch(stage.job, Moment.TASK_ENDED)

    # ---- stages going forward ----------------------------------------------------------------------------------

    def _resume(self, stage: Stage) -> None:
        """Lets a stage of an admitted job go on from where its snapshot stands."""
        if stage.job.stopping:
            self._stop_stage(stage)
        elif stage.state is StageState.UNFOLDING:
            self._ask(stage)
        elif stage.state in (StageState.READY, StageState.RUNNING):
            if stage.ready:
                self.queue.put(stage)
            for index, task in enumerate(stage.tasks):
                if task.state is TaskState.BACKOFF:
                    self._set_alarm(stage, index)
        elif not stage.state.is_final and stage.blockers == 0:
            for finished in self._unblock(stage):
                self._finish_stage(*finished)

    def _expect_attempts(self, stage: Stage) -> None:
        for index, task in enumerate(stage.tasks):
            ref = stage.ref(index)
            if task.state is TaskState.RUNNING and not self._fleet.expect(task.executor_id, ref):
                self.lost(ref)

    def _unblock(self, stage: Stage) -> list[tuple[Stage, StageTrigger]]:
        """All that the stage waited for is done. Returns it if it is done itself, for `_finish_stage`."""
        if stage.state is StageState.EXPANDED and not stage.again:
            return [(stage, StageTrigger.STAGES_DONE)]
        if stage.state is StageState.WAITING and stage.tasks:
            self._release(stage, stage.tasks, StageTrigger.PARENTS_ENDED)
            return []
        self._unfold(stage, StageTrigger.AGAIN if stage.again else StageTrigger.PARENTS_DONE)
        return []

    def _unfold(self, stage: Stage, trigger: StageTrigger) -> None:
        stage.unfolding += 1
        stage.again = False
        stage.waits_on = ()
        self._move_stage(stage, trigger)
        self._ask(stage)

    def _ask(self, stage: Stage) -> None:
        self.effects.append(
            Unfold(
                cause=self.cause,
                job_id=stage.job.view.job_id,
                stage_id=stage.spec.stage_id,
                unfolding=stage.unfolding,
                failure=stage.failure,
            )
        )

    def _add_tasks(self, stage: Stage, specs: tuple[TaskSpec, ...]) -> None:
        self._release(stage, [Task(TaskSnapshot(spec=spec)) for spec in specs], StageTrigger.TASKS_ADDED)

    def _release(self, stage: Stage, tasks: list[Task], trigger: StageTrigger) -> None:
        """Lets the tasks wait for slots."""
        stage.ready_at = self.at
        self._move_stage(stage, trigger)
        stage.set_tasks(tasks)
        self._touch(stage.job, Moment.STAGE_READY)
        self.queue.put(stage)

    def _add_stages(self, stage: Stage, specs: tuple[StageSpec, ...], *, again: bool) -> None:
        job = stage.job
        added = [job.add(StageSnapshot(spec=spec)) for spec in specs]
        for one in added:
            self._emit_stage(one)
        for one in added:
            job.block(one, one.needs)
        stage.again = again
        stage.waits_on = tuple([spec.stage_id for spec in specs])
        self._move_stage(stage, StageTrigger.STAGES_ADDED)
        job.block(stage, stage.waits_on)
        self._touch(job, Moment.STAGES_ADDED)
        for one in added:
            if one.blockers == 0:
                self._unblock(one)

    def _make_ready(self, stage: Stage, index: int) -> None:
        stage.put_ready(index)
        if stage not in stage.job.queued:
            self.queue.put(stage)

    def _set_alarm(self, stage: Stage, index: int) -> None:
        task = stage.tasks[index]
        retry_at = self.at if task.retry_at is None else task.retry_at
        self.alarms.put(task, (retry_at, stage.job.view.job_id, stage.spec.stage_id, index))

    def _finish_stage(self, stage: Stage, trigger: StageTrigger) -> None:
        """The stage is done, and with it perhaps others that waited for it, and the job."""
        self._touch(stage.job, Moment.STAGE_ENDED)
        finished = [(stage, trigger)]  # no recursion: expansions may be nested deeply
        while finished:
            done, how = finished.pop()
            self._move_stage(done, how)
            if done.job.is_program:
                done.job.retire(done)
            done.job.unfinished -= 1
            dependents, done.dependents = done.dependents, []
            for dependent in dependents:
                dependent.blockers -= 1
                if dependent.blockers == 0:
                    finished += self._unblock(dependent)
        self._end_if_done(stage.job)

    # ---- stopping ----------------------------------------------------------------------------------------------

    def _fail_stage(self, stage: Stage, failure: Failure) -> None:
        """Asks for a fallback, once, if the stage may have one; else the stage fails, and stops its job unless that
        is a program's."""
        if stage.spec.recoverable and stage.failure is None:
            stage.failure = failure
            self._drop_tasks(stage)
            self._unfold(stage, StageTrigger.RECOVERING)
            return
        stage.failure = stage.failure or failure
        if stage.job.is_program:
            self._finish_stage(stage, StageTrigger.FAILED)
            return
        self._move_stage(stage, StageTrigger.FAILED)
        self._stop_job(stage.job, failure)

    def _drop_tasks(self, stage: Stage) -> None:
        """Cancels the stage's tasks without waiting for their attempts."""
        for index, task in enumerate(stage.tasks):
            if task.state is TaskState.RUNNING:
                self._cancel_attempt(stage, index)
                self._end_attempt(stage, index, TaskTrigger.STOPPED)
        self._stop_waiting_tasks(stage)

    def _stop_job(self, job: Job, failure: Failure) -> None:
        job.failure = failure
        if job.view.running_tasks:
            self._move_job(job, JobTrigger.STOPPED)
        for stage in job.stages.values():
            self._stop_stage(stage)
        self._end_if_quiet(job)

    def _stop_stage(self, stage: Stage) -> None:
        for index, task in enumerate(stage.tasks):
            if task.state is TaskState.RUNNING:
                self._cancel_attempt(stage, index)
        self._stop_waiting_tasks(stage)
        if not stage.running and not stage.state.is_final:
            self._move_stage(stage, StageTrigger.STOPPED)

    def _stop_waiting_tasks(self, stage: Stage) -> None:
        self.queue.discard(stage)
        stage.ready.clear()
        for index, task in enumerate(stage.tasks):
            if task.state in (TaskState.READY, TaskState.BACKOFF):
                self.alarms.discard(task)
                self._move_task(stage, index, TaskTrigger.STOPPED)

    def _cancel_attempt(self, stage: Stage, index: int) -> None:
        executor_id = stage.tasks[index].executor_id
        if executor_id is not None:
            self.effects.append(CancelAttempt(cause=self.cause, attempt=stage.ref(index), executor_id=executor_id))

    def _end_if_quiet(self, job: Job) -> None:
        if job.view.running_tasks == 0:
            self._end_job(job, JobTrigger.CANCELLED if job.cancel_requested else JobTrigger.FAILED)

    def _end_if_done(self, job: Job) -> None:
        if job.unfinished == 0 and job.state is JobState.RUNNING and not job.open:
            self._end_job(job, JobTrigger.STAGES_DONE)

    def _end_job(self, job: Job, trigger: JobTrigger) -> None:
        job.ended_at = self.at
        del self.jobs[job.view.job_id]
        self.programs.pop(job.view.job_id, None)
        self.ended[job.view.job_id] = job
        self._move_job(job, trigger)

    def _touch(self, job: Job, moment: Moment) -> None:
        """The job has shown something."""
        job.view.show(self.at)
        self.queue.touch(job, moment)

    # ---- finding, moving, telling ------------------------------------------------------------------------------

    def _stage(self, job_id: str, stage_id: str) -> Stage | None:
        job = self.jobs.get(job_id)
        return None if job is None else job.stages.get(stage_id)

    def _asking(self, answer: StageUnfolded | UnfoldFailed) -> Stage | None:
        """The stage that waits for exactly this answer."""
        stage = self._stage(answer.job_id, answer.stage_id)
        if stage is None or stage.state is not StageState.UNFOLDING or stage.unfolding != answer.unfolding:
            return None
        return stage

    def _move_job(self, job: Job, trigger: JobTrigger) -> None:
        job.state = after(JOB, job.state, trigger)
        self._emit_job(job.view.job_id, job.state, job.failure)

    def _move_stage(self, stage: Stage, trigger: StageTrigger) -> None:
        stage.state = after(STAGE, stage.state, trigger)
        if stage.state.is_final:
            stage.ended_at = self.at
        self._emit_stage(stage)

    def _move_task(self, stage: Stage, index: int, trigger: TaskTrigger) -> None:
        task = stage.tasks[index]
        task.state = after(TASK, task.state, trigger)
        self.effects.append(
            TaskChanged(
                cause=self.cause,
                job_id=stage.job.view.job_id,
                stage_id=stage.spec.stage_id,
                task_index=index,
                attempt=task.attempt,
                state=task.state,
            )
        )

    def _emit_job(self, job_id: str, state: JobState, failure: Failure | None) -> None:
        self.effects.append(JobChanged(cause=self.cause, job_id=job_id, state=state, failure=failure))

    def _emit_stage(self, stage: Stage) -> None:
        self.effects.append(
            StageChanged(
                cause=self.cause,
                job_id=stage.job.view.job_id,
                stage_id=stage.spec.stage_id,
                state=stage.state,
            )
        )
