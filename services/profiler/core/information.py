"""How much the end of one stage would tell of others: joint mutual information, and the reduction of uncertainty.

R(X|E) = I(X; Y1..YM | E, X present) x sum of Range(Ym), as LLMSched defines it: Y1..YM are the unfinished stages that
a directed path leads to from X in the network, the same in both factors. Information is in bits.

I(X; Y) = H(X) + H(Y) - H(X, Y), each entropy exact: what is not asked for is summed out of the product of factors, and
a junction tree of the rest gives the entropy as a sum over its cliques. Before that Y is cut down to those that X meets
first in the moral graph, because given these X does not depend on the others (the graph's separation property), which
usually leaves two or three. Where X has many children even this is too much: Y is one big clique without X. Then
I(X; Y) = H(X) - E[H(X | Y = y)], with the mean over drawn y but each H(X | y) exact, and its standard error is told.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from math import sqrt

import numpy as np

from services.profiler.core.junction_tree import Calibrated, Elimination, JunctionTree, eliminate, plan_elimination
from services.profiler.core.network import Array, Factor, Network, Scope, States

#: States of a lower probability do not count as possible: with smoothing none has probability 0.
LEAST = 0.01
#: Compiled patterns that are kept. An application has few: one for each set of finished stages and ready stage.
PATTERNS = 1024


#: What is drawn takes tables of about this many cells at most: where one draw needs many, there are fewer draws, but
#: never fewer than `LEAST_DRAWS`, and a larger standard error.
DRAWN_CELLS, LEAST_DRAWS = 200_000, 16


class TooLarge(ValueError):
    """An exact answer would need larger tables than allowed."""


def support(probabilities: Array, values: Array) -> tuple[float, float]:
    """The smallest and the largest value that is possible (probability >= 0.01), in the unit of `values`.

    Args: both of shape (states,), at most 100 states: of more it may be that none is possible.
    """
    # A probability that is exactly 0.01 must not fall to rounding.
    possible = values[probabilities >= LEAST - 1e-9]
    return float(possible.min()), float(possible.max())


def spread(probabilities: Array, values: Array) -> float:
    """Range(Y): from the smallest to the largest possible value."""
    low, high = support(probabilities, values)
    return high - low


@dataclass(frozen=True, slots=True)
class Bits:
    """An amount of information."""

    value: float
    error: float = 0.0  #: standard error; 0 if the value is exact


@dataclass(frozen=True, slots=True)
class Reduction:
    """What the end of a stage does to the uncertainty of those after it."""

    information: Bits
    ranges: float  #: seconds: sum over the stages after it

    @property
    def value(self) -> float:
        """R(X|E), in bits times seconds."""
        return self.information.value * self.ranges


class Information:
    """Of one network. What is compiled is kept by pattern: what is asked, and which variables have a known state."""

    def __init__(self, network: Network, uniforms: Array, cells: int = 100_000) -> None:
        """
        Args:
            uniforms: numbers from [0, 1), shape (samples, one or more for each variable): what is drawn with where an
                exact answer would need tables of more than `cells` cells in all.

        Raises:
            ValueError: there are fewer than two samples, or fewer numbers than variables.
        """
        if uniforms.ndim != 2 or len(uniforms) < 2 or uniforms.shape[1] < len(network.names):
            raise ValueError(
                f"uniforms of shape {uniforms.shape} cannot draw twice from {len(network.names)} variables"
            )
        factors = network.factors()
        self._network, self._cards, self._cells = network, network.cards, cells
        self._tree = JunctionTree([factor.scope for factor in factors], self._cards)
        self._prior = self._tree.potentials(factors)
        self._uniforms = uniforms[:, : len(self._tree.cliques)]
        self._compiled = lru_cache(maxsize=PATTERNS)(self._compile)
        self._latest: tuple[Calibrated, States] | None = None

    def reductions(
        self,
        ready: Collection[int],
        unfinished: Collection[int],
        likelihoods: Mapping[int, Array],
        values: Mapping[int, Array],
        absent: Mapping[int, int],
    ) -> dict[int, Reduction]:
        """R(X|E) of each ready stage X of a job.

        Args:
            ready: variables of the stages that could run. That they are present is added to the evidence.
            unfinished: variables of all stages that have not ended, ready ones and those that may never come included.
            likelihoods: the evidence E (see `JunctionTree.calibrate`).
            values: for each stage variable the seconds of each state: the bin's median, 0 for absent.
            absent: the state that means absent, for those stage variables that have one.

        Raises:
            Impossible: the evidence has probability 0.
            ValueError: a likelihood does not fit its variable.
        """
        evidence = dict(likelihoods)
        for variable in ready:
            if variable in absent:
                evidence[variable] = np.array(evidence.get(variable, np.ones(self._cards[variable])))
                evidence[variable][absent[variable]] = 0.0
        posterior = self._tree.calibrate(self._prior, evidence)
        found = {}
        for variable in ready:
            after = self._network.descendants(variable) & frozenset(unfinished)
            ranges = sum(spread(posterior.marginal(one), values[one]) for one in sorted(after))
            found[variable] = Reduction(self._mutual(variable, after, evidence, posterior), ranges)
        return found

    def mutual_information(self, variable: int, others: Collection[int], likelihoods: Mapping[int, Array]) -> Bits:
        """I(variable; others | evidence), of the others jointly.

        Raises:
            Impossible: the evidence has probability 0.
            ValueError: a likelihood does not fit its variable, or the variable is one of the others.
        """
        if variable in others:
            raise ValueError(f"variable {variable} is one of the others")
        return self._mutual(variable, others, likelihoods, self._tree.calibrate(self._prior, likelihoods))

    def entropy(self, variables: Collection[int], likelihoods: Mapping[int, Array]) -> float:
        """H(variables | evidence), of the variables jointly, in bits.

        Raises:
            Impossible: the evidence has probability 0.
            TooLarge: it needs tables of more cells than are allowed.
            ValueError: a likelihood does not fit its variable.
        """
        return self._entropy(variables, likelihoods, self._tree.calibrate(self._prior, likelihoods))

    def _entropy(self, variables: Collection[int], likelihoods: Mapping[int, Array], posterior: Calibrated) -> float:
        factors = self._factors(variables, likelihoods, posterior.known)
        plan, tree, cells = self._compiled(tuple(factor.scope for factor in factors), frozenset(variables))
        if cells > self._cells:
            raise TooLarge(f"an exact answer needs {cells:,} cells, more than {self._cells:,}")
        return tree.potentials(eliminate(factors, plan)).entropy()

    def _compile(self, scopes: tuple[Scope, ...], asked: frozenset[int]) -> tuple[Elimination, JunctionTree, int]:
        plan = plan_elimination(scopes, asked, self._cards)
        tree = JunctionTree(plan.left, self._cards)
        return plan, tree, plan.cells + tree.cells

    def _factors(
        self, asked: Collection[int], likelihoods: Mapping[int, Array], known: Mapping[int, int]
    ) -> list[Factor]:
        """Without known variables. The product, summed over all but `asked`, is P(asked, evidence) times a constant."""
        factors = []
        for variable in self._network.ancestral((*asked, *likelihoods)):
            scope = (*self._network.parents[variable], variable)
            if all(one in known for one in scope):
                continue
            table = self._network.tables[variable]
            if variable in likelihoods and variable not in known:
                table = table * likelihoods[variable]
            factors.append(Factor(scope, table).at(known))
        return factors

    def _mutual(
        self, variable: int, others: Collection[int], likelihoods: Mapping[int, Array], posterior: Calibrated
    ) -> Bits:
        factors = self._factors((variable, *others), likelihoods, posterior.known)
        hidden, nearest = _surroundings(variable, others, [factor.scope for factor in factors])
        if not nearest:
            return Bits(0.0)
        alone = float(_entropies(posterior.marginal(variable)))
        try:
            together = self._entropy((variable, *nearest), likelihoods, posterior)
            return Bits(max(0.0, alone + self._entropy(nearest, likelihoods, posterior) - together))
        except TooLarge:
            left = self._drawn(variable, hidden, nearest, factors, posterior)
            return Bits(max(0.0, alone - float(left.mean())), float(left.std(ddof=1)) / sqrt(len(left)))

    def _states(self, posterior: Calibrated) -> States:
        """Draws from a posterior, kept for the next stage that is asked about."""
        if self._latest is None or self._latest[0] is not posterior:
            self._latest = posterior, posterior.sample(self._uniforms)
        return self._latest[1]

    def _drawn(
        self,
        variable: int,
        hidden: frozenset[int],
        nearest: frozenset[int],
        factors: Sequence[Factor],
        posterior: Calibrated,
    ) -> Array:
        """H(variable | nearest = y, evidence) for each draw of y.

        The number of the draw is one more variable: all factors that have drawn variables share it. No table is larger
        than the network's largest clique times the number of draws: drawn variables leave the cliques they were in.
        """
        states = self._states(posterior)
        draw = len(self._cards)
        inner = hidden | {variable}
        near = [factor for factor in factors if not inner.isdisjoint(factor.scope)]
        batch = [_at_draws(factor, nearest, states, draw) for factor in near]
        cards = (*self._cards, len(states))
        plan = plan_elimination([factor.scope for factor in batch], (variable, draw), cards)
        if plan.cells > DRAWN_CELLS:
            states = states[: max(LEAST_DRAWS, len(states) * DRAWN_CELLS // plan.cells)]
            batch = [_at_draws(factor, nearest, states, draw) for factor in near]
        table = np.ones((len(states), self._cards[variable]))
        for factor in eliminate(batch, plan):
            table = table * factor.over((draw, variable))
        return _entropies(table / table.sum(axis=-1, keepdims=True))


def _surroundings(
    variable: int, others: Collection[int], scopes: Sequence[Scope]
) -> tuple[frozenset[int], frozenset[int]]:
    """The others that paths from the variable meet first, and the variables on the way; a path goes through scopes."""
    hidden: set[int] = set()
    nearest: set[int] = set()
    waiting = [variable]
    while waiting:
        one = waiting.pop()
        for scope in scopes:
            if one not in scope:
                continue
            for other in set(scope) - hidden - nearest - {variable}:
                if other in others:
                    nearest.add(other)
                else:
                    hidden.add(other)
                    waiting.append(other)
    return frozenset(hidden), frozenset(nearest)


def _at_draws(factor: Factor, drawn: Collection[int], states: States, draw: int) -> Factor:
    """The slices with the drawn variables in the states of each draw, one after the other; `draw` is the axis' name."""
    fixed = tuple(one for one in factor.scope if one in drawn)
    if not fixed:
        return factor
    free = tuple(one for one in factor.scope if one not in drawn)
    table = factor.over((*fixed, *free))
    return Factor((draw, *free), table[tuple(states[:, one] for one in fixed)])


def _entropies(distributions: Array) -> Array:
    """In bits, of each row."""
    logarithms = np.log2(distributions, out=np.zeros_like(distributions), where=distributions > 0)
    return np.asarray(-(distributions * logarithms).sum(axis=-1))
