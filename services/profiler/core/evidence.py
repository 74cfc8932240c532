"""From what a job has shown to the likelihood of each state of its application's variables."""

from __future__ import annotations

from collections import Counter

import numpy as np

from services.profiler.core import tasks
from services.profiler.core.network import Array
from services.profiler.core.profile import Profile
from services.profiler.core.variables import Aspect, Canonical, JobSeen, StageSeen, Variable, least_units, measure


def evidence(profile: Profile, job: JobSeen) -> dict[int, Array]:
    """Likelihoods, by variable, of what the job has shown; variables that it says nothing about are left out.

    A value that is known leaves one state; a stage that is shown is not ABSENT; one that was not among what its
    generator made is; tasks that run or have ended are a lower bound of their stage's units; stages shown are a
    lower bound of a count, and the count itself when no more can come.
    """
    shown = {stage.canonical: stage for stage in job.stages}
    counts = pool_counts(profile, job)
    growing = may_grow(profile, job)
    found = {}
    for index, variable in enumerate(profile.variables):
        if variable.aspect is Aspect.COUNT:
            name = variable.stage[0]
            counted = float(max(counts[one] for one, pool in profile.pools.items() if pool.count == name))
            found[index] = variable.bins.at_least(counted) if growing else variable.bins.exactly(counted)
            continue
        stage = shown.get(variable.stage)
        if stage is not None:
            likelihood = _of_shown(profile, variable, stage)
        elif variable.optional and (not growing or _is_over(profile, variable.stage, shown)):
            likelihood = np.zeros(variable.card)
            likelihood[0] = 1.0
        else:
            likelihood = None
        if likelihood is not None:
            found[index] = likelihood
    return found


def pool_counts(profile: Profile, job: JobSeen) -> Counter[str]:
    """How many stages of each pool the job has shown."""
    pools = (profile.pool_of(stage.canonical) for stage in job.stages)
    return Counter(pool for pool in pools if pool is not None)


def may_grow(profile: Profile, job: JobSeen) -> bool:
    """Whether more stages may come: one that makes others exist has not done so yet."""
    return any(stage.growing or (not stage.done and stage.name in profile.generating) for stage in job.stages)


def _is_over(profile: Profile, stage: Canonical, shown: dict[Canonical, StageSeen]) -> bool:
    """Whether a stage that has not been shown had its chance."""
    generator = profile.generators[stage]
    if generator is None:
        return True
    made_by = shown.get(generator)
    return made_by is not None and made_by.done and not made_by.growing


def _of_shown(profile: Profile, variable: Variable, stage: StageSeen) -> Array | None:
    value = measure(variable.aspect, stage)
    if value is not None:
        likelihood = variable.bins.exactly(value)
    elif variable.aspect is Aspect.UNITS and (least := least_units(stage)) > 0.0:
        spread = profile.level(stage.canonical, is_llm=stage.is_llm).spread
        partial = bool(stage.ended) and spread > 0.0
        likelihood = _of_part(variable, stage, least, spread) if partial else variable.bins.at_least(least)
    elif variable.optional:
        likelihood = np.ones(variable.bins.count)
    else:
        return None
    return variable.numbers(likelihood)


def _of_part(variable: Variable, stage: StageSeen, least: float, spread: float) -> Array:
    """Some of its tasks have ended: of each bin the mean over the values that the history has in it."""
    values = np.concatenate(variable.bins.values)
    likely = tasks.likelihood(values, stage.ended, stage.running, spread)
    possible = likely * (values >= least)
    chosen = possible if possible.any() else likely
    ends = np.cumsum([len(one) for one in variable.bins.values])
    return np.array([part.mean() for part in np.split(chosen, ends[:-1])])
