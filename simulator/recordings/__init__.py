"""The recording that ships, so that simulations need no data of yours: real jobs of the catalogue's applications.

README.md beside this file says on which machine and model it was made, and how to make it again.
"""

from __future__ import annotations

from pathlib import Path

from services.profiler.core.trace import TraceJob
from simulator.generate.errors import RecipeError
from simulator.generate.mixes import MIXES, Population, choose
from simulator.generate.population import split_history

#: What stands for it on the command line.
BUILTIN = "builtin"

FOLDER = Path(__file__).parent


def halves(population: Population, seed: int = 0) -> tuple[list[TraceJob], Population]:
    """Jobs for policies to learn from, and others, with other inputs, to make workloads of.

    Raises:
        RecipeError: an application has too few inputs for both.
    """
    each = min(map(len, population.values())) // 2
    return split_history(population, each * len(population), seed)


def mixes_of(population: Population) -> list[str]:
    """The mixes that have an application in the population."""
    found = []
    for mix in MIXES:
        try:
            choose(population, mix=mix)
        except RecipeError:
            continue
        found.append(mix)
    return found
