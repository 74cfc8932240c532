"""From numbers to the states of a variable: bins whose edges come from the history alone."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from services.profiler.core.network import Array

#: Bins of a variable at most.
MAX_BINS = 6

#: Values in a bin at least.
LEAST_VALUES = 4


@dataclass(frozen=True, slots=True)
class Bins:
    """The bins of one variable, ascending; none is empty, but for a variable that never had a value: one bin, all 0."""

    edges: Array  #: between the bins, one fewer than these; a bin holds its lower edge
    values: tuple[Array, ...]  #: what the history had in each bin, ascending

    @property
    def count(self) -> int:
        return len(self.values)

    @property
    def means(self) -> Array:
        return np.array([values.mean() for values in self.values])

    @property
    def medians(self) -> Array:
        return np.array([np.median(values) for values in self.values])

    def place(self, value: float) -> int:
        """The bin that the value belongs to; what lies beyond all of the history belongs to the outermost."""
        return int(self.edges.searchsorted(value, side="right"))

    def at_least(self, least: float) -> Array:
        """How likely a value of `least` or more is in each bin. Beyond all of the history, the last bin is left."""
        shares = np.array([1.0 - values.searchsorted(least) / len(values) for values in self.values])
        if not shares.any():
            shares[-1] = 1.0
        return shares

    def exactly(self, value: float) -> Array:
        """1 for the value's bin, 0 for the others."""
        shares = np.zeros(self.count)
        shares[self.place(value)] = 1.0
        return shares

    def plain(self) -> dict[str, Any]:
        """As numbers, lists and strings."""
        return {"edges": self.edges.tolist(), "values": [values.tolist() for values in self.values]}

    @classmethod
    def of_plain(cls, plain: dict[str, Any]) -> Bins:
        return cls(np.array(plain["edges"], dtype=float), tuple(np.array(one, dtype=float) for one in plain["values"]))


def bins(values: Sequence[float], most: int = MAX_BINS) -> Bins:
    """The bins that leave least variance inside: one for each different value if these are few.

    Fisher's (1958) optimal grouping: with equally many in each, most of the variance of a long tail would be inside
    its last bin, and it is the tail that matters.

    Args: `most`: how many bins at most. Each has a 20th of the values at least, but for one of a single value.
    """
    if not values:
        return Bins(np.zeros(0), (np.zeros(1),))
    ordered = np.sort(np.asarray(values, dtype=float))
    different = np.unique(ordered)
    edges = (different[1:] + different[:-1]) / 2
    if len(different) > most:
        edges = _grouping(ordered, most, max(LEAST_VALUES, len(ordered) // 20))
    return Bins(edges, tuple(np.split(ordered, ordered.searchsorted(edges))))


def _grouping(ordered: Array, most: int, least: int) -> Array:
    """The edges of the best split into `most` runs of at least `least` values, or into as many as there can be."""
    count = len(ordered)
    sums, squares = (np.concatenate([[0.0], np.cumsum(one)]) for one in (ordered, ordered**2))
    size = np.arange(count + 1)[None, :] - np.arange(count + 1)[:, None]  # of the run from a row to a column
    error = squares[None, :] - squares[:, None] - (sums[None, :] - sums[:, None]) ** 2 / np.maximum(size, 1)
    begins = np.concatenate([[True], ordered[1:] > ordered[:-1], [True]])  # equal values stay together
    error[(size < least) | ~begins[:, None] | ~begins[None, :]] = np.inf
    best = error[0]
    cuts: list[NDArray[np.int64]] = []
    while len(cuts) < most - 1:
        every = best[:, None] + error
        if not np.isfinite(every[:, count].min()):
            break
        cuts.append(every.argmin(axis=0))
        best = every.min(axis=0)
    places, end = [], count
    for cut in reversed(cuts):
        end = int(cut[end])
        places.append(end)
    found = np.array(places[::-1], dtype=int)
    return np.asarray((ordered[found] + ordered[found - 1]) / 2)
