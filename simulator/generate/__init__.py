"""Workloads and histories, made of recorded jobs or of parametric applications.

    population = load_population([Path("traces")], tool_times=parse_tool_times("lognormal:2,0.5"))
    jobs = make_workload(Recipe(mix="planning", jobs=500, load=0.7), population, seed=1)

Equal recipes, populations and seeds give equal jobs. docs/workloads.md tells the story.
"""

from __future__ import annotations

from simulator.generate.arrivals import Arrivals
from simulator.generate.errors import RecipeError
from simulator.generate.mixes import MIXES, Population, choose, reference_cluster
from simulator.generate.population import load_population, parametric_population, split_history
from simulator.generate.recipe import Recipe, arrival_rate, iter_workload, make_workload
from simulator.generate.tool_times import ToolTimes, parse_tool_times

__all__ = [
    "MIXES",
    "Arrivals",
    "Population",
    "Recipe",
    "RecipeError",
    "ToolTimes",
    "arrival_rate",
    "choose",
    "iter_workload",
    "load_population",
    "make_workload",
    "parametric_population",
    "parse_tool_times",
    "reference_cluster",
    "split_history",
]
