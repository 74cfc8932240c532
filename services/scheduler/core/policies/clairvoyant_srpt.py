"""Shortest remaining processing time first, for those who know the future."""

from __future__ import annotations

from collections.abc import Sequence
from math import fsum

from services.scheduler.core.model import PolicySettings
from services.scheduler.core.policies.base import JobView, Key, Knowledge, Moment, StageView
from services.scheduler.core.policies.explaining import Part

_LEFT = Part("left", "work that its job has left", "s")


class ClairvoyantSrpt:
    """The job with the least work left goes first, stages that it has not shown yet included. Simulation only.

    Source: shortest remaining processing time (Schrage 1968), optimal for the mean on one preemptive server. Faithful:
    remaining is exact, the work of all tasks (LLM seconds alone in an engine, tool seconds) of all stages that are
    not done. Adapted: many servers, no preemption; a stage counts whole until it ends. Left out: the graph, which
    decides what can run at all, so that this is no bound: a policy that minds it can do better. Starvation: possible,
    for long jobs; run it under the ageing guard (`ageing_seconds`) for a bound.
    """

    name = "clairvoyant-srpt"
    rekey_on = frozenset({Moment.STAGE_ENDED})

    def __init__(self, settings: PolicySettings, knowledge: Knowledge) -> None:
        """Raises UnknownPolicy without an oracle."""
        self._oracle = knowledge.oracle_for(self.name)

    def parts(self, job: JobView, stage: StageView) -> Sequence[Part]:
        return (_LEFT,)

    def key(self, job: JobView, stage: StageView) -> Key:
        shown = job.stages
        works = self._oracle(job.job_id).items()
        left = fsum(
            seconds
            for stage_id, tasks in works
            if stage_id not in shown or not shown[stage_id].state.is_done
            for seconds in tasks
        )
        return left, job.arrival, job.order, stage.position
