"""The scheduling state machine: events in, effects out, nothing else.

Rule 1: the state changes only inside `handle` and `handle_batch`.
Rule 2: no clock, no I/O, no logging, no randomness: the driver supplies all four.
Rule 3: an event that does not fit (stale, duplicate, unknown id) is refused: no effects, nothing changes.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Any

from services.scheduler.core import events
from services.scheduler.core.effects import CancelAttempt, Dispatch, Effect
from services.scheduler.core.executors import Executor, Fleet
from services.scheduler.core.jobs import Job
from services.scheduler.core.model import (
    AttemptRef,
    JobSnapshot,
    PolicySettings,
    StageSnapshot,
    StageSpec,
    TaskSnapshot,
)
from services.scheduler.core.policies import NOTHING, UnknownPolicy, make_policy
from services.scheduler.core.policies.base import JobView, Knowledge, PlacingPolicy, Policy
from services.scheduler.core.policies.explaining import BelievingPolicy, parts
from services.scheduler.core.programs import Problem, ProgramLifecycle, problem
from services.scheduler.core.queue import Choice, ReadyQueue
from services.scheduler.core.views import Counts, ExecutorView, QueueEntry


class SchedulerMachine:
    """Decides which task of which job runs next and where.

    To recover: a fresh machine, `JobAdmitted` for every stored job first, then `ExecutorAttached` as the executors
    come back. Executors that recovered jobs name but that have not attached stand in `executors()` with
    `incarnation=None`; the driver sends `ExecutorLost` for those that do not come back in time.
    """

    def __init__(
        self,
        policy: PolicySettings,
        *,
        knowledge: Knowledge = NOTHING,
        policies: Callable[[PolicySettings, Knowledge], Policy] = make_policy,
        decisions: int = 0,
    ) -> None:
        """Args: `knowledge`: what policies know besides the jobs, to begin with; `policies` makes a policy of its
        settings and that (default: the registry, `make_policy`); `decisions`: how many were taken before a recovery,
        so that `Dispatch.number` goes on from there.

        Raises:
            UnknownPolicy: the settings name no policy, or give it bad parameters.
        """
        self._policies = policies
        self._knowledge = knowledge
        self._settings = policy
        self._decisions = decisions
        self._fleet = Fleet()
        self._lifecycle = ProgramLifecycle(self._fleet, self._queue(policies(policy, knowledge)))

    def handle(self, event: events.Event) -> list[Effect]:
        """Applies one event, then fills free slots. Returns the effects in the order in which they came to be."""
        return self.handle_batch((event,))

    def handle_batch(self, batch: Sequence[events.Event], *, dispatch: bool = True) -> list[Effect]:
        """Applies all events, then fills free slots once: arrivals and completions of one instant come before dispatch.

        Effects of the dispatch carry the time and cause of the last event. With `dispatch=False` nothing is
        dispatched yet: for a caller that answers `Unfold` within the instant (the simulator) and then closes it
        with a `TimerFired`.
        """
        lifecycle = self._lifecycle
        lifecycle.forget_ended()
        for event in batch:
            lifecycle.begin(event.at, event.cause)
            _HANDLERS[type(event)](self, event)
        if dispatch:
            self._fill_slots()
        return lifecycle.take_effects()

    @property
    def next_wake(self) -> float | None:
        """When the machine next wants a `TimerFired` (the earliest end of a backoff); None: no timer is needed."""
        head = self._lifecycle.alarms.head()
        return None if head is None else head[0][0]

    @property
    def settings(self) -> PolicySettings:
        """The policy in force."""
        return self._settings

    @property
    def policy(self) -> Policy:
        """What ranks by these settings and by what is known now."""
        return self._policy

    @property
    def knowledge(self) -> Knowledge:
        """What policies know besides the jobs."""
        return self._knowledge

    @property
    def decisions(self) -> int:
        """Number of the latest `Dispatch`."""
        return self._decisions

    @property
    def active_jobs(self) -> int:
        return len(self._lifecycle.jobs)

    def job_ids(self) -> list[str]:
        """Active jobs, in the order of their admission."""
        return list(self._lifecycle.jobs)

    def idle_programs(self) -> list[str]:
        """Open jobs of which no stage waits or runs."""
        return [job_id for job_id, job in self._lifecycle.programs.items() if not job.unfinished]

    def addition_problem(self, job_id: str, stage: StageSpec) -> Problem | None:
        """What is in the way of adding the stage to the job."""
        return problem(self._lifecycle.jobs.get(job_id), stage)

    def is_open(self, job_id: str) -> bool:
        """Whether the job is active and its program may add stages."""
        job = self._lifecycle.programs.get(job_id)
        return job is not None and not job.stopping

    def snapshot(self, job_id: str) -> JobSnapshot:
        """The whole job as a value that `JobAdmitted` takes back.

        A job that ended in the latest call of `handle` or `handle_batch` can still be read, until the next call.

        Raises:
            KeyError: no such job.
        """
        return self._job(job_id).snapshot()

    def view(self, job_id: str) -> JobView:
        """What policies see of the job: the machine's own, so do not keep it. Raises KeyError as `snapshot` does."""
        return self._job(job_id).view

    def stage_snapshot(self, job_id: str, stage_id: str) -> StageSnapshot:
        """One stage of `snapshot`, without the cost of the others. Raises KeyError as `snapshot` does."""
        return self._job(job_id).stages[stage_id].snapshot()

    def task_snapshot(self, job_id: str, stage_id: str, task_index: int) -> TaskSnapshot:
        """One task of `snapshot`. Raises KeyError as `snapshot` does, IndexError for a task that does not exist."""
        return self._job(job_id).stages[stage_id].tasks[task_index].snapshot()

    def queue(self, at: float | None = None) -> list[QueueEntry]:
        """Stages with waiting tasks in the order of dispatch, were all slots alike.

        The first is the next to go; with a policy that draws, the first of each requirement is, if its slot is the
        next to become free. `at` (seconds) applies the ageing guard as of that time; without it the order is the
        policy's alone.
        """
        entries = []
        for key, stage, rule in self._lifecycle.queue.ordered(at, self._decisions + 1):
            assert stage.view is not None
            entries.append(
                QueueEntry(
                    job=stage.job.view,
                    stage=stage.view,
                    requirement=stage.spec.requirement,
                    waiting_tasks=len(stage.ready),
                    key=key,
                    rule=rule,
                )
            )
        return entries

    def executors(self) -> list[ExecutorView]:
        """All executors in the order of their first attachment, those still awaited (`incarnation=None`) last."""
        executors = self._fleet.executors.values()
        known = [executor for executor in executors if executor.index is not None]
        known.sort(key=lambda executor: executor.index or 0)
        return [executor.view() for executor in (*known, *(one for one in executors if one.index is None))]

    def counts(self) -> Counts:
        queue = self._lifecycle.queue
        executors = self.executors()
        return Counts(
            active_jobs=len(self._lifecycle.jobs),
            waiting_stages=len(queue),
            waiting_tasks=queue.tasks(),
            running_attempts=sum(len(executor.running) for executor in executors),
            executors=sum(executor.attached for executor in executors),
            slots=sum(executor.slots for executor in executors if executor.attached),
            free_slots=sum(executor.free_slots for executor in executors),
        )

    def _job(self, job_id: str) -> Job:
        job = self._lifecycle.jobs.get(job_id) or self._lifecycle.ended.get(job_id)
        if job is None:
            raise KeyError(job_id)
        return job

    # ---- decisions ---------------------------------------------------------------------------------------------

    def _fill_slots(self) -> None:
        """Dispatches until no waiting task has an executor with a free slot: no slot is left free on purpose."""
        lifecycle, place = self._lifecycle, self._fleet.place
        while (choice := lifecycle.queue.choose(lifecycle.at, place, self._decisions + 1)) is not None:
            self._dispatch(choice, choice.executor)
            for _ in range(min(choice.tasks - 1, len(choice.stage.ready))):
                executor = place(choice.stage.spec.requirement)
                if executor is None:
                    break
                self._dispatch(choice, executor)

    def _dispatch(self, choice: Choice, executor: Executor) -> None:
        lifecycle, stage, executor_id = self._lifecycle, choice.stage, executor.executor_id
        job, view, policy = stage.job.view, stage.view, self._policy
        assert view is not None
        waiting_stages = len(lifecycle.queue)
        index, waited_seconds = lifecycle.started(stage, executor_id)
        ref = stage.ref(index)
        self._fleet.hold(executor, ref)
        self._decisions += 1
        lifecycle.effects.append(
            Dispatch(
                cause=lifecycle.cause,
                attempt=ref,
                executor_id=executor_id,
                priority=-self._decisions,
                timeout_seconds=stage.spec.timeout_seconds,
                number=self._decisions,
                policy=self._settings.name,
                key=choice.key,
                rule=choice.rule,
                waited_seconds=waited_seconds,
                waiting_stages=waiting_stages,
                parts=parts(policy, job, view),
                more=tuple(policy.stage_figures(job, view))
                if choice.rule == "explore" and isinstance(policy, BelievingPolicy)
                else (),
            )
        )

    # ---- events ------------------------------------------------------------------------------------------------

    def _on_job_admitted(self, event: events.JobAdmitted) -> None:
        self._lifecycle.admit(event.job)

    def _on_job_cancel_requested(self, event: events.JobCancelRequested) -> None:
        self._lifecycle.cancel(event.job_id, event.reason)

    def _on_stage_added(self, event: events.StageAdded) -> None:
        self._lifecycle.add_stage(event)

    def _on_job_closed(self, event: events.JobClosed) -> None:
        self._lifecycle.close(event)

    def _on_stage_unfolded(self, event: events.StageUnfolded) -> None:
        self._lifecycle.unfolded(event)

    def _on_unfold_failed(self, event: events.UnfoldFailed) -> None:
        self._lifecycle.unfold_failed(event)

    def _on_prompt_tokens_counted(self, event: events.PromptTokensCounted) -> None:
        self._lifecycle.tokens_counted(event)

    def _on_attempt_succeeded(self, event: events.AttemptSucceeded) -> None:
        if self._fleet.release(event.attempt) is not None:
            self._lifecycle.succeeded(event.attempt, event.measurement)

    def _on_attempt_failed(self, event: events.AttemptFailed) -> None:
        if self._fleet.release(event.attempt) is not None:
            self._lifecycle.failed(event.attempt, event.failure)

    def _on_attempt_gone(self, event: events.AttemptCancelled | events.AttemptLost) -> None:
        # An attempt that was cancelled though nobody asked is as good as lost: its task is to run again.
        if self._fleet.release(event.attempt) is not None:
            self._lifecycle.lost(event.attempt)

    def _on_timer_fired(self, event: events.TimerFired) -> None:
        self._lifecycle.wake()

    def _on_executor_attached(self, event: events.ExecutorAttached) -> None:
        executor = self._fleet.attach(event)
        self._measure_speeds()
        runs = dict.fromkeys(event.running)
        self._lose(ref for ref in executor.running if ref not in runs)
        for ref in runs:
            # A claim to an attempt that is believed to run elsewhere is let be: attempts are known by name only.
            if self._fleet.holder(ref) is None:
                self._fleet.hold(executor, ref)
            if not self._lifecycle.wants(ref):
                cancel = CancelAttempt(cause=event.cause, attempt=ref, executor_id=executor.executor_id)
                self._lifecycle.effects.append(cancel)

    def _on_executor_detached(self, event: events.ExecutorDetached) -> None:
        executor = self._fleet.executors.get(event.executor_id)
        # The end of an old stream may be noticed after the new one has begun.
        if executor is not None and executor.incarnation == event.incarnation:
            executor.attached = False
            self._fleet.file(executor)

    def _on_executor_lost(self, event: events.ExecutorLost) -> None:
        executor = self._fleet.executors.get(event.executor_id)
        if executor is not None:
            executor.attached = False
            self._lose(executor.running)
            self._fleet.remove(executor)

    def _on_executor_draining(self, event: events.ExecutorDraining) -> None:
        executor = self._fleet.executors.get(event.executor_id)
        if executor is not None:
            executor.draining = True
            self._fleet.file(executor)

    def _on_executor_health_changed(self, event: events.ExecutorHealthChanged) -> None:
        executor = self._fleet.executors.get(event.executor_id)
        if executor is not None:
            executor.healthy = event.healthy
            self._fleet.file(executor)

    def _on_policy_changed(self, event: events.PolicyChanged) -> None:
        try:
            policy = self._policies(event.policy, self._knowledge)
        except UnknownPolicy:
            return  # whoever lets operators change the policy tells them; the machine keeps the one it has
        self._settings = event.policy
        self._lifecycle.reorder(self._queue(policy))

    def _on_profile_changed(self, event: events.ProfileChanged) -> None:
        self._know(self._knowledge.with_profile(event.profile))

    def _on_calibration_changed(self, event: events.CalibrationChanged) -> None:
        self._fleet.calibrate(event.executor_id, event.calibration)
        self._measure_speeds()

    def _measure_speeds(self) -> None:
        """Takes over what is known of the engines by now, if it is news."""
        speeds = self._fleet.speeds()
        if speeds is not None and speeds != (self._knowledge.beliefs.work, self._knowledge.slowdown):
            self._know(self._knowledge.with_speeds(*speeds))

    def _know(self, knowledge: Knowledge) -> None:
        self._knowledge = knowledge
        self._lifecycle.reorder(self._queue(self._policies(self._settings, knowledge)))

    def _queue(self, policy: Policy) -> ReadyQueue:
        """An empty queue in the order of the policy, which also has a say in where tasks go."""
        self._policy = policy
        self._fleet.place_by_speed(isinstance(policy, PlacingPolicy) and policy.by_speed)
        return ReadyQueue(policy, self._settings.ageing_seconds)

    def _lose(self, refs: Iterable[AttemptRef]) -> None:
        # By name and not by age: a machine that was recovered does not know which attempt is older.
        for ref in sorted(refs, key=lambda ref: (ref.job_id, ref.stage_id, ref.task_index, ref.attempt)):
            self._fleet.release(ref)
            self._lifecycle.lost(ref)


_HANDLERS: dict[type[events.Event], Callable[[SchedulerMachine, Any], None]] = {
    events.JobAdmitted: SchedulerMachine._on_job_admitted,
    events.JobCancelRequested: SchedulerMachine._on_job_cancel_requested,
    events.StageAdded: SchedulerMachine._on_stage_added,
    events.JobClosed: SchedulerMachine._on_job_closed,
    events.StageUnfolded: SchedulerMachine._on_stage_unfolded,
    events.UnfoldFailed: SchedulerMachine._on_unfold_failed,
    events.PromptTokensCounted: SchedulerMachine._on_prompt_tokens_counted,
    events.ExecutorAttached: SchedulerMachine._on_executor_attached,
    events.ExecutorDetached: SchedulerMachine._on_executor_detached,
    events.ExecutorLost: SchedulerMachine._on_executor_lost,
    events.ExecutorDraining: SchedulerMachine._on_executor_draining,
    events.ExecutorHealthChanged: SchedulerMachine._on_executor_health_changed,
    events.AttemptSucceeded: SchedulerMachine._on_attempt_succeeded,
    events.AttemptFailed: SchedulerMachine._on_attempt_failed,
    events.AttemptCancelled: SchedulerMachine._on_attempt_gone,
    events.AttemptLost: SchedulerMachine._on_attempt_gone,
    events.TimerFired: SchedulerMachine._on_timer_fired,
    events.PolicyChanged: SchedulerMachine._on_policy_changed,
    events.ProfileChanged: SchedulerMachine._on_profile_changed,
    events.CalibrationChanged: SchedulerMachine._on_calibration_changed,
}
