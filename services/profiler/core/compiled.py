"""A profile made ready for questions, and the words of the answers: amounts that are known or variables, and terms."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from copy import copy
from dataclasses import dataclass, replace
from math import log1p, sqrt

import numpy as np
from numpy.typing import NDArray

from services.profiler.core.junction_tree import JunctionTree
from services.profiler.core.linear import Gains
from services.profiler.core.network import Array, Network
from services.profiler.core.normal import normals
from services.profiler.core.profile import Level, Profile
from services.profiler.core.statistics import WorkModel
from services.profiler.core.variables import Aspect, Canonical, Variable


@dataclass(frozen=True, slots=True, eq=False)
class Draws:
    """The values that the history has for each state of a variable, one after the other; 0 for ABSENT."""

    values: Array
    starts: NDArray[np.int64]  #: of each state
    counts: Array  #: of each state

    @classmethod
    def of(cls, variable: Variable) -> Draws:
        parts = [np.zeros(1), *variable.bins.values] if variable.optional else list(variable.bins.values)
        counts = np.array([len(part) for part in parts])
        return cls(np.concatenate(parts), np.cumsum(counts) - counts, counts.astype(float))

    def draw(self, states: NDArray[np.int64], uniforms: Array) -> Array:
        return self.values[self.starts[states] + (uniforms * self.counts[states]).astype(np.int64)]


@dataclass(frozen=True, slots=True)
class Amount:
    """A number that is known, or a variable; of a count, what is over `shown`."""

    known: float = 0.0
    variable: int | None = None
    shown: float | None = None
    deviation: float = 0.0  #: how far a known number may be off, on a logarithmic scale: for samples


@dataclass(frozen=True, slots=True)
class Term:
    """Stages that have work left: `times` stages of `width` tasks each."""

    is_llm: bool
    width: Amount
    prompt: Amount
    units: Amount
    times: Amount = Amount(1.0)
    #: The variable whose state 0 says that there is no such stage.
    presence: int | None = None
    #: Of a stage that is shown.
    stage: Canonical | None = None


def units_ahead(level: Level, seen: Sequence[float], stages: float) -> Amount:
    """The mean units of so many stages that a job has ahead, given those that have ended."""
    mean = level.of_job(seen)
    variance = level.left(len(seen)) + level.within / max(1.0, stages)
    return Amount(mean, deviation=sqrt(log1p(variance / mean**2)) if mean > 0.0 else 0.0)


def hidden(profile: Profile, index: int) -> Term:
    """The stage that this variable is the units of."""
    variable = profile.variables[index]
    name, _ = variable.stage
    is_llm = profile.llm_names[name]
    level = profile.level(variable.stage, is_llm=is_llm)
    return Term(
        is_llm,
        Amount(level.width, profile.index.get((Aspect.WIDTH, variable.stage))),
        Amount(level.prompt_tokens, profile.index.get((Aspect.PROMPT, variable.stage))),
        Amount(variable=index),
        presence=index if variable.optional else None,
    )


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
        means = [index for index, one in enumerate(profile.variables) if one.aspect is not Aspect.COUNT]
        self.gains = None if profile.linear is None else Gains(profile.linear, means)
        self.draws = [Draws.of(variable) for variable in profile.variables]
        self._over: dict[tuple[int, float], Array] = {}
        self._units: dict[int, tuple[Term, Term]] = {}
        self._normals: tuple[Array, Iterator[Array], list[Array]] | None = None
        #: What each stage with variables of its own is before it is shown.
        self.hidden = [
            (index, variable.stage, hidden(profile, index))
            for index, variable in enumerate(profile.variables)
            if variable.aspect is Aspect.UNITS
        ]

    def over(self, variable: int, shown: float) -> Array:
        """Of each bin of a count the mean of what is over `shown`; one more where the history never had as many."""
        found = self._over.get((variable, shown))
        if found is None:
            means = []
            for values in self.profile.variables[variable].bins.values:
                more = values[values.searchsorted(shown) :]
                means.append(float(more.mean()) - shown if len(more) else 1.0)
            found = self._over[variable, shown] = np.array(means)
        return found

    def one_unit_and_none(self, variable: int) -> tuple[Term, Term]:
        """A stage that is not shown, if its tasks had one unit each, and none."""
        found = self._units.get(variable)
        if found is None:
            term = hidden(self.profile, variable)
            found = replace(term, units=Amount(1.0)), replace(term, units=Amount(0.0))
            self._units[variable] = found
        return found

    def noises(self, uniforms: Array) -> Iterator[Array]:
        """As `normals`, which are kept for the next belief that draws with the same numbers."""
        if self._normals is None or self._normals[0] is not uniforms:
            self._normals = uniforms, normals(uniforms), []
        _, more, columns = self._normals
        place = 0
        while True:
            if place == len(columns):
                columns.append(next(more))
            yield columns[place]
            place += 1

    def with_work(self, work: WorkModel) -> Compiled:
        """The same for other costs of tokens."""
        found = copy(self)
        found.work = work
        return found

    def independent(self) -> Profile:
        """The profile with the prior distribution of each variable in place of its table."""
        prior = [self.potentials.marginal(index) for index in range(len(self.profile.variables))]
        names = self.profile.network.names
        return replace(self.profile, network=Network(names, ((),) * len(names), tuple(prior)), linear=None)
