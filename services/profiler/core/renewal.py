"""An application's profiles as its jobs end: `conduct` and `schedule` say when, here it is done at once.

The live profiler goes by the same rules and does it with a store, in other processes, and while more jobs end. In
simulations learning takes no time.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from services.profiler.core import profile as profiles
from services.profiler.core.belief import Beliefs
from services.profiler.core.conduct import Conduct
from services.profiler.core.drift import Learn, expected_scores, score, widened
from services.profiler.core.profile import Profile
from services.profiler.core.statistics import WorkModel
from services.profiler.core.trace import TraceJob
from services.profiler.core.variables import completed

#: The latest jobs that are kept and learned from.
MOST_JOBS = 2000

#: How much of the profile in force is doubted while there is an alarm.
DOUBT = 0.5


class Renewal:
    """Of one application: its history, its conduct, and the profile in force."""

    def __init__(self, learn: Learn = profiles.learn, work: WorkModel | None = None) -> None:
        """Args: `learn` is given jobs of this application only; `work` is what scores are computed with."""
        self._learn = learn
        self._work = work
        self._jobs: list[TraceJob] = []
        self._added = 0  #: jobs that the history has ever got
        self._learned = 0  #: of these, how many there were when a profile was last learned
        self._beliefs = Beliefs()
        self.conduct = Conduct()
        self.profile: Profile | None = None  #: the one in force: to publish

    def start(self, jobs: Sequence[TraceJob]) -> Profile:
        """Learns from a history of jobs, one at least; returns the profile."""
        for job in jobs:
            self._keep(job)
        return self._renew()

    def ended(self, job: TraceJob, at: float) -> Profile | None:
        """Takes in a job that has ended, `at` seconds. Returns a profile if there is a new one."""
        if self.profile is not None:
            belief = self._beliefs.of(completed(job))
            if belief is None:
                raise ValueError(f"a job of {job.app!r} among those of another application")
            self.conduct = self.conduct.finished(score(belief), None, at)
        self._keep(job)
        if self.conduct.due(self._added, self._learned, len(self._jobs)):
            return self._renew()
        if self.profile is not None and self.conduct.to_widen:
            self.conduct = self.conduct.answered()
            return self._publish(doubted(self.profile))
        return None

    def _keep(self, job: TraceJob) -> None:
        self._jobs = [*self._jobs, job][-MOST_JOBS:]
        self._added += 1

    def _renew(self) -> Profile:
        jobs = self.conduct.to_learn_from(self._jobs, self._added)
        (learned,) = self._learn(jobs).values()
        expected = expected_scores(jobs, self._learn, self._work)
        self.conduct = self.conduct.renewed(expected, self.conduct.since(self._added))
        self._learned = self._added
        return self._publish(replace(learned, version=1 if self.profile is None else self.profile.version + 1))

    def _publish(self, profile: Profile) -> Profile:
        self.profile = profile
        self._beliefs = Beliefs({profile.application: profile}, self._work)
        return profile


def doubted(profile: Profile) -> Profile:
    """The profile to publish at an alarm; its version is the next one."""
    return replace(widened(profile, DOUBT), version=profile.version + 1)
