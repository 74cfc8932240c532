"""The numbers behind a page about a profile: what is believed before a job shows anything, and how strong links are."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import product

import numpy as np

from services.profiler.core.compiled import Compiled
from services.profiler.core.network import Array
from services.profiler.core.profile import Profile
from services.profiler.core.statistics import WorkModel
from services.profiler.core.variables import Aspect, Variable

#: Rows of a table that are shown: the likeliest.
MOST_ROWS = 24

_WORDS = {Aspect.PROMPT: "prompt tokens", Aspect.WIDTH: "tasks", Aspect.COUNT: "stages"}


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """Of a table: what the parents are, how likely that is, and the probability of each state then."""

    parents: tuple[str, ...]
    probability: float
    states: tuple[float, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Node:
    """A variable."""

    index: int
    kind: str  #: "llm", "tool" or "shape"
    stage: str
    what: str  #: what of the stage it measures
    unit: str
    presence: float  #: probability that a job has such a stage
    mean: float  #: of jobs that have it
    states: tuple[str, ...]
    prior: tuple[float, ...]
    values: tuple[Array, ...]  #: of each bin
    parents: tuple[int, ...]
    rows: tuple[Row, ...]
    left_out: float  #: probability of the rows that are not shown
    rows_left_out: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Link:
    """A variable depends on another."""

    parent: int
    child: int
    bits: float  #: mutual information


@dataclass(frozen=True, slots=True, kw_only=True)
class Picture:
    profile: Profile
    nodes: tuple[Node, ...]
    links: tuple[Link, ...]


def picture(profile: Profile) -> Picture:
    """Everything that a page shows of the profile's network."""
    compiled = Compiled(profile, WorkModel())
    nodes = tuple(_node(compiled, index) for index in range(len(profile.variables)))
    links = [
        Link(parent=parent, child=child, bits=mutual_information(_joint(compiled, (parent, child))))
        for child, parents in enumerate(profile.network.parents)
        for parent in parents
    ]
    return Picture(profile=profile, nodes=nodes, links=tuple(links))


def mutual_information(joint: Array) -> float:
    """Of two variables with this joint distribution, in bits."""
    both = joint.sum(axis=1, keepdims=True) * joint.sum(axis=0, keepdims=True)
    here = joint > 0
    return max(0.0, float((joint[here] * np.log2(joint[here] / both[here])).sum()))


def state_names(variable: Variable) -> tuple[str, ...]:
    """What each state is: a value, or the smallest and the largest of its bin."""
    found = ["absent"] if variable.optional else []
    for values in variable.bins.values:
        low, high = float(values.min()), float(values.max())
        found.append(number(low) if number(low) == number(high) else f"{number(low)}–{number(high)}")
    return tuple(found)


def number(value: float) -> str:
    """Three digits that count."""
    return f"{value:,.0f}" if abs(value) >= 100 or value == int(value) else f"{value:.3g}"


def _node(compiled: Compiled, index: int) -> Node:
    profile = compiled.profile
    variable = profile.variables[index]
    prior = compiled.potentials.marginal(index)
    presence = 1.0 - float(prior[0]) if variable.optional else 1.0
    kind, unit = _kind(profile, variable)
    rows = _rows(compiled, index)
    return Node(
        index=index,
        kind=kind,
        stage=_stage(variable),
        what=_WORDS.get(variable.aspect, unit),
        unit=unit,
        presence=presence,
        mean=float(prior @ compiled.means[index]) / max(1e-9, presence),
        states=state_names(variable),
        prior=tuple(prior.tolist()),
        values=variable.bins.values,
        parents=profile.network.parents[index],
        rows=tuple(rows[:MOST_ROWS]),
        left_out=sum(row.probability for row in rows[MOST_ROWS:]),
        rows_left_out=max(0, len(rows) - MOST_ROWS),
    )


def _kind(profile: Profile, variable: Variable) -> tuple[str, str]:
    """Its kind and its unit."""
    if variable.aspect is Aspect.UNITS:
        return ("llm", "output tokens") if profile.llm_names[variable.stage[0]] else ("tool", "seconds")
    if variable.aspect is Aspect.PROMPT:
        return "llm", "prompt tokens"
    return "shape", "tasks" if variable.aspect is Aspect.WIDTH else "stages"


def _stage(variable: Variable) -> str:
    name, occurrence = variable.stage
    if not name:
        return "all other stages"
    return f"{name} #{occurrence + 1}" if occurrence else name


def _joint(compiled: Compiled, variables: Sequence[int]) -> Array:
    """The joint distribution of variables of one family, axes in their order."""
    tree = compiled.tree
    place = next(place for place, clique in enumerate(tree.cliques) if set(variables) <= set(clique.scope))
    scope = tree.cliques[place].scope
    table = compiled.potentials.belief(place)
    kept = [one for one in scope if one in variables]
    summed = table.sum(axis=tuple(axis for axis, one in enumerate(scope) if one not in variables))
    return np.asarray(summed.transpose([kept.index(one) for one in variables]))


def _rows(compiled: Compiled, index: int) -> list[Row]:
    """The likeliest first."""
    network, variables = compiled.profile.network, compiled.profile.variables
    parents, table = network.parents[index], network.tables[index]
    names = [state_names(variables[parent]) for parent in parents]
    weights = _joint(compiled, parents) if parents else np.ones(())
    found = [
        Row(
            parents=tuple(names[place][state] for place, state in enumerate(states)),
            probability=float(weights[states]),
            states=tuple(table[states].tolist()),
        )
        for states in product(*(range(size) for size in table.shape[:-1]))
    ]
    return sorted(found, key=lambda row: -row.probability)
