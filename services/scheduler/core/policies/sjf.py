"""Shortest job first, by what jobs of the application have needed."""

from __future__ import annotations

from collections.abc import Sequence

from services.scheduler.core.model import PolicySettings
from services.scheduler.core.policies.base import JobView, Key, Knowledge, Moment, StageView
from services.scheduler.core.policies.explaining import Part

_MEAN = Part("mean_total", "mean of its application", "s")


class Sjf:
    """Jobs of the application with the smallest mean total go first; inside an application, by arrival.

    Source: shortest job first, with the mean of the application's past jobs for the length that nobody knows; a
    baseline of LLMSched. Faithful: one number for each job, fixed at its arrival. Adapted: the total is work, LLM
    seconds alone in an engine plus tool seconds over all tasks; an application that the history does not know has
    the mean of all jobs. Left out: nothing. Starvation: possible, for applications whose jobs are long; run it under
    the ageing guard (`ageing_seconds`) for a bound.
    """

    name = "sjf"
    rekey_on: frozenset[Moment] = frozenset()

    def __init__(self, settings: PolicySettings, knowledge: Knowledge) -> None:
        """Raises UnknownPolicy without a history."""
        statistics = knowledge.statistics_for(self.name)
        self._means = {name: application.mean for name, application in statistics.applications.items()}
        self._mean = statistics.pooled.mean

    def parts(self, job: JobView, stage: StageView) -> Sequence[Part]:
        return (_MEAN,)

    def key(self, job: JobView, stage: StageView) -> Key:
        return self._means.get(job.application, self._mean), job.arrival, job.order, stage.position
