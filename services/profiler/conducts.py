"""How the jobs of all applications agree with their profiles, in one term of leadership: drift, and scored beliefs.

Jobs are judged with the profile that is in force when they are handled. What comes of it becomes durable together with
the position behind them, so each job counts once.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from services.common.clock import Clock
from services.common.logs import get_logger
from services.profiler.core.belief import Beliefs
from services.profiler.core.conduct import Conduct, Outcome, outcome
from services.profiler.core.drift import score
from services.profiler.core.packing import UnknownEncoding, unpack
from services.profiler.core.statistics import WorkModel
from services.profiler.core.trace import TraceJob
from services.profiler.core.variables import completed
from services.profiler.instruments import Instruments
from services.profiler.scores import read_conduct, read_expected, write_conduct
from services.state.records import ProfileRecord

_log = get_logger(__name__)


@dataclass(slots=True)
class Judgement:
    """What follows from some finished jobs."""

    conducts: dict[str, Conduct] = field(default_factory=dict)  #: by application
    outcomes: list[tuple[str, Outcome]] = field(default_factory=list)  #: of each job, with its application

    def plain(self) -> dict[str, bytes]:
        """For the store."""
        return {application: write_conduct(conduct) for application, conduct in self.conducts.items()}


class Conducts:
    def __init__(self, *, clock: Clock, instruments: Instruments) -> None:
        self._clock = clock
        self._instruments = instruments
        self._beliefs: dict[str, Beliefs] = {}
        self._known: dict[str, Conduct] = {}
        #: Held from when something here is read until what follows from it is durable and noted here.
        self.lock = asyncio.Lock()

    def of(self, application: str) -> Conduct:
        return self._known.get(application, Conduct())

    def to_widen(self) -> list[str]:
        """Applications with an alarm that nothing was done about yet."""
        return sorted(application for application, conduct in self._known.items() if conduct.to_widen)

    def load(self, profile: ProfileRecord, conduct: bytes | None) -> None:
        """Takes up what an earlier leader has left."""
        try:
            known = read_conduct(conduct, profile.expected)
        except (KeyError, TypeError, ValueError) as error:
            name, told = profile.application, repr(error)
            _log.error("an application is watched anew", action="conduct_unreadable", application=name, error=told)
            known = Conduct()
        self.published(profile, known)

    def published(self, profile: ProfileRecord, conduct: Conduct) -> None:
        """A profile is in force from here on."""
        application = profile.application
        known = read_expected(profile.expected)
        work = WorkModel() if known is None else known[1]
        self._beliefs.pop(application, None)
        try:
            compiled = unpack(profile.compiled, profile.encoding)
        except UnknownEncoding as error:
            told = str(error)
            _log.error("jobs cannot be judged", action="profile_unreadable", application=application, error=told)
        else:
            self._beliefs[application] = Beliefs({application: compiled}, work)
        self._known[application] = conduct
        self._instruments.conduct(application, conduct)

    def judge(self, jobs: Sequence[TraceJob]) -> Judgement:
        """What follows from these jobs, in the order in which they have ended. Nothing is noted yet."""
        now = self._clock.now()
        found = Judgement()
        for job in jobs:
            beliefs = self._beliefs.get(job.app)
            if beliefs is None:
                continue
            conduct = found.conducts.get(job.app) or self.of(job.app)
            try:
                belief = beliefs.of(completed(job))
                if belief is None:
                    continue
                scores, became = score(belief), outcome(beliefs, job)
            except Exception:
                # One odd job must not keep all that come after it from being handled.
                _log.exception("job not judged", action="job_not_judged", job=job.job_id, application=job.app)
                continue
            found.conducts[job.app] = conduct.finished(scores, became, now)
            if became is not None:
                found.outcomes.append((job.app, became))
        return found

    def note(self, judgement: Judgement) -> bool:
        """It is durable. Whether there is an alarm that something must be done about."""
        for application, conduct in judgement.conducts.items():
            before = self.of(application)
            self._known[application] = conduct
            if conduct.alarms > before.alarms:
                self._alarmed(application, conduct)
            self._instruments.conduct(application, conduct)
        for application, one in judgement.outcomes:
            self._instruments.scored(application, one)
        return bool(self.to_widen())

    def _alarmed(self, application: str, conduct: Conduct) -> None:
        self._instruments.alarmed(application)
        _log.warning(
            "jobs are unlike their profile",
            action="drift_noticed",
            application=application,
            jobs=conduct.monitor.changed,
            alarms=conduct.alarms,
        )


def kept(conducts: Mapping[str, bytes], profile: ProfileRecord) -> Conduct:
    """What the store has of the application of its newest profile."""
    return read_conduct(conducts.get(profile.application), profile.expected)
