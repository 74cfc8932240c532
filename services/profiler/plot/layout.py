"""Where the variables of a network stand: columns by depth, so that links go from left to right."""

from __future__ import annotations

import itertools
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from services.common.drawing import spread

Point = tuple[float, float]
_Place = tuple[int, int]  #: a variable, or where a long link passes a column: (variable, -1) or (link, column)

#: Times that places follow those of their neighbours.
_SWEEPS = 8


@dataclass(frozen=True, slots=True)
class Layout:
    places: Mapping[int, tuple[int, float]]  #: by variable: its column, and how far down in rows
    ways: Mapping[tuple[int, int], Sequence[tuple[int, float]]]  #: by link: the places that it goes through
    columns: int
    rows: int


def layout(parents: Sequence[Sequence[int]]) -> Layout:
    """Args: `parents` of each variable, all before it. Variables without links stand in the last rows."""
    count = len(parents)
    linked = {one for child, some in enumerate(parents) for one in (*some, *((child,) if some else ()))}
    depth = [0] * count
    for child, some in enumerate(parents):
        depth[child] = max((depth[parent] + 1 for parent in some), default=0)
    chains = {(p, c): _chain(p, c, depth, number) for number, (p, c) in enumerate(_links(parents))}
    columns: dict[int, list[_Place]] = defaultdict(list)
    for one in sorted(linked):
        columns[depth[one]].append((one, -1))
    for (parent, _), chain in chains.items():
        for step, place in enumerate(chain[1:-1], start=1):
            columns[depth[parent] + step].append(place)
    rows = max((len(column) for column in columns.values()), default=0)
    at = _settle(columns, list(chains.values()), rows)
    width = max(columns, default=-1) + 1
    places = {one: (depth[one], at[one, -1]) for one in linked}
    alone = [one for one in range(count) if one not in linked]
    across = max(width, min(4, len(alone)))
    for number, one in enumerate(alone):
        places[one] = (number % across, rows + number // across + (0.5 if rows else 0.0) + 0.5)
    ways = {
        link: [(depth[link[0]] + step, at[place]) for step, place in enumerate(chain)] for link, chain in chains.items()
    }
    return Layout(places, ways, max(width, across), rows + (-(-len(alone) // across) if alone else 0))


def _links(parents: Sequence[Sequence[int]]) -> list[tuple[int, int]]:
    return [(parent, child) for child, some in enumerate(parents) for parent in some]


def _chain(parent: int, child: int, depth: Sequence[int], number: int) -> list[_Place]:
    """From parent to child, with a place in every column between."""
    between = [(-1 - number, column) for column in range(depth[parent] + 1, depth[child])]
    return [(parent, -1), *between, (child, -1)]


def _settle(
    columns: Mapping[int, Sequence[_Place]], chains: Sequence[Sequence[_Place]], rows: int
) -> dict[_Place, float]:
    """Rows of all places: near those that they are linked with, one row apart."""
    before: dict[_Place, list[_Place]] = defaultdict(list)
    after: dict[_Place, list[_Place]] = defaultdict(list)
    for chain in chains:
        for one, other in itertools.pairwise(chain):
            after[one].append(other)
            before[other].append(one)
    at: dict[_Place, float] = {}
    for column in columns.values():
        for row, place in enumerate(column):
            at[place] = row + 0.5 + (rows - len(column)) / 2
    for sweep in range(_SWEEPS):
        near = before if sweep % 2 == 0 else after
        for number in sorted(columns, reverse=sweep % 2 == 1):
            column = sorted(columns[number], key=at.__getitem__)
            wanted = [sum(at[one] for one in near[place] or [place]) / len(near[place] or [place]) for place in column]
            at.update(zip(column, spread(wanted, 1.0, 0.0, float(rows)), strict=True))
    return at
