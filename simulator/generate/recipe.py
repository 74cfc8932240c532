"""A recipe, and the workload that comes of it."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from itertools import islice

from services.profiler.core.statistics import WorkModel
from services.profiler.core.trace import TraceJob
from simulator.cluster import ClusterShape
from simulator.generate.arrivals import Arrivals
from simulator.generate.errors import RecipeError
from simulator.generate.load import mean_demand, rate_of_load
from simulator.generate.mixes import Population, choose, reference_cluster
from simulator.generate.streams import stream


@dataclass(frozen=True, slots=True, kw_only=True)
class Recipe:
    """How to make a workload of a population. A mix or applications (neither: all), and a load or a rate.

    Raises:
        RecipeError: something makes no sense, with all that does not.
    """

    jobs: int
    mix: str | None = None  #: one of `mixes.MIXES`
    applications: tuple[str, ...] = ()
    load: float | None = None  #: load factor
    rate: float | None = None  #: jobs a second
    arrivals: Arrivals = field(default_factory=Arrivals)
    cluster: ClusterShape | None = None  #: what a load is a load of; None: the reference cluster of the mix
    work: WorkModel = field(default_factory=WorkModel)

    def __post_init__(self) -> None:
        problems = []
        if self.jobs < 1:
            problems.append(f"jobs must be at least 1, not {self.jobs}")
        if self.mix is not None and self.applications:
            problems.append("give a mix or applications, not both")
        if (self.load is None) == (self.rate is None):
            problems.append("give a load or a rate, one of them")
        for name, value in (("load", self.load), ("rate", self.rate)):
            if value is not None and not (math.isfinite(value) and value > 0):
                problems.append(f"the {name} must be a number above 0, not {value}")
        if problems:
            raise RecipeError(problems)

    @property
    def shape(self) -> ClusterShape:
        """What a load is a load of."""
        return self.cluster or reference_cluster(self.mix)


def arrival_rate(recipe: Recipe, population: Population) -> float:
    """Jobs a second. Raises RecipeError if the recipe does not fit the population."""
    if recipe.rate is not None:
        return recipe.rate
    assert recipe.load is not None
    chosen = choose(population, mix=recipe.mix, applications=recipe.applications)
    return rate_of_load(recipe.load, mean_demand(chosen, recipe.work), recipe.shape)


def iter_workload(recipe: Recipe, population: Population, seed: int) -> Iterator[TraceJob]:
    """The jobs of `make_workload`, one at a time; problems are raised at once, not at the first job."""
    chosen = choose(population, mix=recipe.mix, applications=recipe.applications)
    rate = arrival_rate(recipe, population)
    return islice(_jobs(list(chosen.values()), recipe.arrivals, rate, seed), recipe.jobs)


def make_workload(recipe: Recipe, population: Population, seed: int) -> list[TraceJob]:
    """Jobs with arrivals, ascending: each draws its application uniformly, then one of its jobs, with replacement.

    Applications, jobs and arrivals have a stream of random numbers each. So with an equal seed another load changes
    the arrivals only, by a factor, and a longer workload begins with the shorter one.

    Raises:
        RecipeError: the recipe does not fit the population.
    """
    return list(iter_workload(recipe, population, seed))


def _jobs(applications: list[Sequence[TraceJob]], arrivals: Arrivals, rate: float, seed: int) -> Iterator[TraceJob]:
    names, places = stream(seed, "applications"), stream(seed, "jobs")
    for index, arrival in enumerate(arrivals.times(rate, stream(seed, "arrivals"))):
        jobs = applications[int(names.random() * len(applications))]
        job = jobs[int(places.random() * len(jobs))]
        # The line is what a reader of the written file would say: it makes ids unique in a run.
        # What it took when it was recorded, beside other jobs, is no measure for what it takes here.
        yield replace(job, arrival_seconds=arrival, recorded_jct_seconds=None, recorded_policy=None, line=index + 1)
