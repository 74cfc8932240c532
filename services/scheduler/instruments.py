"""Metrics of a scheduler. Recorded only when somebody asked for metrics; docs/telemetry.md explains each."""

from __future__ import annotations

from collections.abc import Sequence

from opentelemetry.metrics import Meter

from services.common import names
from services.scheduler.core.effects import Effect
from services.scheduler.core.events import Event
from services.scheduler.core.machine import SchedulerMachine
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
        self.slots = meter.create_gauge(names.METRIC_SLOTS, "{slot}", "Slots of an executor")
        self.slots_used = meter.create_gauge(names.METRIC_SLOTS_USED, "{slot}", "Slots in use on an executor")
        self.leader = meter.create_gauge(names.METRIC_LEADER, "1", "1 while this scheduler leads, else 0")
        self._executors: set[str] = set()  #: ever seen

    def measure(self, machine: SchedulerMachine) -> None:
        """Sets the gauges; called every now and then, as looking at everything has its price."""
        counts = machine.counts()
        self.active_jobs.set(counts.active_jobs)
        self.ready_stages.set(counts.waiting_stages)
        views = {view.executor_id: view for view in machine.executors()}
        self._executors |= views.keys()
        for executor_id in self._executors:
            # A gauge keeps what it was last told: one that has gone must be told so.
            view = views.get(executor_id)
            attributes = {names.EXECUTOR: executor_id}
            self.slots.set(view.slots if view and view.attached else 0, attributes)
            self.slots_used.set(len(view.running) if view else 0, attributes)


class MetricJournal:
    """Records what batches have done."""

    def __init__(self, instruments: Instruments) -> None:
        self._instruments = instruments

    def handled(self, events: Sequence[Event], effects: Sequence[Effect], seconds: float) -> None:
        self._instruments.batch_time.record(seconds)

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
