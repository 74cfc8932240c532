"""Metrics of a scheduler. Recorded only when somebody asked for metrics; docs/telemetry.md explains each."""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Sequence

from opentelemetry.metrics import CallbackOptions, Meter, Observation

from services.common import names
from services.scheduler.core.effects import Effect
from services.scheduler.core.events import Event, ExecutorAttached, ExecutorDraining
from services.scheduler.core.machine import SchedulerMachine
from services.scheduler.core.model import JobState, StageKind
from services.scheduler.facts import AttemptEnded, AttemptStarted, JobEnded
from services.scheduler.ledger import Entry


class Instruments:
    """Created once per process; `MetricJournal` fills them during a term."""

    def __init__(self, meter: Meter) -> None:
        self.jct = meter.create_histogram(names.METRIC_JCT, "s", "From acceptance to the end of a job")
        self.jobs = meter.create_counter(names.METRIC_JOBS, "{job}", "Jobs that ended")
        self.queue_time = meter.create_histogram(names.METRIC_QUEUE_TIME, "s", "From ready to dispatch")
        self.attempt_time = meter.create_histogram(names.METRIC_ATTEMPT_TIME, "s", "From dispatch to the end")
        self.attempts = meter.create_counter(names.METRIC_ATTEMPTS, "{attempt}", "Attempts that ended")
        self.decisions = meter.create_counter(names.METRIC_DECISIONS, "{decision}", "Dispatches")
        self.batch_time = meter.create_histogram(names.METRIC_BATCH_TIME, "s", "Deciding on one batch of events")
        self.commit_time = meter.create_histogram(names.METRIC_COMMIT_TIME, "s", "Making one batch durable")
        self.tokens = meter.create_counter(names.METRIC_TOKENS, "{token}", "Tokens of attempts that succeeded")
        self.active_jobs = meter.create_gauge(names.METRIC_ACTIVE_JOBS, "{job}", "Jobs that have not ended")
        self.ready_stages = meter.create_gauge(names.METRIC_READY_STAGES, "{stage}", "Stages that wait for a slot")
        # Asked for, as a gauge that is told keeps its last value for ever: an executor that was taken out has none.
        meter.create_observable_gauge(names.METRIC_SLOTS, [self._slots], "{slot}", "Slots of an executor")
        meter.create_observable_gauge(names.METRIC_SLOTS_USED, [self._used], "{slot}", "Slots in use on an executor")
        self.leader = meter.create_gauge(names.METRIC_LEADER, "1", "1 while this scheduler leads, else 0")
        self.leader.set(0)  # a change to 1 is seen only where something was before
        #: By id, slots and slots in use: of executors that are here, or away and should not be. Replaced as a whole,
        #: since it is read in another thread.
        self._executors: dict[str, tuple[int, int]] = {}
        self._leaving: set[str] = set()  #: ids of executors that will not be missed
        self._applications: set[str] = set()  #: whose jobs are counted
        # Prometheus sees no increase in a count that was not there before: what an alert waits for begins with 0.
        outcomes = ("succeeded", "failed", "lost", "cancelled")
        for kind, outcome in itertools.product((StageKind.LLM, StageKind.TOOL), outcomes):
            self.attempts.add(0, {names.STAGE_KIND: kind.value, "outcome": outcome})

    def measure(self, machine: SchedulerMachine) -> None:
        """Sets the gauges; called every now and then, as looking at everything has its price."""
        counts = machine.counts()
        self.active_jobs.set(counts.active_jobs)
        self.ready_stages.set(counts.waiting_stages)
        views = {view.executor_id: view for view in machine.executors()}
        missing = self._executors.keys() - views.keys() - self._leaving
        self._executors = dict.fromkeys(missing, (0, 0)) | {
            executor_id: (view.slots if view.attached else 0, len(view.running)) for executor_id, view in views.items()
        }

    def came(self, executor_id: str) -> None:
        self._leaving.discard(executor_id)

    def leaves(self, executor_id: str) -> None:
        """On purpose: it was drained, or ended in peace."""
        self._leaving.add(executor_id)

    def counts_jobs_of(self, application: str) -> None:
        """Shows the application's counts before its first job ends."""
        if application not in self._applications:
            self._applications.add(application)
            for state in (JobState.SUCCEEDED, JobState.FAILED, JobState.CANCELLED):
                self.jobs.add(0, {names.APPLICATION: application, names.JOB_STATE: state.value})

    def _slots(self, _: CallbackOptions) -> Iterable[Observation]:
        return [Observation(slots, {names.EXECUTOR: each}) for each, (slots, _) in self._executors.items()]

    def _used(self, _: CallbackOptions) -> Iterable[Observation]:
        return [Observation(used, {names.EXECUTOR: each}) for each, (_, used) in self._executors.items()]


class MetricJournal:
    """Records what batches have done."""

    def __init__(self, instruments: Instruments) -> None:
        self._instruments = instruments

    def handled(self, events: Sequence[Event], effects: Sequence[Effect], seconds: float) -> None:
        self._instruments.batch_time.record(seconds)
        for event in events:
            match event:
                case ExecutorAttached():
                    self._instruments.came(event.executor_id)
                case ExecutorDraining():
                    self._instruments.leaves(event.executor_id)

    def committed(self, entry: Entry, seconds: float) -> None:
        self._instruments.commit_time.record(seconds)
        for fact in entry.facts:
            match fact:
                case AttemptStarted():
                    self._started(fact)
                case AttemptEnded():
                    self._ended(fact)
                case JobEnded():
                    self._job_ended(fact)

    def _started(self, fact: AttemptStarted) -> None:
        dispatch = fact.dispatch
        self._instruments.counts_jobs_of(fact.record.application)
        self._instruments.decisions.add(1, {names.POLICY: dispatch.policy, names.POLICY_RULE: dispatch.rule})
        self._instruments.queue_time.record(dispatch.waited_seconds, {names.APPLICATION: fact.record.application})

    def _ended(self, fact: AttemptEnded) -> None:
        attributes = {names.STAGE_KIND: fact.stage.spec.kind.value, "outcome": fact.outcome}
        self._instruments.attempts.add(1, attributes)
        duration = max(0.0, fact.ended_at - fact.started_at)
        self._instruments.attempt_time.record(duration, attributes | {names.APPLICATION: fact.record.application})
        if fact.measurement is not None:
            measured = fact.measurement
            application = {names.APPLICATION: fact.record.application}
            for kind, number in (
                ("prompt", measured.prompt_tokens),
                ("completion", measured.output_tokens),
                ("cached", measured.cached_tokens),
            ):
                if number:
                    self._instruments.tokens.add(number, application | {"type": kind})

    def _job_ended(self, fact: JobEnded) -> None:
        attributes = {names.APPLICATION: fact.record.application, names.JOB_STATE: fact.status.state.value}
        self._instruments.jobs.add(1, attributes)
        if fact.status.ended_at is not None:
            self._instruments.jct.record(max(0.0, fact.status.ended_at - fact.record.created_at), attributes)
