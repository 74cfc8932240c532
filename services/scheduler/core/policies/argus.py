"""The stage that lets most others follow goes first."""

from __future__ import annotations

from collections.abc import Sequence

from services.scheduler.core.model import PolicySettings, StageKind
from services.scheduler.core.policies.base import JobView, Key, Knowledge, Moment, StageFacts, StageView
from services.scheduler.core.policies.dependents import from_the_end
from services.scheduler.core.policies.explaining import Part

Influences = dict[str, int]  #: by stage id


_INFLUENCE = Part("influence", "minus its influence on other stages")


class Argus:
    """Stages go by influence, largest first: the number of direct successors plus the largest influence among them.

    Source: Argus (Wu et al., IPDPS 2021: "Argus: Efficient Job Scheduling in RDMA-assisted Big Data Processing") and
    `DAGScheduler.setStagePriority` of its code (github.com/CGCL-codes/Argus). Faithful: influence is 1 without
    successors, else max(influence of the successors) + number of successors, so it grows with depth and with breadth;
    stages of all jobs compete in one order. Adapted: it is computed on the graph that the job has shown, and again
    when the graph grows, as jobs here do not know their graph at submission. Placeholders of stages to come have no
    influence of their own; whatever waits behind one counts as a successor of what the placeholder waits for. Ties
    go by arrival, not by stage number. Left out: the variant for known durations (a stage's and its descendants'
    seconds in place of counts), and data locality. Starvation: possible, for jobs with few stages and for the last
    stages of all jobs; run it under the ageing guard (`ageing_seconds`) for a bound.
    """

    name = "argus"
    rekey_on = frozenset({Moment.STAGES_ADDED})

    def __init__(self, settings: PolicySettings, knowledge: Knowledge) -> None:
        """Argus has no parameters."""

    def parts(self, job: JobView, stage: StageView) -> Sequence[Part]:
        return (_INFLUENCE,)

    def key(self, job: JobView, stage: StageView) -> Key:
        influence = from_the_end(job.stages, _influence)[stage.stage_id][stage.stage_id]
        return -influence, job.arrival, job.order, stage.position


def _influence(stage: StageFacts, following: Sequence[Influences]) -> Influences:
    """The stage's influence under its own id; a placeholder hands on those of its successors."""
    successors: Influences = {}
    for influences in following:
        successors |= influences
    if stage.spec.kind is StageKind.DYNAMIC:
        return successors
    return {stage.spec.stage_id: max(successors.values(), default=1) + len(successors)}
