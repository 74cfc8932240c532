"""First come, first served: by the time the stage became ready."""

from __future__ import annotations

from collections.abc import Sequence

from services.scheduler.core.model import PolicySettings
from services.scheduler.core.policies.base import JobView, Key, Knowledge, Moment, StageView
from services.scheduler.core.policies.explaining import Part

_READY = Part("ready", "when it became ready", "time")


class RequestFcfs:
    """The stage that became ready first goes first, whatever its job: each request counts as a job of its own.

    Source: the default order of vLLM and SGLang, which see requests and know of no jobs. Faithful: requests go in the
    order of their coming. Adapted: the tasks of a stage come at the moment at which the stage becomes ready, and tools
    are served in the same way. Left out: what engines do inside a batch (preemption when memory runs out, reordering
    for shared prefixes). Starvation: none. Only stages that became ready earlier go before a stage.
    """

    name = "request-fcfs"
    rekey_on: frozenset[Moment] = frozenset()

    def __init__(self, settings: PolicySettings, knowledge: Knowledge) -> None:
        """Request-FCFS has no parameters."""

    def parts(self, job: JobView, stage: StageView) -> Sequence[Part]:
        return (_READY,)

    def key(self, job: JobView, stage: StageView) -> Key:
        return stage.ready_at, job.arrival, job.order, stage.position
