"""A fair share for all, of which jobs give up what does not delay them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from math import fsum

from services.profiler.core.statistics import ApplicationStatistics
from services.scheduler.core.model import PolicySettings, StageKind
from services.scheduler.core.policies.base import JobView, Key, Knowledge, Moment, StageFacts, StageView
from services.scheduler.core.policies.dependents import from_the_end
from services.scheduler.core.policies.explaining import LEFT_OF_MEAN, RUNNING, Part

#: Seconds by which paths may differ and still count as equally long: sums of means are not exact.
_SLACK = 1e-9

_CLAIM = Part("leftover", "1 if it waits for what others leave")


class Carbyne:
    """Stages on their job's critical path go by fair share; the others wait for what these leave, shortest job first.

    Source: Carbyne (Grandl et al., OSDI 2016: "Altruistic Scheduling in Multi-Resource Clusters"). Faithful: three
    levels. Between jobs, slots are shared fairly: the job with the fewest running tasks goes first. Inside a job, a
    stage that can wait without delaying its job gives up its claim. The leftover goes to the job with least expected
    remaining work. Adapted (the details are ours): a claim has no upper end, as a policy does not see how many slots
    make a fair share, so for jobs without parallel stages this is `fair`. A stage can wait if the longest path of
    expected seconds from it, through what the job has shown and not done, is shorter than the longest of the job; a
    running stage counts whole. Expected seconds are the history's mean of the longest task by stage name, for names
    that it does not know the mean over all occurrences of stages in the application; remaining work is as for `srtf`.
    Left out: several resources at once (dominant shares, packing), the search for a schedule that meets the
    completion time under the fair share, and the probability of altruism. Starvation: possible, as for `fair`, and
    for stages off the critical path; run it under the ageing guard (`ageing_seconds`) for a bound.
    """

    name = "carbyne"
    rekey_on = frozenset({Moment.TASK_STARTED, Moment.TASK_ENDED, Moment.STAGE_ENDED, Moment.STAGES_ADDED})

    def __init__(self, settings: PolicySettings, knowledge: Knowledge) -> None:
        """Raises UnknownPolicy without a history."""
        statistics = knowledge.statistics_for(self.name)
        self._work = statistics.work
        self._spans = {name: _Spans(application) for name, application in statistics.applications.items()}
        self._pooled = _Spans(statistics.pooled)

    def parts(self, job: JobView, stage: StageView) -> Sequence[Part]:
        return _CLAIM, RUNNING if self._is_critical(job, stage) else LEFT_OF_MEAN

    def key(self, job: JobView, stage: StageView) -> Key:
        if self._is_critical(job, stage):
            return 0, job.running_tasks, job.arrival, job.order, stage.position
        total = self._spans.get(job.application, self._pooled).total
        return 1, total - job.done_work(self._work), job.arrival, job.order, stage.position

    def _is_critical(self, job: JobView, stage: StageView) -> bool:
        """Whether the job is later if the stage is."""
        paths = from_the_end(job.stages, self._spans.get(job.application, self._pooled).path)
        return paths[stage.stage_id] >= max(paths.values()) - _SLACK


class _Spans:
    """Expected seconds of an application's stages, each as long as its longest task."""

    def __init__(self, application: ApplicationStatistics) -> None:
        stages = application.stages.values()
        occurrences = fsum(one.per_job for one in stages)
        self.total = application.mean  #: expected work of a job
        self._by_name: Mapping[str, float] = {name: one.span for name, one in application.stages.items()}
        self._any = fsum(one.per_job * one.span for one in stages) / occurrences if occurrences else 0.0

    def path(self, stage: StageFacts, following: Sequence[float]) -> float:
        """Seconds of the longest path that begins with the stage; placeholders take no time."""
        own = 0.0 if stage.spec.kind is StageKind.DYNAMIC else self._by_name.get(stage.spec.name, self._any)
        return own + max(following, default=0.0)
