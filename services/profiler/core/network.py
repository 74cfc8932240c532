"""A Bayesian network over discrete variables, as arrays."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]
States = NDArray[np.int64]
Scope = tuple[int, ...]


@dataclass(frozen=True, slots=True, eq=False)
class Factor:
    """A table over some variables: `table.shape` are their numbers of states, in the order of `scope`."""

    scope: Scope
    table: Array

    def over(self, scope: Sequence[int]) -> Array:
        """The table with one axis for each variable of `scope`, a superset in any order; new axes have length 1."""
        order = [variable for variable in scope if variable in self.scope]
        table = self.table.transpose([self.scope.index(variable) for variable in order])
        sizes = iter(table.shape)
        return table.reshape([next(sizes) if variable in self.scope else 1 for variable in scope])

    def at(self, states: Mapping[int, int]) -> Factor:
        """The slice with these variables in these states; those that are not in the scope do not matter."""
        if states.keys().isdisjoint(self.scope):
            return self
        table = np.asarray(self.table[tuple(states.get(variable, slice(None)) for variable in self.scope)])
        return Factor(tuple(variable for variable in self.scope if variable not in states), table)


@dataclass(frozen=True, slots=True, eq=False)
class Network:
    """Variables 0..n-1, parents before children. `tables[i]` is P(i | parents): axes are parents, then i."""

    names: tuple[str, ...]
    parents: tuple[Scope, ...]
    tables: tuple[Array, ...]

    def __post_init__(self) -> None:
        """Raises ValueError, naming every table that does not fit."""
        if not len(self.names) == len(self.parents) == len(self.tables):
            raise ValueError("names, parents and tables must be equally many")
        if problems := [
            f"{name}: {problem}" for index, name in enumerate(self.names) if (problem := self._problem(index))
        ]:
            raise ValueError("; ".join(problems))

    def _problem(self, index: int) -> str | None:
        parents, table = self.parents[index], self.tables[index]
        if not table.ndim or not table.shape[-1]:
            return "a variable must have states"
        if any(not 0 <= parent < index for parent in parents):
            return "parents must come before their children"
        if len(set(parents)) < len(parents):
            return "a parent must not be named twice"
        if table.shape[:-1] != tuple(
            self.tables[parent].shape[-1] if self.tables[parent].ndim else 0 for parent in parents
        ):
            return "the table's axes are not its parents' states"
        if (table < 0).any() or not np.allclose(table.sum(axis=-1), 1.0):
            return "each row of the table must be a distribution"
        return None

    @property
    def cards(self) -> tuple[int, ...]:
        """Numbers of states."""
        return tuple(table.shape[-1] for table in self.tables)

    def factors(self) -> list[Factor]:
        """P(i | parents) of each variable."""
        return [
            Factor((*parents, index), table)
            for index, (parents, table) in enumerate(zip(self.parents, self.tables, strict=True))
        ]

    def descendants(self, variable: int) -> frozenset[int]:
        """The variables that a directed path leads to."""
        found: set[int] = set()
        for index in range(variable + 1, len(self.names)):
            if any(parent == variable or parent in found for parent in self.parents[index]):
                found.add(index)
        return frozenset(found)

    def ancestral(self, variables: Iterable[int]) -> list[int]:
        """The variables and all that a directed path leads from to them, ascending.

        What is not among them sums to 1: it says nothing of these variables while nothing is known of it.
        """
        found = set(variables)
        for index in range(max(found, default=-1), -1, -1):
            if index in found:
                found.update(self.parents[index])
        return sorted(found)
