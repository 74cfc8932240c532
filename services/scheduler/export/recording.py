"""From an event log to what happened: jobs, executors, LLM calls and the policies in force."""

from __future__ import annotations

from collections.abc import Iterator, Set
from pathlib import Path
from types import ModuleType

import msgspec

from services.scheduler.core.effects import Dispatch, Effect, JobChanged, StageChanged, StoreResult, Unfold
from services.scheduler.core.events import (
    AttemptCancelled,
    AttemptFailed,
    AttemptLost,
    AttemptSucceeded,
    Event,
    ExecutorAttached,
    ExecutorDetached,
    ExecutorDraining,
    ExecutorHealthChanged,
    ExecutorLost,
    JobAdmitted,
    PolicyChanged,
    PromptTokensCounted,
    StageAdded,
    StageUnfolded,
    UnfoldFailed,
)
from services.scheduler.core.model import AttemptRef, PolicySettings, StageState, TaskSpec
from services.scheduler.core.replay import Record
from services.scheduler.event_log import LoggedTerm, read_log
from services.scheduler.export.fit import Call
from services.scheduler.export.fleet import RecordedFleet, Stay
from services.scheduler.export.jobs import RecordedJob

_UNFOLDED = (StageState.READY, StageState.EXPANDED, StageState.SUCCEEDED, StageState.SKIPPED)


class NoEventLog(ValueError):
    """The file is not what a scheduler writes as its event log."""


class Recording:
    """Everything that the export needs of a log. Times are seconds since the epoch."""

    def __init__(self) -> None:
        self.jobs: dict[str, RecordedJob] = {}
        self.fleet = RecordedFleet()
        self.calls: list[Call] = []  #: LLM attempts that succeeded, seen from their dispatch to their end
        self.policies: list[tuple[float, PolicySettings]] = []  #: since when each was in force
        self.terms = 0
        self._active: set[str] = set()  #: jobs that this term's leader has taken up, and that have not ended
        self._asked: dict[tuple[str, str, int], float] = {}

    def hear(self, term: LoggedTerm) -> None:
        """Takes in the next term of leadership."""
        self.terms += 1
        self.fleet.begin_term()
        self._active.clear()
        self._asked.clear()
        for number, record in enumerate(record for record in term.records if record.events):
            if number == 0:
                self.policies.append((record.events[0].at, term.policy))
            self._hear(record)

    def _hear(self, record: Record) -> None:
        """Events first: what they led to is in the effects, and what starts does so after all that has ended."""
        accepted = {effect.attempt for effect in record.effects if isinstance(effect, StoreResult)}
        unfolded = {
            (effect.job_id, effect.stage_id)
            for effect in record.effects
            if isinstance(effect, StageChanged) and effect.state in _UNFOLDED
        }
        added = {
            (effect.job_id, effect.stage_id)
            for effect in record.effects
            if isinstance(effect, StageChanged) and effect.state is StageState.WAITING
        }
        for event in record.events:
            self._happened(event, accepted, unfolded, added)
        # An effect has the time of its event; a dispatch that of the last one, and all that has no cause in the batch.
        times = {event.cause: event.at for event in record.events}
        latest = record.events[-1].at
        for effect in record.effects:
            if isinstance(effect, Dispatch):
                self._dispatched(effect, latest)
            else:
                self._changed(effect, times.get(effect.cause, latest))

    def _happened(
        self, event: Event, accepted: Set[AttemptRef], unfolded: Set[tuple[str, str]], added: Set[tuple[str, str]]
    ) -> None:
        match event:
            case JobAdmitted(job=snapshot):
                if snapshot.job_id not in self._active and not snapshot.state.is_final:
                    self._active.add(snapshot.job_id)
                    self.jobs[snapshot.job_id] = RecordedJob(snapshot, self.jobs.get(snapshot.job_id))
            case StageAdded() if (event.job_id, event.stage.stage_id) in added and event.job_id in self._active:
                self.jobs[event.job_id].added(event)
            case StageUnfolded():
                self._answered(event)
                if (event.job_id, event.stage_id) in unfolded and event.job_id in self._active:
                    self.jobs[event.job_id].unfolded(event)
            case UnfoldFailed():
                self._answered(event)
            case PromptTokensCounted() if event.job_id in self._active:
                self._counted(event)
            case AttemptSucceeded(attempt=ref):
                stay = self.fleet.end(ref, event.at)
                if ref in accepted and ref.job_id in self._active:
                    self._succeeded(event, stay)
            case AttemptFailed() | AttemptCancelled() | AttemptLost():
                self.fleet.end(event.attempt, event.at)
            case PolicyChanged():
                self.policies.append((event.at, event.policy))
            case _:
                self._executor_changed(event)

    def _changed(self, effect: Effect, at: float) -> None:
        match effect:
            case StageChanged(job_id=job_id) if job_id in self._active:
                self.jobs[job_id].stage_changed(effect.stage_id, effect.state, at)
            case JobChanged(job_id=job_id, state=state) if job_id in self._active:
                self.jobs[job_id].job_changed(state, at)
                if state.is_final:
                    self._active.discard(job_id)
            case Unfold():
                self._asked[effect.job_id, effect.stage_id, effect.unfolding] = at

    def _executor_changed(self, event: Event) -> None:
        match event:
            case ExecutorAttached():
                self.fleet.attach(event)
            case ExecutorDetached(executor_id=executor_id):
                self.fleet.hinder(executor_id, "detached", event.at)
            case ExecutorDraining(executor_id=executor_id):
                self.fleet.hinder(executor_id, "draining", event.at)
            case ExecutorHealthChanged(executor_id=executor_id, healthy=healthy):
                self.fleet.hinder(executor_id, "unhealthy", event.at, over=healthy)
            case ExecutorLost(executor_id=executor_id):
                self.fleet.lost(executor_id, event.at)

    def _answered(self, answer: StageUnfolded | UnfoldFailed) -> None:
        asked = self._asked.pop((answer.job_id, answer.stage_id, answer.unfolding), None)
        if asked is not None and answer.job_id in self._active:
            self.jobs[answer.job_id].unfold_seconds += max(0.0, answer.at - asked)

    def _counted(self, event: PromptTokensCounted) -> None:
        for index, tokens in enumerate(event.prompt_tokens):
            if tokens is not None:
                spec = TaskSpec(prompt_tokens=tokens, counted=True)
                self.jobs[event.job_id].change_task(event.stage_id, index, spec=spec)

    def _dispatched(self, dispatch: Dispatch, at: float) -> None:
        ref = dispatch.attempt
        self.fleet.start(ref, dispatch.executor_id, at)
        if ref.job_id in self._active:
            job = self.jobs[ref.job_id]
            job.policies.add(dispatch.policy)
            job.change_task(ref.stage_id, ref.task_index, started_at=at, attempt=ref.attempt)

    def _succeeded(self, event: AttemptSucceeded, stay: Stay | None) -> None:
        ref, measured = event.attempt, event.measurement
        job = self.jobs[ref.job_id]
        job.change_task(ref.stage_id, ref.task_index, measurement=measured, ended_at=event.at)
        task = job.task(ref.stage_id, ref.task_index)
        if task is not None and stay is not None and stay.started_at is not None and stay.kind == "llm":
            prompt_tokens = measured.prompt_tokens or task.spec.prompt_tokens
            batches = tuple(sorted(stay.batches.items()))
            self.calls.append(Call(prompt_tokens, measured.output_tokens, batches))


def read_recording(path: Path) -> Recording:
    """Reads a whole event log.

    Raises:
        NoEventLog: the file holds something else, or nothing.
        OSError: it cannot be read.
    """
    recording = Recording()
    for term in _terms(path):
        recording.hear(term)
    if recording.terms == 0:
        nothing = "is empty" if path.stat().st_size == 0 else "is no event log: no line begins a term of leadership"
        raise NoEventLog(f"{path} {nothing}")
    return recording


def _terms(path: Path) -> Iterator[LoggedTerm]:
    try:
        yield from read_log(path)
    except (msgspec.MsgspecError, ValueError, TypeError, LookupError, AttributeError, AssertionError) as error:
        # A line that is JSON, but not one of ours, shows itself in any of these ways.
        match error:
            case KeyError():
                why = f": a line has no {error}"
            case AttributeError(obj=ModuleType(), name=name):
                why = f": a line has an unknown {name!r}"
            case msgspec.MsgspecError() | UnicodeDecodeError():
                why = f": {error}"
            case _:
                why = ""
        raise NoEventLog(f"{path} is no event log, or one of another version{why}") from error
