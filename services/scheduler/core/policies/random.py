"""A uniform choice at every decision."""

from __future__ import annotations

from hashlib import blake2b

from services.scheduler.core.model import PolicySettings
from services.scheduler.core.policies.base import JobView, Key, Knowledge, Moment, StageView


class Random:
    """At every decision, each waiting stage that has a free slot goes next with the same probability.

    Source: the RS row of the LLMSched poster's Table I, whose details are not published. Faithful: a uniform choice,
    whatever is known. Adapted: what is drawn is a stage, of which one task goes; and the draw is a hash of the seed
    and the number of the decision, so that a run can be repeated. Left out: nothing. Starvation: none is for ever,
    as every waiting stage has the same chance at each decision, but there is no bound; run it under the ageing guard
    (`ageing_seconds`) for one.
    """

    name = "random"
    rekey_on: frozenset[Moment] = frozenset()

    def __init__(self, settings: PolicySettings, knowledge: Knowledge) -> None:
        self._seed = settings.seed

    def key(self, job: JobView, stage: StageView) -> Key:
        return job.arrival, job.order, stage.position

    def draw(self, decision: int, waiting: int) -> int:
        digest = blake2b(f"{self._seed}/{decision}".encode(), digest_size=8).digest()
        return int.from_bytes(digest, "big") % waiting
