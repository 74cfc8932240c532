"""The posterior Gittins index: least service for the chance of an end, given all that a job has shown."""

from __future__ import annotations

from collections.abc import Sequence

from services.profiler.core.belief import Belief
from services.profiler.core.gittins import index, uniforms
from services.profiler.core.variables import StageSeen
from services.scheduler.core.model import PolicySettings, StageKind, StageState
from services.scheduler.core.policies.base import JobView, Key, Knowledge, StageFacts, StageView
from services.scheduler.core.policies.believing import ATTAINED, LEFT, SAMPLES, SHOWS, Believer, Ingredient, chosen
from services.scheduler.core.policies.dependents import from_the_end
from services.scheduler.core.policies.explaining import Figure, Part

_INDEX = Part("index", "index: least service for the chance of an end", "s")
_PATH = Part("path", "minus the longest path from it on", "s")

#: States of stages that may have tasks waiting for a slot.
_WAITING = (StageState.READY, StageState.RUNNING)

#: Below this many seconds nothing is left.
_NOTHING = 1e-9


class Gittins:
    """The stage whose job has the smallest posterior Gittins index goes first.

    Source: the Gittins index of multistage jobs (Scully, Harchol-Balter and Scheller-Wolf 2018; Aalto and Scully
    2022: optimal for preemptive serial stages on one server; many servers: Scully, Grosof and Harchol-Balter 2020),
    under the posterior of the application's Bayesian network given what the job has shown. It is a heuristic here:
    many servers, two resources, no preemption inside a task. Faithful: an index over stopping rules that may stop at
    the end of the next stage depending on what it shows (`services/profiler/core/gittins.py`); the numerator counts
    the time of jobs that do not end. Adapted (ours): service is what is left of the resource that the stage waits
    for, LLM work or tool seconds, task by task; of a job's stages with equal index the one with the longest expected
    path after it goes first; a task goes to the executor that is fastest with one more in its batch, where speeds are
    known; rules that look further than one stage have fixed limits. A job of an application
    without a profile is ranked by the service that it has received (`plas`), in the same seconds. Left out:
    preemption. Starvation: possible, for jobs whose index stays high; run it under the ageing guard
    (`ageing_seconds`) for a bound.
    """

    name = "gittins"
    rekey_on = SHOWS

    def __init__(self, settings: PolicySettings, knowledge: Knowledge) -> None:
        """Raises UnknownPolicy for ingredients that it does not have. It starts with whatever is known."""
        own = (Ingredient.RESOURCE, Ingredient.PATH, Ingredient.INDEX, Ingredient.PLACEMENT)
        self._without = chosen(settings, *own)
        self.by_speed = Ingredient.PLACEMENT not in self._without
        self._believer = Believer(knowledge, self._without)
        self._seed = settings.seed

    def parts(self, job: JobView, stage: StageView) -> Sequence[Part]:
        if self._believer.belief(job) is None:
            return ATTAINED, _PATH
        return LEFT if Ingredient.INDEX in self._without else _INDEX, _PATH

    def job_figures(self, job: JobView) -> Sequence[Figure]:
        return self._believer.figures(job, self._seed)

    def stage_figures(self, job: JobView, stage: StageView) -> Sequence[Figure]:
        return ()

    def key(self, job: JobView, stage: StageView) -> Key:
        belief = self._believer.belief(job)
        if belief is None:
            return self._attained(job, stage), 0.0, job.arrival, job.order, stage.position
        return self._index(job, stage, belief), -self._path(job, stage, belief), job.arrival, job.order, stage.position

    def _attained(self, job: JobView, stage: StageView) -> float:
        if Ingredient.RESOURCE in self._without:
            return job.attained_llm_seconds + job.attained_tool_seconds
        return job.attained_llm_seconds if stage.kind is StageKind.LLM else job.attained_tool_seconds

    def _index(self, job: JobView, stage: StageView, belief: Belief) -> float:
        """Seconds."""
        is_llm = stage.kind is StageKind.LLM
        whole = Ingredient.RESOURCE in self._without
        expected = belief.expected
        mean = expected.total if whole else expected.llm if is_llm else expected.tool
        if Ingredient.INDEX in self._without or mean <= _NOTHING:
            return mean
        outlook = belief.outlook((stage.name, stage.occurrence), uniforms(SAMPLES, belief.draws, self._seed))
        rest = outlook.rest.sum(axis=1) if whole else outlook.rest[:, 0 if is_llm else 1]
        sampled = float((outlook.first + rest).mean())
        if sampled <= _NOTHING:
            return mean
        return index(outlook.first, rest, outlook.news) * mean / sampled

    def _path(self, job: JobView, stage: StageView, belief: Belief) -> float:
        """Expected seconds of the longest path from the stage on, through what the job has shown."""
        if Ingredient.PATH in self._without or sum(one.state in _WAITING for one in job.stages.values()) < 2:
            return 0.0
        if "paths" not in job.memo:

            def seconds(one: StageFacts, following: Sequence[float]) -> float:
                own = 0.0 if one.spec.kind is StageKind.DYNAMIC else belief.span(_plain(one))
                return own + max(following, default=0.0)

            job.memo["paths"] = from_the_end(job.stages, seconds)
        found: float = job.memo["paths"][stage.stage_id]
        return found


def _plain(stage: StageFacts) -> StageSeen:
    """The stage by its name alone."""
    return StageSeen(name=stage.spec.name, occurrence=stage.spec.occurrence, is_llm=stage.spec.kind is StageKind.LLM)
