"""Jobs as the machine keeps them while they are active: what a snapshot says, plus counts that save searching.

Only the lifecycle changes these objects. Each has a way in (from a snapshot) and a way out (`snapshot`).
"""

from __future__ import annotations

import heapq
from collections import Counter, deque

from services.scheduler.core.model import (
    OPEN,
    AttemptRef,
    JobSnapshot,
    JobState,
    StageKind,
    StageSnapshot,
    StageSpec,
    StageState,
    TaskSnapshot,
    TaskState,
)
from services.scheduler.core.policies.base import JobView, StageView

#: Of a program's stages that have ended policies see so many of the first, and of the latest: a decision about a job
#: must not cost more after thousands of stages.
SHOWN = 64


class Task:
    """One task of a stage and its latest attempt."""

    __slots__ = (
        "attempt",
        "ended_at",
        "executor_id",
        "failure",
        "losses",
        "measurement",
        "retry_at",
        "spec",
        "started_at",
        "state",
    )

    def __init__(self, snapshot: TaskSnapshot) -> None:
        self.spec = snapshot.spec
        self.state = snapshot.state
        self.attempt = snapshot.attempt
        self.losses = snapshot.losses
        self.executor_id = snapshot.executor_id
        self.started_at = snapshot.started_at
        self.ended_at = snapshot.ended_at
        self.retry_at = snapshot.retry_at
        self.measurement = snapshot.measurement
        self.failure = snapshot.failure

    @property
    def waiting_since(self) -> float | None:
        """When it became ready again after its latest attempt; None before the first."""
        return self.ended_at if self.retry_at is None else self.retry_at

    def snapshot(self) -> TaskSnapshot:
        return TaskSnapshot(
            spec=self.spec,
            state=self.state,
            attempt=self.attempt,
            losses=self.losses,
            executor_id=self.executor_id,
            started_at=self.started_at,
            ended_at=self.ended_at,
            retry_at=self.retry_at,
            measurement=self.measurement,
            failure=self.failure,
        )


class Stage:
    """One stage of a job."""

    __slots__ = (
        "again",
        "blockers",  #: stages it still waits for (not `is_over`): parents while WAITING, `waits_on` while EXPANDED
        "dependents",  #: stages that count this one among their blockers
        "ended_at",
        "failure",
        "job",
        "ready",  #: heap of the indices of READY tasks
        "ready_at",
        "running",  #: tasks that are RUNNING
        "spec",
        "state",
        "tasks",
        "unfinished",  #: tasks that have not succeeded
        "unfolding",
        "view",  #: what the policy sees; from `ready_at` on
        "waits_on",
    )

    def __init__(self, job: Job, snapshot: StageSnapshot) -> None:
        self.job = job
        self.spec = snapshot.spec
        self.state = snapshot.state
        self.unfolding = snapshot.unfolding
        self.again = snapshot.again
        self.waits_on = snapshot.waits_on
        self.ended_at = snapshot.ended_at
        self.failure = snapshot.failure
        self.blockers = 0
        self.dependents: list[Stage] = []
        self.tasks: list[Task] = []
        self.view: StageView | None = None
        self.ready_at = snapshot.ready_at
        self.set_tasks([Task(task) for task in snapshot.tasks])

    def set_tasks(self, tasks: list[Task]) -> None:
        """Takes over the tasks and counts them."""
        self.tasks = tasks
        waits = self.state is StageState.WAITING  # a program's: its task is known before its parents have ended
        self.ready = [] if waits else [index for index, task in enumerate(tasks) if task.state is TaskState.READY]
        self.running = sum(task.state is TaskState.RUNNING for task in tasks)
        self.unfinished = sum(task.state is not TaskState.SUCCEEDED for task in tasks)
        self.refresh_view()

    def refresh_view(self) -> None:
        """Shows the policy what is known of the tasks by now; there is no view before there are tasks."""
        if self.ready_at is None:
            return
        self.view = StageView(
            stage_id=self.spec.stage_id,
            name=self.spec.name,
            occurrence=self.spec.occurrence,
            kind=self.spec.kind,
            position=self.spec.position,
            ready_at=self.ready_at,
            width=len(self.tasks),
            prompt_tokens=sum(task.spec.prompt_tokens for task in self.tasks),
        )

    @property
    def is_over(self) -> bool:
        """Whether what waits for it may start: of a program, also if it failed, as that is for the program to judge."""
        return self.state.is_done or (self.job.is_program and self.state is StageState.FAILED)

    @property
    def end(self) -> tuple[float, int]:
        """When it ended; of two that ended at once, the one that was added later is the later one."""
        return self.ended_at or 0.0, self.spec.position

    @property
    def needs(self) -> tuple[str, ...]:
        """The stages that it cannot go on without, done or not."""
        return dependencies(self.state, self.spec, self.waits_on)

    def put_ready(self, index: int) -> None:
        heapq.heappush(self.ready, index)

    def take_ready(self) -> int:
        """Takes out the READY task that comes first."""
        return heapq.heappop(self.ready)

    def ref(self, index: int) -> AttemptRef:
        """Names the latest attempt of a task."""
        return AttemptRef(
            job_id=self.job.view.job_id,
            stage_id=self.spec.stage_id,
            task_index=index,
            attempt=self.tasks[index].attempt,
        )

    def snapshot(self) -> StageSnapshot:
        return StageSnapshot(
            spec=self.spec,
            state=self.state,
            unfolding=self.unfolding,
            again=self.again,
            waits_on=self.waits_on,
            tasks=tuple([task.snapshot() for task in self.tasks]),
            ready_at=self.ready_at,
            ended_at=self.ended_at,
            failure=self.failure,
        )


class Job:
    """One active job."""

    __slots__ = (
        "cancel_requested",
        "early",  #: of a program: how many of the first stages that ended are shown
        "ended_at",
        "failure",
        "is_program",  #: a program adds its stages, or did so until it was closed
        "late",  #: of a program: the latest stages that ended and are shown, without the first
        "latest",  #: of a program: the stage that ended last
        "names",  #: of a program: how many stages each name has
        "open",  #: the program may add stages
        "queued",  #: its stages that have READY tasks, in the order in which they were queued
        "shown",  #: by id: the stages that policies see
        "stages",
        "started_at",
        "state",
        "unfinished",  #: stages that are not over
        "version",
        "view",
    )

    def __init__(self, snapshot: JobSnapshot) -> None:
        self.version = snapshot.version
        self.state = snapshot.state
        self.started_at = snapshot.started_at
        self.ended_at = snapshot.ended_at
        self.failure = snapshot.failure
        self.cancel_requested = snapshot.cancel_requested
        self.is_program = snapshot.structure == OPEN
        self.open = snapshot.open
        self.names: Counter[str] = Counter()
        self.view = JobView(
            job_id=snapshot.job_id,
            application=snapshot.application,
            structure=snapshot.structure,
            arrival=snapshot.arrival,
            order=snapshot.order,
            open=snapshot.open,
        )
        self.queued: dict[Stage, None] = {}
        self.stages: dict[str, Stage] = {}
        self.shown: dict[str, Stage] = {} if self.is_program else self.stages
        self.view.stages = self.shown
        self.early = 0
        self.late: deque[Stage] = deque()
        self.unfinished = 0
        stages = [self.add(stage) for stage in snapshot.stages]
        ended = [stage for stage in stages if stage.ended_at is not None]
        self.latest: Stage | None = None
        if self.is_program:
            for stage in sorted(ended, key=lambda one: one.end):
                self.retire(stage)
        for stage in stages:
            self.block(stage, stage.needs)
            self.view.running_tasks += stage.running
            for task in stage.tasks:
                self.attain(stage, task)

    def add(self, snapshot: StageSnapshot) -> Stage:
        """Makes the stage one of the job's; its blockers are counted by `block`."""
        stage = Stage(self, snapshot)
        self.stages[snapshot.spec.stage_id] = stage
        self.unfinished += not stage.is_over
        if self.is_program:
            self.names[snapshot.spec.name] += 1
            self.shown[snapshot.spec.stage_id] = stage
        return stage

    def retire(self, stage: Stage) -> None:
        """A program's stage has ended: it is shown for as long as it is one of the first or the latest."""
        if self.latest is None or stage.end >= self.latest.end:
            self.latest = stage
        if self.early < SHOWN:
            self.early += 1
            return
        self.late.append(stage)
        if len(self.late) > SHOWN:
            del self.shown[self.late.popleft().spec.stage_id]

    def block(self, stage: Stage, needs: tuple[str, ...]) -> None:
        """Lets the stage wait for those of `needs` that are not over."""
        blockers = [self.stages[stage_id] for stage_id in needs]
        for blocker in blockers:
            if not blocker.is_over:
                blocker.dependents.append(stage)
                stage.blockers += 1

    def attain(self, stage: Stage, task: Task) -> None:
        """Counts the service that a task which succeeded has received, without its wait inside the executor."""
        if task.measurement is None:
            return
        seconds = task.measurement.total_seconds - task.measurement.queue_seconds
        if stage.spec.kind is StageKind.LLM:
            self.view.attained_llm_seconds += seconds
            self.view.done_prompt_tokens += task.measurement.prompt_tokens
            self.view.done_output_tokens += task.measurement.output_tokens
        else:
            self.view.attained_tool_seconds += seconds

    @property
    def stopping(self) -> bool:
        return self.state is JobState.CANCELLING

    def snapshot(self) -> JobSnapshot:
        return JobSnapshot(
            job_id=self.view.job_id,
            application=self.view.application,
            version=self.version,
            arrival=self.view.arrival,
            order=self.view.order,
            stages=tuple([stage.snapshot() for stage in self.stages.values()]),
            structure=self.view.structure,
            state=self.state,
            started_at=self.started_at,
            ended_at=self.ended_at,
            failure=self.failure,
            cancel_requested=self.cancel_requested,
            open=self.open,
        )


def dependencies(state: StageState, spec: StageSpec, waits_on: tuple[str, ...]) -> tuple[str, ...]:
    """What a stage in this state waits for."""
    if state is StageState.WAITING:
        return spec.parents
    return waits_on if state is StageState.EXPANDED else ()
