"""The four mixes of applications, decided by what an application can do; unknown ones find their place."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

from services.profiler.core.trace import Structure, TraceJob
from simulator.cluster import ClusterShape
from simulator.generate.errors import RecipeError

Population = Mapping[str, Sequence[TraceJob]]  #: jobs of each application, by its name

#: Structures from the least to the most uncertain. An application is as uncertain as its most uncertain job.
STRUCTURES: tuple[Structure, ...] = ("static", "width", "chain", "chain+width", "generated")

#: Which structures belong to a mix: fixed chains of stages, loops, plans, everything.
MIXES: Mapping[str, frozenset[Structure]] = {
    "predefined": frozenset({"static", "width"}),
    "chain": frozenset({"chain", "chain+width"}),
    "planning": frozenset({"generated"}),
    "mixed": frozenset(STRUCTURES),
}

#: Tool slots of the reference cluster of each mix; all else is the same for all of them.
_TOOL_SLOTS = {"predefined": 8, "chain": 12, "planning": 16, "mixed": 12}


def reference_cluster(mix: str | None) -> ClusterShape:
    """The cluster for which load factors of a mix are meant: docs/simulation-contract.md. None: any other choice."""
    return ClusterShape(tool_slots=_TOOL_SLOTS[mix]) if mix else ClusterShape()


def structure_of(jobs: Iterable[TraceJob]) -> Structure:
    """What the application of these jobs can do."""
    return max((job.structure for job in jobs), key=STRUCTURES.index)


def choose(population: Population, *, mix: str | None = None, applications: Sequence[str] = ()) -> Population:
    """The applications of a mix or those that are named; all, where neither is given. Sorted by name.

    Raises:
        RecipeError: there is no such mix, it has no applications here, or a named application is not there.
    """
    structures = {name: structure_of(population[name]) for name in sorted(population) if population[name]}
    there = ", ".join(f"{name} ({structure})" for name, structure in structures.items()) or "none"
    if mix is not None and applications:
        raise RecipeError(["give a mix or applications, not both"])
    if mix is not None:
        if mix not in MIXES:
            raise RecipeError([f"no mix {mix!r}; there are: {', '.join(MIXES)}"])
        applications = [name for name, structure in structures.items() if structure in MIXES[mix]]
        if not applications:
            raise RecipeError([f"no application belongs to the mix {mix!r}; applications: {there}"])
    missing = [name for name in applications if name not in structures]
    if missing:
        raise RecipeError([f"no jobs of application {name!r}; applications: {there}" for name in missing])
    if not structures:
        raise RecipeError(["there are no jobs to choose from"])
    return {name: population[name] for name in sorted(set(applications) or structures)}
