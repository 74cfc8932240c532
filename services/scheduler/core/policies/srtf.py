"""Shortest remaining time first, by what jobs of the application have needed."""

from __future__ import annotations

from collections.abc import Sequence

from services.scheduler.core.model import PolicySettings
from services.scheduler.core.policies.base import JobView, Key, Knowledge, Moment, StageView
from services.scheduler.core.policies.explaining import LEFT_OF_MEAN, Part


class Srtf:
    """The job whose application's mean total exceeds what it has done by least goes first.

    Source: shortest remaining time first, with the mean of the application's past jobs for the length that nobody
    knows; LLMSched falls back on it for jobs that are not uncertain. Faithful: remaining = mean total - done.
    Adapted: done is the work of tasks that have ended (LLM tokens at their cost alone in an engine, plus tool
    seconds), so that a full batch does not count as progress. The difference is not clamped at 0: a job that has
    outlived its mean keeps going ahead, in the order of what it has done; clamped, all such jobs would tie. An
    application that the history does not know has the mean of all jobs. Left out: preemption, and the conditional
    mean given what is done. Starvation: possible, for applications whose jobs are long; run it under the ageing
    guard (`ageing_seconds`) for a bound.
    """

    name = "srtf"
    rekey_on = frozenset({Moment.TASK_ENDED})

    def __init__(self, settings: PolicySettings, knowledge: Knowledge) -> None:
        """Raises UnknownPolicy without a history."""
        statistics = knowledge.statistics_for(self.name)
        self._work = statistics.work
        self._means = {name: application.mean for name, application in statistics.applications.items()}
        self._mean = statistics.pooled.mean

    def parts(self, job: JobView, stage: StageView) -> Sequence[Part]:
        return (LEFT_OF_MEAN,)

    def key(self, job: JobView, stage: StageView) -> Key:
        remaining = self._means.get(job.application, self._mean) - job.done_work(self._work)
        return remaining, job.arrival, job.order, stage.position
