"""The profiler in virtual time: learns of applications as their jobs end in a simulation.

It goes by the live profiler's rules (`services.profiler.core.renewal`), and its profiles reach the machine as the live
ones do, as events. Learning takes no virtual time.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping
from typing import NamedTuple

from services.profiler.core import profile
from services.profiler.core.drift import Learn
from services.profiler.core.profile import Profile
from services.profiler.core.renewal import Renewal
from services.profiler.core.statistics import WorkModel
from services.profiler.core.trace import TraceJob
from services.scheduler.core.events import ProfileChanged


class Renewed(NamedTuple):
    """A profile that was published during a run."""

    at: float  #: seconds
    profile: Profile
    alarms: int  #: changes of its application that were noticed until then


class OnlineProfiler:
    """Of all applications of one run: it remembers the run's jobs, so each run needs its own."""

    def __init__(
        self, history: Iterable[TraceJob] = (), *, learn: Learn = profile.learn, work: WorkModel | None = None
    ) -> None:
        """Args: `history`: jobs to learn from before the run, in the order in which they ended; none: from nothing."""
        self._learn, self._work = learn, work
        self._renewals: dict[str, Renewal] = {}
        self.renewed: list[Renewed] = []  #: what was published, in order
        by_application: dict[str, list[TraceJob]] = defaultdict(list)
        for job in history:
            by_application[job.app].append(job)
        for application, jobs in by_application.items():
            self._of(application).start(jobs)

    @property
    def profiles(self) -> Mapping[str, Profile]:
        """Those in force, by application; those that have too few jobs have none."""
        return {name: one.profile for name, one in self._renewals.items() if one.profile is not None}

    def ended(self, job: TraceJob, at: float) -> ProfileChanged | None:
        """A job has succeeded. Returns what the machine should hear of it."""
        renewal = self._of(job.app)
        found = renewal.ended(job, at)
        if found is None:
            return None
        self.renewed.append(Renewed(at, found, renewal.conduct.alarms))
        return ProfileChanged(at=at, cause="profiler", profile=found)

    def _of(self, application: str) -> Renewal:
        return self._renewals.setdefault(application, Renewal(self._learn, self._work))
