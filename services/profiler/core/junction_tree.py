"""Exact inference: a product of factors, compiled once to a junction tree, calibrated for each evidence.

Lauritzen and Spiegelhalter (1988). The tree holds the distribution of its root clique, and of every other clique the
conditional distribution of its new variables given those it shares with its parent: a directed form (Jensen, Lauritzen
and Olesen 1990, with the division on the way up). In this form a clique has nothing to tell its parent unless something
was seen in it or below it, so evidence costs only the way from where it was seen to the root; the root is where the
first variables are, which is where evidence is. A variable whose state is known keeps an axis of length 1 in the
tables, which shrink with every stage that ends. Distributions of single cliques are made when they are asked for.
Elimination order: min-fill, ties by the size of the new clique.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import reduce
from itertools import compress
from math import inf, log, prod
from sys import float_info
from typing import NamedTuple

import numpy as np

from services.profiler.core.network import Array, Factor, Scope, States

#: Of an array: keeps an axis (slice) or adds one of length 1 (None).
Index = tuple[slice | None, ...]
KEPT = slice(None)


class Impossible(ValueError):
    """The evidence has probability 0."""

    def __init__(self) -> None:
        super().__init__("what was seen has probability 0")


@dataclass(frozen=True, slots=True)
class Elimination:
    """How to sum out variables of factors with known scopes."""

    order: tuple[int, ...]
    left: tuple[Scope, ...]  #: scopes of the factors that are left, in order
    cells: int  #: of all tables on the way


def plan_elimination(scopes: Sequence[Scope], keep: Collection[int], cards: Sequence[int]) -> Elimination:
    """The cheapest way found to sum out all variables of `scopes` but those in `keep`."""
    left, order, cells = list(scopes), [], 0
    for variable, near in _eliminations(scopes, keep, cards):
        left = [*(scope for scope in left if variable not in scope), near]
        order.append(variable)
        cells += prod(cards[one] for one in (*near, variable))
    return Elimination(tuple(order), tuple(left), cells)


def eliminate(factors: Sequence[Factor], plan: Elimination) -> list[Factor]:
    """Factors whose product is the marginal of the product of `factors`, which have the scopes of the plan."""
    left = list(factors)
    for variable in plan.order:
        touched = [factor for factor in left if variable in factor.scope]
        left = [factor for factor in left if variable not in factor.scope]
        scope = tuple(sorted({one for factor in touched for one in factor.scope} - {variable}))
        table = reduce(np.multiply, [factor.over((*scope, variable)) for factor in touched])
        left.append(Factor(scope, table.sum(axis=-1)))
    return left


def _eliminations(scopes: Sequence[Scope], keep: Collection[int], cards: Sequence[int]) -> Iterator[tuple[int, Scope]]:
    """Variables in the order of elimination, each with the neighbours that it has by then."""
    neighbours: dict[int, set[int]] = {variable: set() for scope in scopes for variable in scope}
    for scope in scopes:
        for variable in scope:
            neighbours[variable].update(one for one in scope if one != variable)

    def cost(variable: int) -> tuple[int, int, int]:
        near = sorted(neighbours[variable])
        missing = sum(b not in neighbours[a] for index, a in enumerate(near) for b in near[index + 1 :])
        return missing, prod(cards[one] for one in (*near, variable)), variable

    waiting = neighbours.keys() - keep
    while waiting:
        chosen = min(waiting, key=cost)
        waiting.remove(chosen)
        near = neighbours.pop(chosen)
        for one in near:
            neighbours[one] |= near - {one}
            neighbours[one].discard(chosen)
        yield chosen, tuple(sorted(near))


class Clique(NamedTuple):
    """Variables that stand in one table, with the axes of the messages that come and go."""

    scope: Scope  #: first those shared with the parent, in the parent's order, then the new ones
    parent: int  #: index of the clique nearer to the root; -1 for the root
    shared: int  #: how many variables are shared with the parent
    gone: Scope  #: axes of the new variables
    up: Index  #: gives a message the axes of the parent's table
    lost: Scope  #: axes of the parent's table that are not shared
    down: Index  #: gives a message the axes of this table


class _Home(NamedTuple):
    """Where a variable is new: the one clique of its cliques that is nearest to the root."""

    clique: int
    here: Index  #: gives a likelihood the axes of the table there
    others: Scope  #: axes of the other variables


class _Conditional:
    """P(new | shared) of a clique under some evidence; of the root P(new)."""

    __slots__ = ("_steps", "table")

    def __init__(self, table: Array) -> None:
        self.table = table
        self._steps: Array | None = None

    def steps(self, rows: int) -> Array:
        """For inversion: cumulated probabilities of each row, from row number to row number + 1, one after the other.

        They are kept: most conditionals stay the same from one evidence to the next.
        """
        if self._steps is None:
            cumulated = self.table.reshape(rows, -1).cumsum(axis=1)
            self._steps = np.ravel(cumulated + np.arange(rows)[:, np.newaxis])
        return self._steps


def check_likelihood(variable: int, likelihood: Array, cards: Sequence[int]) -> None:
    """Raises ValueError unless it is one number from 0 up for each state of a variable."""
    values = likelihood.tolist()
    states = cards[variable] if 0 <= variable < len(cards) else 0
    if likelihood.shape != (states,) or min(values) < 0 or not sum(values) < inf:
        raise ValueError(f"variable {variable}: {values} is no likelihood of each of its {states} states")


class JunctionTree:
    """The compiled form of a product of factors with these scopes."""

    def __init__(self, scopes: Sequence[Scope], cards: Sequence[int]) -> None:
        """Args: `scopes` of the factors; `cards`: number of states of each variable, by its index."""
        self.cards = tuple(cards)
        self.cliques = _tree(_maximal_cliques(scopes, cards))
        self._homes: dict[int, _Home] = {}
        self._places: dict[int, list[tuple[int, int]]] = defaultdict(list)  # clique and axis
        for index, clique in enumerate(self.cliques):
            axes = range(len(clique.scope))
            for axis, variable in enumerate(clique.scope):
                self._places[variable].append((index, axis))
                if axis in clique.gone:
                    shape = tuple(KEPT if one == axis else None for one in axes)
                    self._homes[variable] = _Home(index, shape, tuple(one for one in axes if one != axis))
        self._factor_homes = [self._smallest(scope) for scope in scopes]

    @property
    def variables(self) -> list[int]:
        return sorted(self._homes)

    @property
    def cells(self) -> int:
        """Of all clique tables."""
        return sum(prod(self.cards[one] for one in clique.scope) for clique in self.cliques)

    def potentials(self, factors: Sequence[Factor]) -> Calibrated:
        """The distribution before anything is seen: the normalised product of as many factors as there are scopes.

        Raises:
            Impossible: the product is 0 everywhere.
        """
        tables = {
            index: np.ones([self.cards[one] for one in clique.scope]) for index, clique in enumerate(self.cliques)
        }
        for factor, home in zip(factors, self._factor_homes, strict=True):
            tables[home] = tables[home] * factor.over(self.cliques[home].scope)
        return self._collect([_Conditional(table) for table in tables.values()], tables, {}, 0.0)

    def calibrate(self, before: Calibrated, likelihoods: Mapping[int, Array]) -> Calibrated:
        """The posterior given the likelihood of what was seen under each state of some variables.

        Args:
            before: what `potentials` returned; or an earlier posterior, which then holds too.
            likelihoods: for a variable one number from 0 up for each of its states: 1 for those that what was seen
                allows and 0 for the others, or anything between; only ratios matter.

        Raises:
            Impossible: no state of affairs is compatible with it.
            ValueError: a likelihood is not one number from 0 up for each state of a variable.
            KeyError: a variable is not in the tree.
        """
        known, conditionals = dict(before.known), list(before.conditionals)
        tables: dict[int, Array] = {}
        for variable, likelihood in likelihoods.items():
            check_likelihood(variable, likelihood, self.cards)
            home = self.home(variable)
            if variable not in known and np.count_nonzero(likelihood) == 1:
                known[variable] = int(likelihood.argmax())
                self._cut(variable, known[variable], conditionals, tables)
            if variable in known:
                likelihood = likelihood[[known[variable]]]
            table = tables.get(home.clique)
            table = conditionals[home.clique].table if table is None else table
            tables[home.clique] = table * likelihood[home.here]
        return self._collect(conditionals, tables, known, before.log_evidence) if tables else before

    def _cut(self, variable: int, state: int, conditionals: list[_Conditional], tables: dict[int, Array]) -> None:
        """Leaves one state of a variable in all tables."""
        for clique, axis in self._places[variable]:
            here = (*(KEPT,) * axis, slice(state, state + 1))
            if clique in tables:
                tables[clique] = tables[clique][here]
            else:
                conditionals[clique] = _Conditional(conditionals[clique].table[here])

    def _collect(
        self, found: list[_Conditional], tables: dict[int, Array], known: Mapping[int, int], total: float
    ) -> Calibrated:
        """Sends messages from cliques with changed tables towards the root: parents stand before their children."""
        for index in range(len(self.cliques) - 1, 0, -1):
            if (table := tables.get(index)) is None:
                continue
            clique = self.cliques[index]
            message = np.add.reduce(table, clique.gone)
            mass = float(message.sum())
            if mass <= 0.0:
                raise Impossible
            total += log(mass)
            # Where the message is 0 so is the table: no row of it will ever count.
            found[index] = _Conditional(table / np.maximum(message, float_info.min)[clique.down])
            above = tables.get(clique.parent)
            above = found[clique.parent].table if above is None else above
            tables[clique.parent] = above * (message / mass)[clique.up]
        mass = float(tables[0].sum())
        if mass <= 0.0:
            raise Impossible
        found[0] = _Conditional(tables[0] / mass)
        return Calibrated(self, found, known, total + log(mass))

    def home(self, variable: int) -> _Home:
        """Raises KeyError if it is not in the tree."""
        return self._homes[variable]

    def _smallest(self, scope: Sequence[int]) -> int:
        fitting = [index for index, clique in enumerate(self.cliques) if set(scope) <= set(clique.scope)]
        return min(fitting, key=lambda index: prod(self.cards[one] for one in self.cliques[index].scope))


@dataclass(frozen=True, slots=True, eq=False)
class Calibrated:
    """A posterior."""

    tree: JunctionTree
    conditionals: Sequence[_Conditional]  #: of each clique
    known: Mapping[int, int]  #: states of the variables that have only one left
    log_evidence: float  #: natural logarithm of the probability of what was seen
    _beliefs: dict[int, Array] = field(default_factory=dict)

    def belief(self, clique: int) -> Array:
        """The joint distribution of a clique; axes as in its scope, those of known variables of length 1."""
        way = []
        while clique not in self._beliefs and clique > 0:
            way.append(clique)
            clique = self.tree.cliques[clique].parent
        found = self._beliefs.setdefault(clique, self.conditionals[clique].table)
        for index in reversed(way):
            _, _, _, _, _, lost, down = self.tree.cliques[index]
            found = self.conditionals[index].table * np.add.reduce(found, lost)[down]
            self._beliefs[index] = found
        return found

    def marginal(self, variable: int) -> Array:
        """Raises KeyError if it is not in the tree."""
        if variable in self.known:
            return np.asarray(np.eye(self.tree.cards[variable])[self.known[variable]])
        home = self.tree.home(variable)
        return np.asarray(np.add.reduce(self.belief(home.clique), home.others))

    def entropy(self) -> float:
        """Of all variables of the tree together, in bits: the sum of H(new | shared) over the cliques."""
        total = 0.0
        for index, conditional in enumerate(self.conditionals):
            table = conditional.table
            logarithms = np.log2(table, out=np.zeros_like(table), where=table > 0)
            total -= float(np.vdot(self.belief(index), logarithms))
        return total

    def sample(self, uniforms: Array) -> States:
        """Joint samples of all variables.

        Args: `uniforms`: numbers from [0, 1), shape (samples, cliques).

        Returns: states, shape (samples, number of the highest variable + 1); -1 for variables that are not in the tree.
        """
        count, cards = len(uniforms), self.tree.cards
        states = np.full((max(self.tree.variables, default=-1) + 1, count), -1, dtype=np.int64)
        for variable, state in self.known.items():
            states[variable] = state
        # Row number and uniform are added up: the sum must stay below the row's last step, whatever is rounded.
        below = np.minimum(uniforms, 1.0 - 2.0**-32).T
        for clique, conditional, uniform in zip(self.tree.cliques, self.conditionals, below, strict=True):
            unknown = [one not in self.known for one in clique.scope]
            if not any(unknown[clique.shared :]):
                continue
            row, rows = np.zeros(count, dtype=np.int64), 1
            for one in compress(clique.scope[: clique.shared], unknown):
                row, rows = row * cards[one] + states[one], rows * cards[one]
            steps = conditional.steps(rows)
            column = steps.searchsorted(row + uniform, side="right") - row * (len(steps) // rows)
            for one in compress(reversed(clique.scope[clique.shared :]), reversed(unknown)):
                column, states[one] = np.divmod(column, cards[one])
        return states.T


def _maximal_cliques(scopes: Sequence[Scope], cards: Sequence[int]) -> list[Scope]:
    """Of the triangulated graph, first the one with the first variable."""
    found: list[frozenset[int]] = []
    for variable, near in _eliminations(scopes, (), cards):
        clique = frozenset({variable, *near})
        if not any(clique <= other for other in found):
            found.append(clique)
    return sorted(tuple(sorted(clique)) for clique in found) or [()]


def _tree(scopes: Sequence[Scope]) -> list[Clique]:
    """Joins the cliques by their largest overlaps (Prim), parents first; unrelated parts hang together by nothing."""
    cliques = [_clique(scopes[0], -1, ())]
    # For each scope that waits: its largest overlap with what is placed, and where.
    nearest = {scope: (len(set(scope) & set(scopes[0])), 0) for scope in scopes[1:]}
    while nearest:
        scope = max(nearest, key=lambda one: nearest[one][0])
        _, parent = nearest.pop(scope)
        for one, (overlap, _) in nearest.items():
            if (more := len(set(one) & set(scope))) > overlap:
                nearest[one] = (more, len(cliques))
        cliques.append(_clique(scope, parent, cliques[parent].scope))
    return cliques


def _clique(variables: Scope, parent: int, outer: Scope) -> Clique:
    shared = tuple(one for one in outer if one in variables)
    new = tuple(one for one in variables if one not in shared)
    return Clique(
        scope=(*shared, *new),
        parent=parent,
        shared=len(shared),
        gone=tuple(range(len(shared), len(variables))),
        up=tuple(KEPT if one in shared else None for one in outer),
        lost=tuple(axis for axis, one in enumerate(outer) if one not in shared),
        down=(*(KEPT for _ in shared), *(None for _ in new)),
    )
