"""From load factors to arrival rates and back: docs/simulation-contract.md.

A load factor ρ means λ = ρ / max(W / (L·B / s(B)), T / R), with W the mean LLM work of a job and T its mean tool
seconds. Both are means over the population: every application counts the same, and so does every job within one.
They do not depend on which jobs a seed happens to draw, so a rate is the same for all seeds.
"""

from __future__ import annotations

from dataclasses import dataclass
from math import fsum

from services.profiler.core.statistics import WorkModel
from services.profiler.core.trace import TraceJob
from simulator.cluster import ClusterShape
from simulator.generate.errors import RecipeError
from simulator.generate.mixes import Population


@dataclass(frozen=True, slots=True, kw_only=True)
class Demand:
    """What a job asks of a cluster."""

    llm_work: float  #: seconds of LLM work: alone on an engine
    tool_seconds: float

    def seconds(self, cluster: ClusterShape) -> float:
        """How long the busier half of a fully used cluster takes for it: 1 over the highest rate that can be served.

        Raises:
            RecipeError: there is work for which the cluster has no executor, or no work at all.
        """
        speed = cluster.llm_executors * cluster.max_batch / cluster.slowdown(cluster.max_batch)
        problems = []
        if self.llm_work and not speed:
            problems.append("the jobs have LLM tasks, and the cluster has no LLM executor")
        if self.tool_seconds and not cluster.tool_slots:
            problems.append("the jobs have tool tasks, and the cluster has no tool slot")
        if not self.llm_work and not self.tool_seconds:
            problems.append("the jobs have no work at all: there is no load factor")
        if problems:
            raise RecipeError(problems)
        llm = self.llm_work / speed if self.llm_work else 0.0
        return max(llm, self.tool_seconds / cluster.tool_slots if self.tool_seconds else 0.0)


def demand(job: TraceJob, work: WorkModel) -> Demand:
    """Of one job. What is unknown counts as 0."""
    llm: list[float] = []
    tool: list[float] = []
    for stage in job.stages:
        if stage.is_llm:
            llm += [work.work(task.prompt_tokens or 0, task.output_tokens or 0) for task in stage.tasks]
        else:
            tool += [task.seconds or 0.0 for task in stage.tasks]
    return Demand(llm_work=fsum(llm), tool_seconds=fsum(tool))


def mean_demand(population: Population, work: WorkModel) -> Demand:
    """Of a job whose application is drawn uniformly, then the job from that application's."""
    llm: list[float] = []
    tool: list[float] = []
    for jobs in population.values():
        demands = [demand(job, work) for job in jobs]
        llm.append(fsum(one.llm_work for one in demands) / len(jobs))
        tool.append(fsum(one.tool_seconds for one in demands) / len(jobs))
    return Demand(llm_work=fsum(llm) / len(population), tool_seconds=fsum(tool) / len(population))


def rate_of_load(load: float, mean: Demand, cluster: ClusterShape) -> float:
    """Jobs a second. Raises RecipeError as `Demand.seconds` does."""
    return load / mean.seconds(cluster)


def load_of_rate(rate: float, mean: Demand, cluster: ClusterShape) -> float:
    """The load factor of so many jobs a second. Raises RecipeError as `Demand.seconds` does."""
    return rate * mean.seconds(cluster)
