"""Populations: the jobs of each application from which a workload draws, complete with all that a workload must say."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path

from services.profiler.core.trace import TraceJob, TraceStage, TraceTask
from simulator.generate.applications.base import ParametricApplication
from simulator.generate.errors import RecipeError
from simulator.generate.mixes import Population
from simulator.generate.recording import Recording, read_recorded
from simulator.generate.streams import stream
from simulator.generate.tool_times import ToolTimes

#: How many jobs stand for a parametric application.
PARAMETRIC_JOBS = 1000


def complete(recording: Recording, tool_times: ToolTimes | None, applications: Iterable[str]) -> Population:
    """The named applications, with tool seconds from the model where the recording has none.

    Raises:
        RecipeError: tool seconds are unknown and there is no model, or tokens are: names application and files.
    """
    problems: list[str] = []
    population: dict[str, Sequence[TraceJob]] = {}
    for name in applications:
        jobs = recording.jobs[name]
        files = ", ".join(map(str, recording.files[name]))
        tools, tokens = _unknown(jobs)
        if tools and tool_times is None:
            problems.append(f"{name}: tool tasks without seconds in {files}: {tools}; --tool-times says what they take")
        if tokens:
            problems.append(f"{name}: LLM tasks without tokens in {files}: {tokens}; no workload can be made of them")
        population[name] = [_filled(job, tool_times) for job in jobs] if tools and tool_times else jobs
    if problems:
        raise RecipeError(problems)
    return population


def load_population(paths: Iterable[Path], tool_times: ToolTimes | None = None) -> Population:
    """All applications of trace files and folders, complete. Errors: those of `read_recorded` and `complete`."""
    recording = read_recorded(paths)
    return complete(recording, tool_times, recording.jobs)


def parametric_population(
    applications: Mapping[str, ParametricApplication], *, jobs: int = PARAMETRIC_JOBS, purpose: str = "workload"
) -> Population:
    """`jobs` jobs of each application. Equal arguments give equal jobs; another purpose gives others.

    Like recorded jobs they stand for the application, so the rate of a load factor is the same for all seeds.
    """
    population: dict[str, Sequence[TraceJob]] = {}
    for name, application in applications.items():
        random = stream(0, f"{purpose}/{name}")
        population[name] = [application.job(random, f"{name}-{purpose}-{index}") for index in range(jobs)]
    return population


def equal_parts(jobs: int, applications: Iterable[str]) -> dict[str, int]:
    """How many of the jobs each application gets; those that come first by name get what cannot be divided."""
    names = sorted(applications)
    return {name: jobs // len(names) + (place < jobs % len(names)) for place, name in enumerate(names)}


def split_history(population: Population, jobs: int, seed: int) -> tuple[list[TraceJob], Population]:
    """Takes a history of `jobs` jobs out of a population, in equal parts; returns it and what is left.

    Jobs with the same `group` had the same input. They go to one side together, in all applications, so that a
    workload has no input that the history has shown.

    Raises:
        RecipeError: an application has too few jobs for both.
    """
    names = sorted(population)
    wanted = equal_parts(jobs, names)
    groups: dict[str, list[TraceJob]] = {}
    for name in names:
        for index, job in enumerate(population[name]):
            groups.setdefault(f"group/{job.group}" if job.group else f"{name}/{index}", []).append(job)
    order = sorted(groups)
    stream(seed, "history").shuffle(order)
    taken: dict[str, list[TraceJob]] = {name: [] for name in names}
    left: dict[str, list[TraceJob]] = {name: [] for name in names}
    for group in order:
        needed = any(len(taken[job.app]) < wanted[job.app] for job in groups[group])
        for job in groups[group]:
            (taken if needed else left)[job.app].append(job)
    problems = [
        f"{name}: {len(population[name])} jobs are too few for {wanted[name]} in the history and others in the workload"
        for name in names
        if len(taken[name]) < wanted[name] or not left[name]
    ]
    if problems:
        raise RecipeError(problems)
    return [job for name in names for job in taken[name][: wanted[name]]], left


def _unknown(jobs: Iterable[TraceJob]) -> tuple[int, int]:
    """How many tool tasks lack seconds, and how many LLM tasks lack tokens."""
    counts: Counter[bool] = Counter()
    for job in jobs:
        for stage in job.stages:
            for task in stage.tasks:
                if stage.is_llm:
                    counts[True] += task.prompt_tokens is None or task.output_tokens is None
                else:
                    counts[False] += task.seconds is None
    return counts[False], counts[True]


def _filled(job: TraceJob, tool_times: ToolTimes) -> TraceJob:
    return replace(job, stages=tuple(_filled_stage(job, stage, tool_times) for stage in job.stages))


def _filled_stage(job: TraceJob, stage: TraceStage, tool_times: ToolTimes) -> TraceStage:
    if stage.is_llm or all(task.seconds is not None for task in stage.tasks):
        return stage
    name = f"{job.app}/{job.job_id}/{stage.id}"
    tasks: list[TraceTask] = []
    for place, task in enumerate(stage.tasks):
        known = task.seconds is not None
        tasks.append(task if known else replace(task, seconds=tool_times.seconds(stage.name, f"{name}/{place}")))
    return replace(stage, tasks=tuple(tasks))
