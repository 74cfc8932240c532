"""Which variables depend on which, and how much: parents and tables of a network from few jobs.

The values of duration, width and tokens are ordered, and they rise and fall together. A table of counts alone would
need many jobs to see that, so every table starts from a *trend*: on a normal scale (a Gaussian copula) the child is a
linear function of its parents plus noise, fitted with a ridge. The trend counts as much as `TREND_WEIGHT` jobs in each
state of the parents; what is counted in the history corrects it.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from math import erf, inf, prod, sqrt
from statistics import NormalDist

import numpy as np
from numpy.typing import NDArray

from services.profiler.core.junction_tree import JunctionTree
from services.profiler.core.network import Array

#: Parents of a variable at most, and cells of a table: of one variable's, and of a clique's.
MAX_PARENTS = 3
MAX_TABLE_CELLS = 1500
MAX_CLIQUE_CELLS = 10_000

#: Pairs of parents that are tried at once.
PAIRS = 6

#: How many jobs the trend counts for, in each state of the parents.
TREND_WEIGHT = 10.0

#: Ridge on the coefficients of the trend, in jobs.
RIDGE = 5.0

States = NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class Column:
    """The states of one variable in the jobs of a history. If `optional`, state 0 says that its stage is absent."""

    states: States  #: shape (jobs,)
    card: int  #: number of states
    optional: bool = False

    @property
    def first(self) -> int:
        """The first state that is a bin."""
        return int(self.optional)


#: From the columns, in an order in which causes come before effects, to the parents of each: earlier ones, ascending.
Search = Callable[[Sequence[Column]], tuple[tuple[int, ...], ...]]

#: From the columns and the parents of each to P(i | parents) of each: axes are parents, then i. No cell is 0.
Estimate = Callable[[Sequence[Column], Sequence[tuple[int, ...]]], tuple[Array, ...]]


def search(columns: Sequence[Column]) -> tuple[tuple[int, ...], ...]:
    """Adds, for each variable in turn, the parent or the pair of parents that raises the score most, while one does.

    The score is the leave-one-out log-likelihood of the counts, less one for each coefficient of the trend (Akaike).
    Pairs, because two variables that rise together may pull a third one in opposite directions: alone, neither shows.
    """
    scales = [_Scale.of(column) for column in columns]
    linear = _correlations(columns, scales)
    parents: list[tuple[int, ...]] = []
    for index in range(len(columns)):
        chosen: tuple[int, ...] = ()
        best = _score(columns, scales, index, chosen)
        while len(chosen) < MAX_PARENTS:
            more = [(parent,) for parent in range(index)] + _pairs(linear, index)
            offers = {tuple(sorted({*chosen, *parents})) for parents in more} - {chosen}
            offers = {
                one for one in offers if len(one) <= MAX_PARENTS and cells(columns, (*one, index)) <= MAX_TABLE_CELLS
            }
            scored = [(_score(columns, scales, index, offer), offer) for offer in offers]
            better = sorted((pair for pair in scored if pair[0] > best + 1e-9), reverse=True)
            fitting = next((pair for pair in better if fits(columns, [*parents, pair[1]])), None)
            if fitting is None:
                break
            best, chosen = fitting
        parents.append(chosen)
    return tuple(parents)


def _correlations(columns: Sequence[Column], scales: Sequence[_Scale]) -> Array:
    scores = np.stack([scale.scores[column.states] for column, scale in zip(columns, scales, strict=True)])
    scores -= scores.mean(axis=1, keepdims=True)
    length = np.sqrt((scores**2).sum(axis=1))
    scores /= np.where(length > 0.0, length, 1.0)[:, None]
    return np.asarray(scores @ scores.T)


def _pairs(linear: Array, index: int) -> list[tuple[int, ...]]:
    """The pairs of earlier variables that explain most of this one, if it were linear in them."""
    first, second = np.triu_indices(index, 1)
    one, other, both = linear[index, first], linear[index, second], linear[first, second]
    explained = (one**2 + other**2 - 2.0 * one * other * both) / np.maximum(1.0 - both**2, 0.02)
    return [(int(first[place]), int(second[place])) for place in np.argsort(-explained, kind="stable")[:PAIRS]]


def tables(columns: Sequence[Column], parents: Sequence[tuple[int, ...]]) -> tuple[Array, ...]:
    """P(i | parents) of each variable: axes are parents, then i. No cell is 0."""
    scales = [_Scale.of(column) for column in columns]
    found = []
    for index, chosen in enumerate(parents):
        table = _counts(columns, (*chosen, index)) + TREND_WEIGHT * _trend(columns, scales, index, chosen)
        found.append(table / table.sum(axis=-1, keepdims=True))
    return tuple(found)


def cells(columns: Sequence[Column], scope: Sequence[int]) -> int:
    """Of a table over these variables."""
    return prod(columns[one].card for one in scope)


def fits(columns: Sequence[Column], parents: Sequence[tuple[int, ...]]) -> bool:
    """Whether inference with these parents of the first variables needs no clique that is too large."""
    cards = [column.card for column in columns[: len(parents)]]
    tree = JunctionTree([(*chosen, index) for index, chosen in enumerate(parents)], cards)
    return all(cells(columns, clique.scope) <= MAX_CLIQUE_CELLS for clique in tree.cliques)


def _counts(columns: Sequence[Column], scope: Sequence[int]) -> Array:
    shape = [columns[one].card for one in scope]
    places = np.ravel_multi_index([columns[one].states for one in scope], shape)
    return np.bincount(places, minlength=prod(shape)).reshape(shape).astype(float)


def _score(columns: Sequence[Column], scales: Sequence[_Scale], index: int, parents: tuple[int, ...]) -> float:
    counts = _counts(columns, (*parents, index))
    others = np.maximum(counts - 1.0, 0.0) + TREND_WEIGHT * _trend(columns, scales, index, parents)
    among = np.maximum(counts.sum(axis=-1, keepdims=True) - 1.0, 0.0) + TREND_WEIGHT
    coefficients = sum(1 + columns[one].optional for one in parents) * (1 + columns[index].optional)
    return float((counts * np.log(others / among)).sum()) - coefficients


@dataclass(frozen=True, slots=True)
class _Scale:
    """Where the states of a column lie on a standard normal scale."""

    limits: Array  #: between the bins, with those at infinity
    scores: Array  #: of each state: the mean of its part of the scale; 0 for ABSENT
    spread: float  #: variance that is left inside the bins
    shares: Array  #: of each state in the history

    @classmethod
    def of(cls, column: Column) -> _Scale:
        counts = np.bincount(column.states, minlength=column.card).astype(float)
        present = counts[column.first :] + 1e-6  # a state that a part of the history does not have
        shares = present / present.sum()
        normal = NormalDist()
        inner = [normal.inv_cdf(min(max(one, 1e-9), 1 - 1e-9)) for one in np.cumsum(shares)[:-1]]
        density = np.array([0.0, *map(normal.pdf, inner), 0.0])
        scores = (density[:-1] - density[1:]) / shares
        spread = 1.0 - float(shares @ scores**2)
        every = (counts + 0.5) / (counts + 0.5).sum()
        return cls(np.array([-inf, *inner, inf]), np.concatenate([np.zeros(column.first), scores]), spread, every)


def _design(columns: Sequence[Column], scales: Sequence[_Scale], parents: Sequence[int], rows: States) -> Array:
    """Of states of the parents, shape (rows, parents): a constant, the scores, and whether it is absent."""
    parts = [np.ones(len(rows))]
    for place, parent in enumerate(parents):
        parts.append(scales[parent].scores[rows[:, place]])
        if columns[parent].optional:
            parts.append((rows[:, place] == 0).astype(float))
    return np.stack(parts, axis=1)


def _ridge(design: Array, target: Array) -> Array:
    penalty = RIDGE * np.eye(design.shape[1])
    penalty[0, 0] = 1e-9
    return np.asarray(np.linalg.solve(design.T @ design + penalty, design.T @ target))


_erf = np.vectorize(erf, otypes=[float])


def _trend(columns: Sequence[Column], scales: Sequence[_Scale], index: int, parents: tuple[int, ...]) -> Array:
    """P(index | parents) as a linear function on the normal scale has it."""
    child, scale = columns[index], scales[index]
    if not parents:
        return scale.shares
    shape = [columns[one].card for one in parents]
    seen = np.stack([columns[one].states for one in parents], axis=1)
    design = _design(columns, scales, parents, seen)
    grid = _design(columns, scales, parents, np.indices(shape).reshape(len(shape), -1).T)
    here = child.states >= child.first
    target = scale.scores[child.states[here]]
    coefficients = _ridge(design[here], target) if here.any() else np.zeros(design.shape[1])
    error = float(((target - design[here] @ coefficients) ** 2).sum())
    deviation = sqrt(scale.spread + (error + 1.0) / (here.sum() + 1.0))
    below = 0.5 * (1.0 + _erf((scale.limits[None, :] - (grid @ coefficients)[:, None]) / (deviation * sqrt(2.0))))
    shares = np.diff(below, axis=1) + 1e-6
    shares /= shares.sum(axis=1, keepdims=True)
    if child.optional:
        floor = 0.5 / (len(seen) + 1.0)
        absent = np.clip(grid @ _ridge(design, (child.states == 0).astype(float)), floor, 1.0 - floor)[:, None]
        shares = np.concatenate([absent, (1.0 - absent) * shares], axis=1)
    return shares.reshape(*shape, child.card)
