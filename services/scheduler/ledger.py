"""Turns what the machine decided into what has to be written down: one `Commit` for each batch.

The ledger also knows what the machine has no use for: who submitted a job, its token sums, when and where its running
attempts were dispatched. It is filled by the same arrivals, and a job leaves it with its last commit.
"""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace

from services.scheduler.core.effects import (
    Dispatch,
    Effect,
    JobChanged,
    StageChanged,
    StoreResult,
    TaskChanged,
)
from services.scheduler.core.events import (
    AttemptCancelled,
    AttemptFailed,
    AttemptLost,
    AttemptSucceeded,
    Event,
    JobAdmitted,
    JobClosed,
    PolicyChanged,
    StageAdded,
    StageUnfolded,
)
from services.scheduler.core.machine import SchedulerMachine
from services.scheduler.core.model import (
    OPEN,
    AttemptRef,
    JobSnapshot,
    Measurement,
    StageSnapshot,
    StageState,
    TaskState,
)
from services.scheduler.facts import AttemptEnded, AttemptStarted, Fact, JobEnded, StageEnded
from services.scheduler.inbox import Arrival
from services.scheduler.observe import observations
from services.state.records import (
    Commit,
    JobCommit,
    JobRecord,
    JobStatus,
    JobUpdate,
    StageUpdate,
    StoredJob,
    TaskKey,
    TaskUpdate,
)

#: Lines about engines that wait for a commit. Without jobs there is nothing to measure, so few ever do.
_UNWRITTEN = 1000
_OUTCOMES = {TaskState.SUCCEEDED: "succeeded", TaskState.CANCELLED: "cancelled"}


@dataclass(frozen=True, slots=True, kw_only=True)
class _Running:
    """An attempt that was dispatched and has not ended."""

    ref: AttemptRef
    executor_id: str
    started_at: float
    used_slots: int | None = None
    dispatch: Dispatch | None = None


@dataclass(slots=True)
class _Account:
    """An active job."""

    record: JobRecord
    status: JobStatus
    running: dict[TaskKey, _Running] = field(default_factory=dict)
    #: By stage: what its unfoldings have added. A stage forgets that when it is unfolded again.
    added: dict[str, tuple[str, ...]] = field(default_factory=dict)


@dataclass(slots=True)
class _Changes:
    """What a batch has changed in a job so far. What changed twice is told once, where it changed last."""

    payloads: dict[TaskKey, bytes] = field(default_factory=dict)
    results: dict[TaskKey, bytes] = field(default_factory=dict)
    output: bytes | None = None
    status: bool = False
    updates: dict[tuple[str | int, ...], None] = field(default_factory=dict)
    stages: dict[str, None] = field(default_factory=dict)
    facts: list[Fact] = field(default_factory=list)
    finished: bool = False

    def touch(self, *what: str | int) -> None:
        self.updates.pop(what, None)
        self.updates[what] = None
        if what:
            self.stages[str(what[0])] = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Entry:
    """One batch in the ledger."""

    commit: Commit | None  #: None: nothing to write down
    facts: tuple[Fact, ...]


class Ledger:
    def __init__(self, machine: SchedulerMachine) -> None:
        """`machine` is only read."""
        self._machine = machine
        self._accounts: dict[str, _Account] = {}
        self._used: Counter[str] = Counter()  #: attempts that were dispatched and have not ended, by executor
        self._unwritten: deque[bytes] = deque(maxlen=_UNWRITTEN)  #: observations that are nobody's

    def record(self, job_id: str) -> JobRecord | None:
        """What is fixed about an active job."""
        account = self._accounts.get(job_id)
        return account.record if account else None

    def observe(self, line: bytes) -> None:
        """An observation that belongs to no job: written with the next commit of any. The oldest of too many go."""
        self._unwritten.append(line)

    def write(self, arrivals: Sequence[Arrival], events: Sequence[Event], effects: Sequence[Effect]) -> Entry:
        """Writes a batch down; call it right after the machine has handled it."""
        batch = _Batch(arrivals, events, effects)
        for arrival, event in zip(arrivals, events, strict=True):
            if arrival.job is not None and isinstance(event, JobAdmitted):
                self._open(arrival.job)
        self._note_growth(batch)
        for effect in effects:
            self._enter(effect, batch)
        self._add_texts(batch)
        jobs = tuple(self._close(job_id, changes, batch) for job_id, changes in batch.changes.items())
        if jobs and self._unwritten:
            first = jobs[0]
            jobs = (replace(first, observations=(*first.observations, *self._unwritten)), *jobs[1:])
            self._unwritten.clear()
        policies = [event.policy for event in events if isinstance(event, PolicyChanged)]
        commit = None
        if jobs or policies:
            decisions = max((effect.number for effect in effects if isinstance(effect, Dispatch)), default=0)
            commit = Commit(jobs=jobs, policy=policies[-1] if policies else None, decisions=decisions)
        return Entry(commit=commit, facts=tuple(fact for each in batch.changes.values() for fact in each.facts))

    def _open(self, job: StoredJob) -> None:
        if job.record.job_id in self._accounts:
            return
        account = self._accounts[job.record.job_id] = _Account(job.record, job.status)
        for stage in job.stages.values():
            if stage.waits_on:
                account.added[stage.spec.stage_id] = stage.waits_on
            for index, task in enumerate(stage.tasks):
                if task.state is TaskState.RUNNING:
                    ref = AttemptRef(
                        job_id=job.record.job_id,
                        stage_id=stage.spec.stage_id,
                        task_index=index,
                        attempt=task.attempt,
                    )
                    executor_id = task.executor_id or ""
                    account.running[stage.spec.stage_id, index] = _Running(
                        ref=ref, executor_id=executor_id, started_at=task.started_at or 0.0
                    )
                    self._used[executor_id] += 1

    def _note_growth(self, batch: _Batch) -> None:
        """Remembers what the unfoldings that the machine has accepted have added."""
        for unfolded, _ in batch.unfolded:
            change = unfolded.cause, unfolded.job_id, unfolded.stage_id, StageState.EXPANDED
            if change in batch.stage_changes:
                added = self._accounts[unfolded.job_id].added
                ids = tuple([spec.stage_id for spec in unfolded.stages])
                added[unfolded.stage_id] = (*added.get(unfolded.stage_id, ()), *ids)

    def _enter(self, effect: Effect, batch: _Batch) -> None:
        match effect:
            case JobChanged(job_id=job_id):
                self._job_changed(effect, batch)
            case StageChanged(job_id=job_id, stage_id=stage_id, state=state):
                changes = batch.of(job_id)
                changes.touch(stage_id)
                if state.is_final:
                    stage = self._stage(job_id, stage_id, batch)
                    changes.facts.append(StageEnded(record=self._accounts[job_id].record, stage=stage))
            case TaskChanged(job_id=job_id, stage_id=stage_id, task_index=index):
                batch.of(job_id).touch(stage_id, index)
                self._task_changed(effect, batch)
            case StoreResult(attempt=ref):
                self._result_accepted(ref, batch)
            case Dispatch():
                self._dispatched(effect, batch)

    def _job_changed(self, effect: JobChanged, batch: _Batch) -> None:
        account, changes = self._accounts[effect.job_id], batch.of(effect.job_id)
        job = self._snapshot(effect.job_id)
        account.status = replace(
            account.status,
            state=effect.state,
            failure=effect.failure,
            cancel_requested=job.cancel_requested if job else False,
            ended_at=(job.ended_at if job else batch.at) if effect.state.is_final else None,
            closed=account.record.structure == OPEN and job is not None and not job.open,
        )
        changes.touch()
        changes.status = True
        if effect.state.is_final:
            changes.finished = True
            changes.facts.append(JobEnded(record=account.record, status=account.status, job=job, added=account.added))

    def _dispatched(self, effect: Dispatch, batch: _Batch) -> None:
        ref = effect.attempt
        account, changes = self._accounts[ref.job_id], batch.of(ref.job_id)
        self._used[effect.executor_id] += 1
        account.running[ref.stage_id, ref.task_index] = _Running(
            ref=ref,
            executor_id=effect.executor_id,
            started_at=batch.at,
            used_slots=self._used[effect.executor_id],
            dispatch=effect,
        )
        changes.facts.append(AttemptStarted(record=account.record, dispatch=effect, at=batch.at))
        if account.status.started_at is None:
            account.status = replace(account.status, started_at=batch.at)
            changes.status = True

    def _result_accepted(self, ref: AttemptRef, batch: _Batch) -> None:
        account, changes = self._accounts[ref.job_id], batch.of(ref.job_id)
        changes.results[ref.stage_id, ref.task_index] = batch.results[ref]
        measured, status = batch.measurements[ref], account.status
        account.status = replace(
            status,
            prompt_tokens=status.prompt_tokens + measured.prompt_tokens,
            completion_tokens=status.completion_tokens + measured.output_tokens,
            cached_tokens=status.cached_tokens + measured.cached_tokens,
        )
        changes.status = True

    def _task_changed(self, effect: TaskChanged, batch: _Batch) -> None:
        account = self._accounts[effect.job_id]
        running = account.running.get((effect.stage_id, effect.task_index))
        if effect.state is TaskState.RUNNING or running is None or running.ref.attempt != effect.attempt:
            return
        del account.running[effect.stage_id, effect.task_index]
        self._used[running.executor_id] -= 1
        failure = batch.failures.get(running.ref)
        lost = failure is None and effect.state in (TaskState.READY, TaskState.FAILED)
        batch.of(effect.job_id).facts.append(
            AttemptEnded(
                record=account.record,
                ref=running.ref,
                stage=self._stage(effect.job_id, effect.stage_id, batch),
                outcome="lost" if lost else _OUTCOMES.get(effect.state, "failed"),
                failure=failure,
                measurement=batch.measurements.get(running.ref) if effect.state is TaskState.SUCCEEDED else None,
                executor_id=running.executor_id,
                used_slots=running.used_slots,
                started_at=running.started_at,
                ended_at=batch.ends.get(running.ref, batch.at),
                dispatch=running.dispatch,
                is_last=effect.state.is_final,
            )
        )

    def _add_texts(self, batch: _Batch) -> None:
        """Payloads and outputs of what the machine has accepted: unfoldings, stages of programs, the end of these."""
        for event, arrival in batch.told:
            if isinstance(event, StageAdded) and (event.cause, event.job_id, event.stage.stage_id) in batch.stages_told:
                batch.of(event.job_id).payloads[event.stage.stage_id, 0] = arrival.payloads[0]
            elif isinstance(event, JobClosed) and (event.cause, event.job_id) in batch.jobs_told:
                batch.of(event.job_id).output = arrival.output
        for unfolded, arrival in batch.unfolded:
            ready, done = (
                (unfolded.cause, unfolded.job_id, unfolded.stage_id, state)
                for state in (StageState.READY, StageState.SUCCEEDED)
            )
            if arrival.payloads and ready in batch.stage_changes:
                for index, payload in enumerate(arrival.payloads):
                    batch.of(unfolded.job_id).payloads[unfolded.stage_id, index] = payload
            if arrival.output is not None and done in batch.stage_changes:
                batch.of(unfolded.job_id).output = arrival.output

    def _close(self, job_id: str, changes: _Changes, batch: _Batch) -> JobCommit:
        account = self._accounts[job_id]
        if changes.finished:
            del self._accounts[job_id]
        stages = {stage_id: self._stage(job_id, stage_id, batch) for stage_id in changes.stages}
        updates: list[JobUpdate | StageUpdate | TaskUpdate] = []
        for what in changes.updates:
            match what:
                case ():
                    updates.append(JobUpdate(state=account.status.state, failure=account.status.failure))
                case (str(stage_id), *_) if stage_id.startswith("$"):
                    pass  # an inner stage, such as the one that renders the job's output: stored, but not shown
                case (str(stage_id),):
                    updates.append(StageUpdate(stage=replace(stages[stage_id], tasks=())))
                case (str(stage_id), int(index)):
                    task = stages[stage_id].tasks[index]
                    updates.append(TaskUpdate(stage_id=stage_id, task_index=index, task=task))
        return JobCommit(
            job_id=job_id,
            at=batch.at,
            status=account.status if changes.status else None,
            stages=stages,
            payloads=changes.payloads,
            results=changes.results,
            output=changes.output,
            updates=tuple(updates),
            observations=observations(changes.facts),
            finished=changes.finished,
        )

    def _stage(self, job_id: str, stage_id: str, batch: _Batch) -> StageSnapshot:
        # The machine stands still while a batch is written down, so one snapshot serves all who ask.
        key = job_id, stage_id
        if key not in batch.stages:
            batch.stages[key] = self._machine.stage_snapshot(job_id, stage_id)
        return batch.stages[key]

    def _snapshot(self, job_id: str) -> JobSnapshot | None:
        """The job, or None if the machine refused to take it up."""
        try:
            return self._machine.snapshot(job_id)
        except KeyError:
            return None


class _Batch:
    """A batch, indexed by what the ledger looks up."""

    def __init__(self, arrivals: Sequence[Arrival], events: Sequence[Event], effects: Iterable[Effect]) -> None:
        self.at = events[-1].at  #: the machine, too, dispatches at the time of the last event
        self.changes: dict[str, _Changes] = {}
        self.stages: dict[tuple[str, str], StageSnapshot] = {}
        self.results: dict[AttemptRef, bytes] = {}
        self.measurements: dict[AttemptRef, Measurement] = {}
        self.ends = {
            event.attempt: event.at
            for event in events
            if isinstance(event, AttemptSucceeded | AttemptFailed | AttemptCancelled | AttemptLost)
        }
        self.failures = {event.attempt: event.failure for event in events if isinstance(event, AttemptFailed)}
        self.unfolded: list[tuple[StageUnfolded, Arrival]] = []
        self.stage_changes = {
            (effect.cause, effect.job_id, effect.stage_id, effect.state)
            for effect in effects
            if isinstance(effect, StageChanged)
        }
        self.told: list[tuple[StageAdded | JobClosed, Arrival]] = []  #: by programs
        self.stages_told = {change[:3] for change in self.stage_changes}
        self.jobs_told = {(effect.cause, effect.job_id) for effect in effects if isinstance(effect, JobChanged)}
        for arrival, event in zip(arrivals, events, strict=True):
            if isinstance(event, AttemptSucceeded) and arrival.result is not None:
                self.results[event.attempt] = arrival.result
                self.measurements[event.attempt] = event.measurement
            elif isinstance(event, StageUnfolded):
                self.unfolded.append((event, arrival))
            elif isinstance(event, StageAdded | JobClosed):
                self.told.append((event, arrival))

    def of(self, job_id: str) -> _Changes:
        return self.changes.setdefault(job_id, _Changes())
