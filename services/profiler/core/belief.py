"""What is believed of a running job: how much work is left, given all that it has shown."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from functools import cached_property
from math import inf
from typing import NamedTuple, TypeVar

import numpy as np
from numpy.typing import NDArray

from services.profiler.core.compiled import Amount, Compiled, Term, units_ahead
from services.profiler.core.evidence import evidence, may_grow, pool_counts
from services.profiler.core.information import LEAST
from services.profiler.core.junction_tree import Calibrated, Impossible
from services.profiler.core.network import Array
from services.profiler.core.profile import Profile
from services.profiler.core.statistics import WorkModel
from services.profiler.core.variables import Aspect, Canonical, JobSeen, StageSeen, measure

#: How much the linear model counts in the mean of a variable, beside the network (ours: both err, in different ways).
LINEAR = 0.5

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


class Outlook(NamedTuple):
    """Joint samples of what is left of a job, as its next stage cuts it."""

    first: Array  #: seconds until the stage ends: LLM work or tool seconds, as is its kind; shape (samples,)
    rest: Array  #: seconds after that: LLM work in column 0, tool seconds in column 1; shape (samples, 2)
    news: NDArray[np.int64]  #: what its end shows, as numbers; shape (samples,)


class Beliefs:
    """Profiles, made ready for questions."""

    def __init__(self, profiles: Mapping[str, Profile] | None = None, work: WorkModel | None = None) -> None:
        """Args: `profiles` by application; `work`: what tokens cost."""
        self.work = work or WorkModel()
        self._compiled = {name: Compiled(profile, self.work) for name, profile in (profiles or {}).items()}

    @property
    def profiles(self) -> Mapping[str, Profile]:
        """By application."""
        return {name: compiled.profile for name, compiled in self._compiled.items()}

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Beliefs) and (self.work, self.profiles) == (other.work, other.profiles)

    __hash__ = object.__hash__

    def independent(self) -> Beliefs:
        """The same without dependence between variables: each keeps its prior distribution."""
        found = Beliefs(work=self.work)
        found._compiled = {name: Compiled(one.independent(), self.work) for name, one in self._compiled.items()}
        return found

    def with_work(self, work: WorkModel) -> Beliefs:
        """The same but for what tokens cost."""
        found = Beliefs(work=work)
        found._compiled = {name: one.with_work(work) for name, one in self._compiled.items()}
        return found

    def with_profile(self, profile: Profile) -> Beliefs:
        """The same but for one application."""
        found = Beliefs(work=self.work)
        found._compiled = {**self._compiled, profile.application: Compiled(profile, self.work)}
        return found

    def of(self, job: JobSeen) -> Belief | None:
        """None: nothing is known of its application."""
        compiled = self._compiled.get(job.application)
        return None if compiled is None else Belief(compiled, job)


_Samples = tuple[NDArray[np.int64], list[tuple[Term, Array]]]


class Belief:
    """Of one job at one moment. Nothing is computed before it is asked for."""

    def __init__(self, compiled: Compiled, job: JobSeen) -> None:
        self._compiled = compiled
        self.profile = compiled.profile
        self.job = job
        self._marginals: dict[int, Array] = {}
        self._samples: tuple[Array, _Samples] | None = None

    @cached_property
    def likelihoods(self) -> Mapping[int, Array]:
        """What the job has shown, by variable: see `evidence`."""
        return evidence(self.profile, self.job)

    @cached_property
    def posterior(self) -> Calibrated:
        """Of the variables of the application's network."""
        tree, potentials = self._compiled.tree, self._compiled.potentials
        try:
            return tree.calibrate(potentials, self.likelihoods)
        except Impossible:  # no job before was like this one
            return tree.calibrate(potentials, {})

    @property
    def log_likelihood(self) -> float:
        """Natural logarithm of the probability of the states that the job has shown; -inf if it is 0."""
        try:
            return self._compiled.tree.calibrate(self._compiled.potentials, self.likelihoods).log_evidence
        except Impossible:
            return -inf

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

    @property
    def spent(self) -> float:
        """Work of the stages that have ended, in seconds: of LLM calls as if alone in an engine, and of tools."""
        model = self._compiled.work
        done = [stage for stage in self.job.stages if stage.done]
        return sum(
            model.prefill * one.prompt_tokens + model.decode * one.units if one.is_llm else one.units for one in done
        )

    @cached_property
    def interval(self) -> Interval:
        """From the least to the most that is left, LLM work and tool seconds together: the support of the posterior.

        States with a probability of `information.LEAST` or more, at the medians of their bins; ABSENT is 0.
        """
        llm, tool = self.intervals
        return Interval(llm.low + tool.low, llm.high + tool.high)

    @cached_property
    def intervals(self) -> tuple[Interval, Interval]:
        """As `interval`, of LLM work and of tool seconds."""
        low, high = [0.0, 0.0], [0.0, 0.0]
        for term in self._terms:
            absent = 0.0 if term.presence is None else float(self.marginal(term.presence)[0])
            if absent < LEAST - 1e-9:
                low[term.is_llm] += float(self._work(term, lambda amount: self._support(amount)[0]))
            if absent <= 1.0 - LEAST + 1e-9:
                high[term.is_llm] += float(self._work(term, lambda amount: self._support(amount)[-1]))
        return Interval(low[True], high[True]), Interval(low[False], high[False])

    @property
    def draws(self) -> int:
        """How many random numbers a sample takes."""
        return len(self._compiled.tree.cliques) + len(self.profile.variables)

    def samples(self, uniforms: Array) -> Array:
        """Joint samples of what is left, in seconds: LLM work in column 0, tool seconds in column 1.

        Args: `uniforms`: numbers from [0, 1), shape (samples, `draws`).
        """
        _, works = self._drawn(uniforms)
        left = np.zeros((len(uniforms), 2))
        for term, work in works:
            left[:, 0 if term.is_llm else 1] += work
        return left

    def outlook(self, stage: Canonical, uniforms: Array) -> Outlook:
        """Joint samples of what is left until a stage that is shown ends, of what is left then, and of what it shows.

        Args: `uniforms` as for `samples`.
        """
        states, works = self._drawn(uniforms)
        first, rest = np.zeros(len(states)), np.zeros((len(states), 2))
        for term, work in works:
            if term.stage == stage:
                first += work
            else:
                rest[:, 0 if term.is_llm else 1] += work
        return Outlook(first, rest, self._news(stage, states))

    def state_seconds(self, variable: int) -> Array:
        """The work that each state of a stage's units, or of a count, means: seconds at the bins' medians."""
        found = self.profile.variables[variable]
        medians = self._compiled.medians[variable]
        if found.aspect is not Aspect.COUNT:
            one, none = (self._work(term, self._mean) for term in self._compiled.one_unit_and_none(variable))
            return np.asarray(np.where(medians > 0.0, none + (one - none) * medians, 0.0))
        rounds = [term for name in self._counted(variable) for term in self._pooled(variable, name, 0)]
        each = sum(self._work(replace(term, times=Amount(1.0)), self._mean) for term in rounds)
        return np.asarray(medians * each)

    def _counted(self, variable: int) -> list[str]:
        """The pools whose stages this variable counts."""
        counted = self.profile.variables[variable].stage[0]
        return [name for name, pool in self.profile.pools.items() if pool.count == counted]

    def _news(self, stage: Canonical, states: NDArray[np.int64]) -> NDArray[np.int64]:
        """A number for each thing that the end of the stage may show: its units, and which stages it makes exist."""
        news = np.zeros(len(states), dtype=np.int64)
        for index, variable in enumerate(self.profile.variables):
            if (variable.aspect, variable.stage) == (Aspect.UNITS, stage):
                news = news * variable.card + states[:, index]
            elif variable.optional and self.profile.generators.get(variable.stage) == stage:
                news = news * 2 + (states[:, index] > 0)
        return news

    def span(self, stage: StageSeen) -> float:
        """Seconds that a task of a stage takes alone, on average."""
        term = self._shown(stage)
        one = Amount(1.0)
        return float(self._work(replace(term, width=one, times=one), self._mean))

    def _drawn(self, uniforms: Array) -> _Samples:
        """Samples of the variables' states, and of the work of each term; kept for the next stage that is asked for."""
        if self._samples is None or self._samples[0] is not uniforms:
            self._samples = uniforms, self._draw_all(uniforms)
        return self._samples[1]

    def _draw_all(self, uniforms: Array) -> _Samples:
        cliques = len(self._compiled.tree.cliques)
        states = self.posterior.sample(uniforms[:, :cliques])
        inside = uniforms[:, cliques:]
        values: dict[int, Array] = {}
        noises = self._compiled.noises(uniforms)

        def value(amount: Amount) -> Array:
            if amount.variable is None:
                off = amount.deviation
                known = np.asarray(amount.known)
                return known * np.exp(off * next(noises) - off**2 / 2.0) if off > 0.0 else known
            index = amount.variable
            if index not in values:
                drawn = self._compiled.draws[index].draw(states[:, index], inside[:, index])
                if index in self._linear:  # as much longer or shorter as the mean is
                    drawn = drawn * (self._mean(Amount(variable=index)) / max(1e-9, self._network_mean(index)))
                values[index] = drawn
            return values[index] if amount.shown is None else np.maximum(0.0, values[index] - amount.shown)

        works = []
        for term in self._terms:
            work = self._work(term, value)
            if term.presence is not None:
                work = np.where(states[:, term.presence] == 0, 0.0, work)
            works.append((term, work))
        return states, works

    def quantiles(self, levels: Sequence[float], uniforms: Array) -> Array:
        """Of all that is left, LLM work and tool seconds together, from `samples`; shape (levels,)."""
        return np.asarray(np.quantile(self.samples(uniforms).sum(axis=1), levels))

    def _work(self, term: Term, number: Callable[[Amount], Number]) -> Number:
        if not term.is_llm:
            return number(term.times) * number(term.width) * number(term.units)
        model = self._compiled.work
        each = model.prefill * number(term.prompt) + model.decode * number(term.units)
        return number(term.times) * number(term.width) * each

    def _mean(self, amount: Amount) -> float:
        """Given that it is not ABSENT."""
        if amount.variable is None:
            return amount.known
        posterior = self.marginal(amount.variable)
        if amount.shown is not None:
            return float(posterior @ self._compiled.over(amount.variable, amount.shown))
        mean, other = self._network_mean(amount.variable), self._linear.get(amount.variable)
        return mean if other is None else (1.0 - LINEAR) * mean + LINEAR * other

    def _network_mean(self, variable: int) -> float:
        """Given that it is not ABSENT."""
        posterior = self.marginal(variable)
        mean = float(posterior @ self._compiled.means[variable])
        if not self.profile.variables[variable].optional:
            return mean
        return mean / max(1e-9, 1.0 - float(posterior[0]))

    @cached_property
    def _linear(self) -> Mapping[int, float]:
        """What the linear model has for the mean of each variable that nothing is seen of; nothing if none is known."""
        gains = self._compiled.gains
        if gains is None:
            return {}
        model = gains.model
        known: dict[int, float] = {}
        for stage in self.job.stages:
            for aspect in (Aspect.PROMPT, Aspect.WIDTH, Aspect.UNITS):
                index = self.profile.index.get((aspect, stage.canonical))
                value = None if index is None else measure(aspect, stage)
                if index is not None and value is not None:
                    known[index] = value
        if not known:
            return {}
        unknown, gain = gains.of(tuple(known))
        found = gain @ model.standard(tuple(known), list(known.values()))
        means = {}
        for index, one in zip(unknown, found.tolist(), strict=True):
            likelihood = self.likelihoods.get(index)
            first = int(self.profile.variables[index].optional)
            if likelihood is None or np.ptp(likelihood[first:]) == 0.0:
                values = self.profile.variables[index].bins.values
                mean = float(model.means[index] + one * model.deviations[index])
                means[index] = min(max(mean, float(values[0][0])), float(values[-1][-1]))
        return means

    def _support(self, amount: Amount) -> tuple[float, ...]:
        """The medians of the likely states but ABSENT, ascending."""
        if amount.variable is None:
            return (amount.known,)
        first = int(self.profile.variables[amount.variable].optional)
        posterior = self.marginal(amount.variable)[first:]
        medians = self._compiled.medians[amount.variable][first:]
        likely = medians[posterior >= min(LEAST - 1e-9, float(posterior.max()))]
        return tuple(float(one) if amount.shown is None else max(0.0, float(one) - amount.shown) for one in likely)

    @cached_property
    def _terms(self) -> list[Term]:
        """All that has work left: stages that are shown, stages that may come, and what pools have left."""
        terms = [self._shown(stage) for stage in self.job.stages if not stage.done]
        # Of a stage that is not shown the job says nothing, or that it is ABSENT.
        shown = {stage.canonical for stage in self.job.stages}
        hidden = self._compiled.hidden
        terms += [term for index, stage, term in hidden if stage not in shown and index not in self.likelihoods]
        if may_grow(self.profile, self.job):
            counts = pool_counts(self.profile, self.job)
            for name, pool in self.profile.pools.items():
                index = self.profile.index.get((Aspect.COUNT, (pool.count, 0)))
                if index is not None:
                    terms += self._pooled(index, name, counts[name])
        return terms

    def _shown(self, stage: StageSeen) -> Term:
        level = self.profile.level(stage.canonical, is_llm=stage.is_llm)
        units = self.profile.index.get((Aspect.UNITS, stage.canonical))
        rate = units_ahead(level, self._ended.get(stage.name, ()), 1.0) if units is None else Amount(variable=units)
        if stage.width is None:
            width = self._amount(Aspect.WIDTH, stage, level.width)
            prompt = self._amount(Aspect.PROMPT, stage, level.prompt_tokens)
            return Term(stage.is_llm, width, prompt, rate, stage=stage.canonical)
        known = Amount(stage.left_prompt_tokens / max(1, stage.left))
        return Term(stage.is_llm, Amount(float(stage.left)), known, rate, stage=stage.canonical)

    def _amount(self, aspect: Aspect, stage: StageSeen, otherwise: float) -> Amount:
        return Amount(otherwise, self.profile.index.get((aspect, stage.canonical)))

    def _pooled(self, index: int, name: str, shown: int) -> list[Term]:
        pool = self.profile.pools[name]
        times = Amount(variable=index, shown=float(shown))
        ended = self._ended.get(name, ())
        latest = self._latest_prompt.get(name)
        terms = []
        for is_llm, level, share in ((True, pool.llm, pool.llm_share), (False, pool.tool, 1.0 - pool.llm_share)):
            if share > 0.0:
                prompt = level.prompt_tokens
                if latest is not None:
                    prompt = max(0.0, latest + level.growth * (self._mean(times) + 1.0) / 2.0)
                width, units = Amount(share * level.width), units_ahead(level, ended, self._mean(times))
                terms.append(Term(is_llm, width, Amount(prompt), units, times))
        return terms

    @cached_property
    def _ended(self) -> Mapping[str, Sequence[float]]:
        """The units of the job's stages that have ended, by name; without those that have variables of their own."""
        found: dict[str, list[float]] = defaultdict(list)
        for stage in self.job.stages:
            units = measure(Aspect.UNITS, stage)
            if units is not None and (Aspect.UNITS, stage.canonical) not in self.profile.index:
                found[stage.name].append(units)
        return found

    @cached_property
    def _latest_prompt(self) -> Mapping[str, float]:
        """By stage name: the next rounds of a loop start from there."""
        prompts = ((stage.name, measure(Aspect.PROMPT, stage)) for stage in self.job.stages)
        return {name: prompt for name, prompt in prompts if prompt is not None}
