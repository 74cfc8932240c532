"""What the profiler shows of its work: metrics, where somebody asked for them."""

from __future__ import annotations

from collections.abc import Iterable

from opentelemetry.metrics import Meter

from services.common import names
from services.profiler.core.conduct import Conduct, Outcome
from services.profiler.core.scoring import LEVELS
from services.profiler.core.trace import TraceJob
from services.state.records import ProfileRecord


class Instruments:
    """Metrics of one profiler."""

    def __init__(self, meter: Meter) -> None:
        self._observations = meter.create_counter(names.METRIC_OBSERVATIONS, "{observation}", "Observations handled")
        self._history = meter.create_counter(names.METRIC_HISTORY_JOBS, "{job}", "Jobs that came into histories")
        self._profiles = meter.create_counter(names.METRIC_PROFILES, "{profile}", "Profiles published")
        self._jobs = meter.create_gauge(
            names.METRIC_PROFILE_JOBS, "{job}", "Jobs that the newest profile was learned from"
        )
        self._learn_time = meter.create_histogram(names.METRIC_LEARN_TIME, "s", "Learning one profile")
        self._alarms = meter.create_counter(names.METRIC_DRIFT_ALARMS, "{alarm}", "Changes of applications noticed")
        self._drift = meter.create_gauge(names.METRIC_DRIFT, "1", "How near an application is to an alarm")
        self._coverage = meter.create_gauge(
            names.METRIC_BELIEF_COVERAGE, "1", "Share of what was left of jobs that lay in the interval of the belief"
        )
        self._crps = meter.create_histogram(names.METRIC_BELIEF_CRPS, "s", "CRPS of beliefs about what jobs had left")
        self._leader = meter.create_gauge(names.METRIC_PROFILER_LEADER, "1", "1 while this profiler leads")
        self.leads(False)

    def observed(self, kind: str) -> None:
        self._observations.add(1, {"type": kind})

    def absorbed(self, jobs: Iterable[TraceJob]) -> None:
        """These jobs are in their histories."""
        for job in jobs:
            self._history.add(1, {names.APPLICATION: job.app})

    def published(self, profile: ProfileRecord) -> None:
        labels = {names.APPLICATION: profile.application}
        self._profiles.add(1, labels | {"trigger": profile.trigger})
        self._jobs.set(profile.jobs, labels)
        self._learn_time.record(profile.learn_seconds, labels)

    def alarmed(self, application: str) -> None:
        self._alarms.add(1, {names.APPLICATION: application})

    def conduct(self, application: str, conduct: Conduct) -> None:
        """How an application agrees with its profile by now."""
        labels = {names.APPLICATION: application}
        self._alarms.add(0, labels)  # shows it from the start
        self._drift.set(1.0 if conduct.monitor.alarm else min(1.0, conduct.height), labels)
        found = conduct.outcome
        for level, inside in zip(LEVELS, found.inside, strict=True):
            if found.beliefs:
                self._coverage.set(inside / found.beliefs, labels | {"level": f"{level:g}"})

    def scored(self, application: str, found: Outcome) -> None:
        """The beliefs about a job that has ended."""
        self._crps.record(found.crps / found.beliefs, {names.APPLICATION: application})

    def leads(self, leads: bool) -> None:
        self._leader.set(int(leads))
