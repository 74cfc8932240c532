"""First come, first served: by the arrival of the job."""

from __future__ import annotations

from services.scheduler.core.model import PolicySettings
from services.scheduler.core.policies.base import JobView, Key, Knowledge, Moment, StageView


class Fcfs:
    """Stages of the job that arrived first go first; inside a job, by topological position.

    Source: the FCFS row of the LLMSched poster's Table I. Faithful: the order of arrival decides alone. Adapted:
    arrival is the job's, not the request's; a slot that the first job has no use for goes to the next one. Left out:
    nothing. Starvation: none. Only jobs that arrived earlier go before a job, and there are finitely many of them.
    """

    name = "fcfs"
    rekey_on: frozenset[Moment] = frozenset()

    def __init__(self, settings: PolicySettings, knowledge: Knowledge) -> None:
        """FCFS has no parameters."""

    def key(self, job: JobView, stage: StageView) -> Key:
        return job.arrival, job.order, stage.position
