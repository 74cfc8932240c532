"""What policies that go by beliefs have in common: the belief about a job, and what it may be kept from knowing."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from enum import StrEnum

from services.profiler.core.belief import Belief
from services.profiler.core.gittins import uniforms
from services.profiler.core.variables import JobSeen, StageSeen
from services.scheduler.core.model import PolicySettings
from services.scheduler.core.policies.base import JobView, Knowledge, Moment, UnknownPolicy
from services.scheduler.core.policies.explaining import Figure, Part
from services.scheduler.core.seen import job_seen

#: Samples of a posterior. The index is scaled to the exact mean, so that they give its shape only.
SAMPLES = 128

#: What the first part of a key is for a job of an application without a profile.
ATTAINED = Part("attained", "service received (its application has no profile yet)", "s")
LEFT = Part("expected_total", "expected work left", "s")

#: What is shown of a belief, beside the work that is left on average.
_LLM, _TOOL = Part("expected_llm", "expected LLM work left", "s"), Part("expected_tool", "expected tool time left", "s")
_BOTTOM, _TOP = Part("support_low", "low end of its support", "s"), Part("support_high", "high end of its support", "s")
_LOW, _HIGH = Part("low_80", "10 % need less than", "s"), Part("high_80", "10 % need more than", "s")
_SPENT = Part("spent", "work done", "s")
_VERSION = Part("profile_version", "version of the profile")
_JOBS = Part("profile_jobs", "jobs that it was learned from")

#: All that beliefs depend on. A start shows nothing.
SHOWS = frozenset(Moment) - {Moment.TASK_STARTED}


class Ingredient(StrEnum):
    """What can be left out (`PolicySettings.without`), to see what it is worth."""

    NETWORK = "network"  #: dependence between variables
    ARRIVAL = "arrival"  #: widths and prompt tokens of stages that are ready
    PART = "part"  #: tasks of a running stage that have ended, or run
    CALIBRATION = "calibration"  #: an LLM call takes longer in a batch: without, elapsed time counts as work
    RESOURCE = "resource"  #: gittins: what is left of the resource that the stage waits for, not of all
    PATH = "path"  #: gittins: of a job's stages, the one with most after it first
    INDEX = "index"  #: gittins: the index; without, the mean
    PLACEMENT = "placement"  #: gittins: executors by their speed with one more in the batch; without, by their load
    INFORMATION = "information"  #: llmsched: mutual information; without, the stages of a set go as in the other list


#: Which of them are the policies' in common.
COMMON = (Ingredient.NETWORK, Ingredient.ARRIVAL, Ingredient.PART, Ingredient.CALIBRATION)


def chosen(settings: PolicySettings, *own: Ingredient) -> frozenset[Ingredient]:
    """The ingredients that are left out. Raises UnknownPolicy for those that the policy does not have."""
    known = {str(one): one for one in (*COMMON, *own)}
    unknown = sorted(set(settings.without) - known.keys())
    if unknown:
        raise UnknownPolicy(
            f"policy {settings.name!r} cannot do without {', '.join(map(repr, unknown))}; "
            f"what it can do without: {', '.join(known)}"
        )
    return frozenset(known[one] for one in settings.without)


class Believer:
    """Holds a belief about each job, computed again only after the job has shown something."""

    def __init__(self, knowledge: Knowledge, without: frozenset[Ingredient]) -> None:
        self._beliefs = knowledge.beliefs.independent() if Ingredient.NETWORK in without else knowledge.beliefs
        self._slowdown = 1.0 if Ingredient.CALIBRATION in without else knowledge.slowdown
        self._without = without

    def belief(self, job: JobView) -> Belief | None:
        """None: nothing is known of its application."""
        if "belief" not in job.memo:
            job.memo["belief"] = self._beliefs.of(self._seen(job))
        found: Belief | None = job.memo["belief"]
        return found

    def figures(self, job: JobView, seed: int) -> Sequence[Figure]:
        """What is believed of the job; nothing without a profile. `seed` is of the samples."""
        belief = self.belief(job)
        if belief is None:
            return ()
        low, high = belief.quantiles((0.1, 0.9), uniforms(SAMPLES, belief.draws, seed)).tolist()
        return (
            Figure(LEFT, belief.expected.total),
            Figure(_LLM, belief.expected.llm),
            Figure(_TOOL, belief.expected.tool),
            Figure(_LOW, low),
            Figure(_HIGH, high),
            Figure(_BOTTOM, belief.interval.low),
            Figure(_TOP, belief.interval.high),
            Figure(_SPENT, belief.spent),
            Figure(_VERSION, float(belief.profile.version)),
            Figure(_JOBS, float(belief.profile.jobs)),
        )

    def _seen(self, job: JobView) -> JobSeen:
        seen = job_seen(job, self._beliefs.work, self._slowdown)
        if Ingredient.PART in self._without:
            seen = replace(seen, stages=tuple([_without_part(stage) for stage in seen.stages]))
        if Ingredient.ARRIVAL in self._without:
            seen = replace(seen, stages=tuple([_without_arrival(stage) for stage in seen.stages]))
        return seen


def _without_part(stage: StageSeen) -> StageSeen:
    return stage if stage.done else replace(stage, units=0.0, running_units=0.0, ended=(), running=())


def _without_arrival(stage: StageSeen) -> StageSeen:
    if stage.done or stage.width is None:
        return stage
    return StageSeen(name=stage.name, occurrence=stage.occurrence, is_llm=stage.is_llm)
