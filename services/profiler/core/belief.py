"""What is believed of a running job: how much work is left, given all that it has shown."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import NamedTuple, TypeVar

import numpy as np
from numpy.typing import NDArray

from services.profiler.core.evidence import evidence, may_grow, pool_counts
from services.profiler.core.information import LEAST
from services.profiler.core.junction_tree import Calibrated, Impossible, JunctionTree
from services.profiler.core.network import Array
from services.profiler.core.profile import Profile
from services.profiler.core.statistics import WorkModel
from services.profiler.core.variables import Aspect, JobSeen, StageSeen, measure

Number = TypeVar("Number", float, Array)


class Remaining(NamedTuple):
    """Work that a job has left, in seconds: of LLM calls as if alone in an engine, and of tools."""

    llm: float
    tool: float

    @property
    def total(self) -> float:
        return self.llm + self.tool


class Interval(NamedTuple):
    """Bounds, in seconds."""

    low: float
    high: float

    @property
    def spread(self) -> float:
        return self.high - self.low


class Beliefs:
    """Profiles, made ready for questions."""

    def __init__(self, profiles: Mapping[str, Profile], work: WorkModel | None = None) -> None:
        """Args: `profiles` by application."""
        model = work or WorkModel()
        self._compiled = {name: Compiled(profile, model) for name, profile in profiles.items()}

    def of(self, job: JobSeen) -> Belief | None:
        """None: nothing is known of its application."""
        compiled = self._compiled.get(job.application)
        return None if compiled is None else Belief(compiled, job)


class Compiled:
    """A profile with its junction tree."""

    def __init__(self, profile: Profile, work: WorkModel) -> None:
        self.profile = profile
        self.work = work
        factors = profile.network.factors()
        self.tree = JunctionTree([factor.scope for factor in factors], profile.network.cards)
        self.potentials = self.tree.potentials(factors)
        self.means = [variable.numbers(variable.bins.means) for variable in profile.variables]
        self.medians = [variable.numbers(variable.bins.medians) for variable in profile.variables]
        #: What each stage with variables of its own is before it is shown.
        self.hidden = [
            (index, variable.stage, _hidden(profile, index))
            for index, variable in enumerate(profile.variables)
            if variable.aspect is Aspect.UNITS
        ]


@dataclass(frozen=True, slots=True)
class _Amount:
    """A number that is known, or a variable; of a count, what is over `shown`."""

    known: float = 0.0
    variable: int | None = None
    shown: float | None = None


@dataclass(frozen=True, slots=True)
class _Term:
    """Stages that have work left: `times` stages of `width` tasks each."""

    is_llm: bool
    width: _Amount
    prompt: _Amount
    units: _Amount
    times: _Amount = _Amount(1.0)
    #: The variable whose state 0 says that there is no such stage.
    presence: int | None = None


def _hidden(profile: Profile, index: int) -> _Term:
    """The stage that this variable is the units of."""
    variable = profile.variables[index]
    name, _ = variable.stage
    level = profile.levels[name]
    return _Term(
        profile.llm_names[name],
        _Amount(level.width, profile.index.get((Aspect.WIDTH, variable.stage))),
        _Amount(level.prompt_tokens, profile.index.get((Aspect.PROMPT, variable.stage))),
        _Amount(variable=index),
        presence=index if variable.optional else None,
    )


class Belief:
    """Of one job at one moment. Nothing is computed before it is asked for."""

    def __init__(self, compiled: Compiled, job: JobSeen) -> None:
        self._compiled = compiled
        self.profile = compiled.profile
        self._job = job
        self._marginals: dict[int, Array] = {}

    @cached_property
    def likelihoods(self) -> Mapping[int, Array]:
        """What the job has shown, by variable: see `evidence`."""
        return evidence(self.profile, self._job)

    @cached_property
    def posterior(self) -> Calibrated:
        """Of the variables of the application's network."""
        tree, potentials = self._compiled.tree, self._compiled.potentials
        try:
            return tree.calibrate(potentials, self.likelihoods)
        except Impossible:  # no job before was like this one
            return tree.calibrate(potentials, {})

    def marginal(self, variable: int) -> Array:
        """The probability of each state of the variable with this index."""
        found = self._marginals.get(variable)
        if found is None:
            found = self._marginals[variable] = self.posterior.marginal(variable)
        return found

    @cached_property
    def expected(self) -> Remaining:
        """The mean of what is left."""
        left = [0.0, 0.0]
        for term in self._terms:
            present = 1.0 if term.presence is None else 1.0 - float(self.marginal(term.presence)[0])
            left[term.is_llm] += present * float(self._work(term, self._mean))
        return Remaining(llm=left[True], tool=left[False])

    @cached_property
    def interval(self) -> Interval:
        """From the least to the most that is left, LLM work and tool seconds together: the support of the posterior.

        States with a probability of `information.LEAST` or more, at the medians of their bins; ABSENT is 0.
        """
        low = high = 0.0
        for term in self._terms:
            absent = 0.0 if term.presence is None else float(self.marginal(term.presence)[0])
            if absent < LEAST - 1e-9:
                low += float(self._work(term, lambda amount: self._support(amount)[0]))
            if absent <= 1.0 - LEAST + 1e-9:
                high += float(self._work(term, lambda amount: self._support(amount)[-1]))
        return Interval(low, high)

    @property
    def draws(self) -> int:
        """How many random numbers a sample takes."""
        return len(self._compiled.tree.cliques) + len(self.profile.variables)

    def samples(self, uniforms: Array) -> Array:
        """Joint samples of what is left, in seconds: LLM work in column 0, tool seconds in column 1.

        Args: `uniforms`: numbers from [0, 1), shape (samples, `draws`).
        """
        cliques = len(self._compiled.tree.cliques)
        states = self.posterior.sample(uniforms[:, :cliques])
        inside = uniforms[:, cliques:]
        values: dict[int, Array] = {}

        def value(amount: _Amount) -> Array:
            if amount.variable is None:
                return np.full(len(states), amount.known)
            index = amount.variable
            if index not in values:
                values[index] = self._draw(index, states[:, index], inside[:, index])
            return values[index] if amount.shown is None else np.maximum(0.0, values[index] - amount.shown)

        left = np.zeros((len(states), 2))
        for term in self._terms:
            work = self._work(term, value)
            if term.presence is not None:
                work = np.where(states[:, term.presence] == 0, 0.0, work)
            left[:, 0 if term.is_llm else 1] += work
        return left

    def quantiles(self, levels: Sequence[float], uniforms: Array) -> Array:
        """Of all that is left, LLM work and tool seconds together, from `samples`; shape (levels,)."""
        return np.asarray(np.quantile(self.samples(uniforms).sum(axis=1), levels))

    def _work(self, term: _Term, number: Callable[[_Amount], Number]) -> Number:
        if not term.is_llm:
            return number(term.times) * number(term.width) * number(term.units)
        model = self._compiled.work
        each = model.prefill * number(term.prompt) + model.decode * number(term.units)
        return number(term.times) * number(term.width) * each

    def _mean(self, amount: _Amount) -> float:
        """Given that it is not ABSENT."""
        if amount.variable is None:
            return amount.known
        posterior = self.marginal(amount.variable)
        if amount.shown is not None:
            return float(posterior @ self._over(amount.variable, amount.shown))
        mean = float(posterior @ self._compiled.means[amount.variable])
        if not self.profile.variables[amount.variable].optional:
            return mean
        return mean / max(1e-9, 1.0 - float(posterior[0]))

    def _over(self, variable: int, shown: float) -> Array:
        """Of each bin of a count the mean of what is over `shown`; one more where the history never had as many."""
        found = []
        for values in self.profile.variables[variable].bins.values:
            more = values[values.searchsorted(shown) :]
            found.append(float(more.mean()) - shown if len(more) else 1.0)
        return np.array(found)

    def _support(self, amount: _Amount) -> tuple[float, ...]:
        """The medians of the likely states but ABSENT, ascending."""
        if amount.variable is None:
            return (amount.known,)
        first = int(self.profile.variables[amount.variable].optional)
        posterior = self.marginal(amount.variable)[first:]
        medians = self._compiled.medians[amount.variable][first:]
        likely = medians[posterior >= min(LEAST - 1e-9, float(posterior.max()))]
        return tuple(float(one) if amount.shown is None else max(0.0, float(one) - amount.shown) for one in likely)

    def _draw(self, variable: int, states: NDArray[np.int64], uniforms: Array) -> Array:
        """A value of the history for each state; 0 for ABSENT."""
        first = int(self.profile.variables[variable].optional)
        drawn = np.zeros(len(states))
        for place, values in enumerate(self.profile.variables[variable].bins.values):
            here = states == place + first
            drawn[here] = values[(uniforms[here] * len(values)).astype(np.int64)]
        return drawn

    @cached_property
    def _terms(self) -> list[_Term]:
        """All that has work left: stages that are shown, stages that may come, and what pools have left."""
        terms = [self._shown(stage) for stage in self._job.stages if not stage.done]
        # Of a stage that is not shown the job says nothing, or that it is ABSENT.
        shown = {stage.canonical for stage in self._job.stages}
        hidden = self._compiled.hidden
        terms += [term for index, stage, term in hidden if stage not in shown and index not in self.likelihoods]
        if may_grow(self.profile, self._job):
            counts = pool_counts(self.profile, self._job)
            for name, pool in self.profile.pools.items():
                index = self.profile.index.get((Aspect.COUNT, (pool.count, 0)))
                if index is not None:
                    terms += self._pooled(index, name, counts[name])
        return terms

    def _shown(self, stage: StageSeen) -> _Term:
        level = self.profile.level(stage.name, is_llm=stage.is_llm)
        units = self.profile.index.get((Aspect.UNITS, stage.canonical))
        rate = _Amount(level.of_job(self._ended.get(stage.name, ()))) if units is None else _Amount(variable=units)
        if stage.width is None:
            width = self._amount(Aspect.WIDTH, stage, level.width)
            return _Term(stage.is_llm, width, self._amount(Aspect.PROMPT, stage, level.prompt_tokens), rate)
        prompt = stage.left_prompt_tokens / max(1, stage.left)
        return _Term(stage.is_llm, _Amount(float(stage.left)), _Amount(prompt), rate)

    def _amount(self, aspect: Aspect, stage: StageSeen, otherwise: float) -> _Amount:
        return _Amount(otherwise, self.profile.index.get((aspect, stage.canonical)))

    def _pooled(self, index: int, name: str, shown: int) -> list[_Term]:
        pool = self.profile.pools[name]
        times = _Amount(variable=index, shown=float(shown))
        ended = self._ended.get(name, ())
        latest = self._latest_prompt.get(name)
        terms = []
        for is_llm, level, share in ((True, pool.llm, pool.llm_share), (False, pool.tool, 1.0 - pool.llm_share)):
            if share > 0.0:
                prompt = level.prompt_tokens
                if latest is not None:
                    prompt = max(0.0, latest + level.growth * (self._mean(times) + 1.0) / 2.0)
                width, units = _Amount(share * level.width), _Amount(level.of_job(ended))
                terms.append(_Term(is_llm, width, _Amount(prompt), units, times))
        return terms

    @cached_property
    def _ended(self) -> Mapping[str, Sequence[float]]:
        """The units of the job's stages that have ended, by name; without those that have variables of their own."""
        found: dict[str, list[float]] = defaultdict(list)
        for stage in self._job.stages:
            units = measure(Aspect.UNITS, stage)
            if units is not None and (Aspect.UNITS, stage.canonical) not in self.profile.index:
                found[stage.name].append(units)
        return found

    @cached_property
    def _latest_prompt(self) -> Mapping[str, float]:
        """By stage name: the next rounds of a loop start from there."""
        prompts = ((stage.name, measure(Aspect.PROMPT, stage)) for stage in self._job.stages)
        return {name: prompt for name, prompt in prompts if prompt is not None}
