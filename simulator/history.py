"""What policies may learn before a run: statistics and profiles of recorded jobs."""

from __future__ import annotations

from collections.abc import Iterable
from functools import cached_property

from services.profiler.core import history, profile
from services.profiler.core.belief import Beliefs
from services.profiler.core.statistics import Statistics, WorkModel
from services.profiler.core.trace import TraceJob
from services.scheduler.core.policies import BY_PROFILE


class History:
    """Recorded jobs and what is learned from them; nothing is learned before it is asked for, and nothing twice.

    Equal jobs in equal order give equal knowledge.
    """

    def __init__(self, jobs: Iterable[TraceJob], work: WorkModel | None = None) -> None:
        """Args: `work`: what tokens cost. Raises ValueError if there are no jobs."""
        self.jobs = tuple(jobs)
        self.work = work or WorkModel()
        if not self.jobs:
            raise ValueError("the history has no jobs: there is nothing to learn from")

    @cached_property
    def statistics(self) -> Statistics:
        return history.learn(self.jobs, self.work)

    @cached_property
    def beliefs(self) -> Beliefs:
        """By the profiles of the applications. Seconds of computing for hundreds of jobs."""
        return Beliefs(profile.learn(self.jobs), self.work)

    def beliefs_of(self, policy: str) -> Beliefs | None:
        """What the policy of that name is told; None: it has no use for beliefs, and nothing is learned for it."""
        return self.beliefs if policy in BY_PROFILE else None
