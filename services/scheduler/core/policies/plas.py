"""Least attained service, by job."""

from __future__ import annotations

from collections.abc import Sequence

from services.scheduler.core.model import PolicySettings
from services.scheduler.core.policies.base import JobView, Key, Knowledge, Moment, StageView
from services.scheduler.core.policies.explaining import ATTAINED, Part


class Plas:
    """The job that has received least service goes first: what is young may be short.

    Source: program-level attained service (PLAS) of Agentix, formerly Autellix (Luo et al., arXiv 2502.13965).
    Faithful: service is summed over the calls of the whole job that have ended; nothing needs to be known in advance.
    Adapted: tool seconds count too, since tool slots are scheduled here and not there; the order is exact, where the
    original has queues for ranges of attained service. Left out: preemption between these queues, the promotion of
    jobs that wait long, ATLAS (the longest path in place of the sum, for parallel calls), and placement by data
    locality. Starvation: possible. While new jobs keep taking every slot that becomes free, a job that has received
    service gets no more; run it under the ageing guard (`ageing_seconds`) for a bound.
    """

    name = "plas"
    rekey_on = frozenset({Moment.TASK_ENDED})

    def __init__(self, settings: PolicySettings, knowledge: Knowledge) -> None:
        """PLAS has no parameters."""

    def parts(self, job: JobView, stage: StageView) -> Sequence[Part]:
        return (ATTAINED,)

    def key(self, job: JobView, stage: StageView) -> Key:
        return job.attained_llm_seconds + job.attained_tool_seconds, job.arrival, job.order, stage.position
