"""Fair sharing of slots between jobs."""

from __future__ import annotations

from collections.abc import Sequence

from services.scheduler.core.model import PolicySettings
from services.scheduler.core.policies.base import JobView, Key, Knowledge, Moment, StageView
from services.scheduler.core.policies.explaining import RUNNING, Part


class Fair:
    """The job with the fewest running tasks goes first, then the one that arrived first: max-min over jobs.

    Source: max-min fairness, as in Hadoop's and Spark's fair schedulers, one pool a job. Faithful: a slot goes to whom
    has fewest. Adapted: LLM slots and tool slots count alike. Left out: weights, minimum shares, pools of several
    jobs, and preemption, so that shares are fair only as far as slots become free. Starvation: possible. While
    new jobs with nothing running keep taking every slot that becomes free, a job that has a task running gets no
    second one; run it under the ageing guard (`ageing_seconds`) for a bound.
    """

    name = "fair"
    rekey_on = frozenset({Moment.TASK_STARTED, Moment.TASK_ENDED})

    def __init__(self, settings: PolicySettings, knowledge: Knowledge) -> None:
        """Fair has no parameters."""

    def parts(self, job: JobView, stage: StageView) -> Sequence[Part]:
        return (RUNNING,)

    def key(self, job: JobView, stage: StageView) -> Key:
        return job.running_tasks, job.arrival, job.order, stage.position
