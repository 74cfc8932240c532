"""Hermes' Gittins rank, as its code computes it."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Sequence
from itertools import accumulate

from services.scheduler.core.model import PolicySettings
from services.scheduler.core.policies.base import JobView, Key, Knowledge, Moment, StageView
from services.scheduler.core.policies.explaining import Part

BUCKETS = 10


_RANK = Part("rank", "Gittins rank as Hermes computes it", "s")


class Hermes:
    """The job with the smallest rank goes first: min over D of E[S | S <= D] / P(S <= D), S what a job still needs.

    Source: `GittinsPolicy` and `Distribution.get_gittins_rank` of Hermes' code (github.com/NephrenCake/Hermes,
    Hermes/platform/policy/optimize_policy.py at f0b815b, llm/pdgraph.py at 90b416e); the paper was not at hand.
    Faithful: S are the totals of the application's past jobs that exceed what the job has received, minus that; D
    goes over ten equal buckets up to the largest; a job that has outlived all past ones has rank 0. The numerator
    E[S | S <= D] is the code's. The Gittins index has E[min(S, D)] there, which also counts the time spent on jobs
    that do not end by D; without it an exponential of mean 1.04 goes before a sure 0.8. Adapted: received service
    is counted at task ends (the original counts tokens as they come, and a tool call whole from its beginning); an
    application that the history does not know has the totals of all jobs; ties go by arrival. Left out: preemption,
    the window of the 1,000 latest jobs that is refined as jobs end, totals sampled from a graph of stages in place of
    recorded ones, deadlines (`LSTFPolicy`), and prewarming of caches and tools. Starvation: possible, for jobs whose
    rank stays high; run it under the ageing guard (`ageing_seconds`) for a bound.
    """

    name = "hermes"
    rekey_on = frozenset({Moment.TASK_ENDED})

    def __init__(self, settings: PolicySettings, knowledge: Knowledge) -> None:
        """Raises UnknownPolicy without a history."""
        statistics = knowledge.statistics_for(self.name)
        self._work = statistics.work
        self._totals = {name: Totals(one.totals) for name, one in statistics.applications.items()}
        self._pooled = Totals(statistics.pooled.totals)

    def parts(self, job: JobView, stage: StageView) -> Sequence[Part]:
        return (_RANK,)

    def key(self, job: JobView, stage: StageView) -> Key:
        totals = self._totals.get(job.application, self._pooled)
        return totals.rank(job.done_work(self._work)), job.arrival, job.order, stage.position


class Totals:
    """Seconds that jobs have needed, ascending."""

    def __init__(self, totals: Sequence[float]) -> None:
        self._totals = totals
        self._sums = (0.0, *accumulate(totals))

    def rank(self, attained: float) -> float:
        """Hermes' rank of a job that has received `attained` seconds; O(log(number of totals)) a bucket."""
        first, count = bisect_right(self._totals, attained), len(self._totals)
        if first == count:
            return 0.0
        width = (self._totals[-1] - attained) / BUCKETS
        ends = [bisect_right(self._totals, attained + number * width, first) for number in range(1, BUCKETS)]
        return min(self._ratio(first, end, attained) for end in (*ends, count) if end > first)

    def _ratio(self, first: int, end: int, attained: float) -> float:
        """E/P of those from `first` to before `end`: their mean, over their share in all from `first` on."""
        within = end - first
        mean = (self._sums[end] - self._sums[first]) / within - attained
        return mean * (len(self._totals) - first) / within
