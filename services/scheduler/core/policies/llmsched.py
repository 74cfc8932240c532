"""LLMSched: shortest expected remaining time first, and now and then a stage that tells much about others."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from hashlib import blake2b

from services.profiler.core.belief import Interval
from services.profiler.core.information import Information
from services.profiler.core.uncertainty import information, reductions
from services.scheduler.core.model import PolicySettings
from services.scheduler.core.policies.base import Candidate, JobView, Key, Knowledge, StageView
from services.scheduler.core.policies.believing import ATTAINED, LEFT, SHOWS, Believer, Ingredient, chosen
from services.scheduler.core.policies.explaining import Figure, Part

#: How often it explores, and which share of a stage's tasks is enough to learn from (ours).
EPSILON, SAMPLE_RATIO = 0.2, 0.3

_REDUCTION = Part("reduction", "R(X|E): what its end tells of stages after it", "bit·s")


class Llmsched:
    """With probability epsilon a sample of the most informative stage, else all tasks of the shortest job's stage.

    Source: LLMSched (Zhu et al., ICDCS 2025), as far as public texts tell of it; the full paper was not at hand.
    Faithful: the list S_t, ready stages by the expected remaining duration of their job; the list S_u, ready stages
    by the set of their job (jobs whose intervals of remaining duration overlap, transitively, are one set; sets in the
    order of their lower bounds), inside a set by R(X|E), the reduction of uncertainty (Eq. 6), largest first; at each
    decision one coin: with probability epsilon the head of S_u with a share r of its tasks, else the head of S_t with
    all. Adapted (ours): epsilon = 0.2 and r = 0.3; the coin is a hash of seed and decision number; both lists hold
    only stages for which a slot is free; a stage of which the share r has started is in S_u no more; intervals are the
    supports of the posterior, states of probability >= 0.01; counts of rounds and generated stages are among the Y of
    Eq. 6. A job of an application without a profile stands in S_t by the service that it has received, in the same
    seconds, and not in S_u. Left out: nothing that is known of. Starvation: possible, for long jobs; run it under the
    ageing guard (`ageing_seconds`) for a bound.
    """

    name = "llmsched"
    rekey_on = SHOWS

    def __init__(self, settings: PolicySettings, knowledge: Knowledge) -> None:
        """Raises UnknownPolicy for ingredients that it does not have. It starts with whatever is known."""
        self._without = chosen(settings, Ingredient.INFORMATION)
        self._believer = Believer(knowledge, self._without)
        self._seed = settings.seed
        self.chance = EPSILON if settings.epsilon is None else settings.epsilon
        self._ratio = SAMPLE_RATIO if settings.sample_ratio is None else settings.sample_ratio
        self._compiled: dict[str, Information] = {}

    def parts(self, job: JobView, stage: StageView) -> Sequence[Part]:
        return (ATTAINED if self._believer.belief(job) is None else LEFT,)

    def job_figures(self, job: JobView) -> Sequence[Figure]:
        return self._believer.figures(job, self._seed)

    def stage_figures(self, job: JobView, stage: StageView) -> Sequence[Figure]:
        if self._believer.belief(job) is None:
            return ()
        return (Figure(_REDUCTION, self._reduction(Candidate(job, stage, 0))),)

    def key(self, job: JobView, stage: StageView) -> Key:
        belief = self._believer.belief(job)
        attained = job.attained_llm_seconds + job.attained_tool_seconds
        left = attained if belief is None else belief.expected.total
        return left, job.arrival, job.order, stage.position

    def explores(self, decision: int) -> bool:
        digest = blake2b(f"{self._seed}/{decision}".encode(), digest_size=8).digest()
        return int.from_bytes(digest, "big") < self.chance * 2**64

    def explore(self, candidates: Sequence[Candidate]) -> tuple[int, int] | None:
        """The head of S_u."""
        for places in self._sets(candidates):
            best, most = -1, -math.inf
            for place in places:
                _, stage, started = candidates[place]
                if started < self._ratio * stage.width:  # as much as: fewer than are enough
                    reduction = self._reduction(candidates[place])
                    if reduction > most:
                        best, most = place, reduction
            if best >= 0:
                return best, self._enough(candidates[best]) - candidates[best].started
        return None

    def _enough(self, candidate: Candidate) -> int:
        return math.ceil(self._ratio * candidate.stage.width)

    def _sets(self, candidates: Sequence[Candidate]) -> Iterator[list[int]]:
        """Places of candidates whose jobs' intervals overlap, transitively; the sets ascend and do not overlap."""
        intervals = [self._interval(candidate.job) for candidate in candidates]
        known = [(one.low, place, one.high) for place, one in enumerate(intervals) if one is not None]
        found: list[int] = []
        reach = -math.inf
        for low, place, high in sorted(known):
            if found and low > reach:
                yield sorted(found)
                found = []
            found.append(place)
            reach = max(reach, high)
        if found:
            yield sorted(found)

    def _interval(self, job: JobView) -> Interval | None:
        if "interval" not in job.memo:
            belief = self._believer.belief(job)
            job.memo["interval"] = None if belief is None else belief.interval
        found: Interval | None = job.memo["interval"]
        return found

    def _reduction(self, candidate: Candidate) -> float:
        """R(X|E), in bits times seconds; the same for all without the ingredient."""
        if Ingredient.INFORMATION in self._without:
            return 0.0
        job, stage = candidate.job, candidate.stage
        if "reductions" not in job.memo:
            job.memo["reductions"] = self._reductions(job)
        found: Mapping[tuple[str, int], float] = job.memo["reductions"]
        return found.get((stage.name, stage.occurrence), 0.0)

    def _reductions(self, job: JobView) -> Mapping[tuple[str, int], float]:
        belief = self._believer.belief(job)
        assert belief is not None  # it has an interval
        profile = belief.profile
        if profile.application not in self._compiled:
            self._compiled[profile.application] = information(profile)
        ready = [stage.canonical for stage in belief.job.stages if stage.width is not None and not stage.done]
        return {
            stage: one.value for stage, one in reductions(belief, self._compiled[profile.application], ready).items()
        }
