"""Our model of the poster's world: three applications whose shapes are known, and five numbers that are not.

The five are the arrival rate, the mean number of rounds of code generation, and a time scale for each application,
which multiplies all durations of its jobs. LLM work is counted in milliseconds: a task of w seconds has round(1000 w)
output tokens of 0.001 s and no prompt. So scaled work is a plain workload, exact to half a millisecond.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import lru_cache
from importlib import resources
from itertools import accumulate
from typing import Annotated, Any

from pydantic import ConfigDict, Field, TypeAdapter

from services.profiler.core.statistics import WorkModel
from services.profiler.core.trace import TraceJob, TraceStage, TraceTask
from services.scheduler.core import PolicySettings
from simulator.cluster import ClusterShape
from simulator.generate.applications.code_generation import CodeGeneration
from simulator.generate.applications.sorting import Sorting
from simulator.generate.applications.task_automation import TaskAutomation
from simulator.generate.population import equal_parts
from simulator.generate.streams import stream
from simulator.parallel import Task
from simulator.poster.published import APPLICATION_ORDER, JOBS
from simulator.run import RunSettings

#: Work of jobs whose times were scaled: a token is a millisecond.
MILLISECONDS = WorkModel(prefill=0.0, decode=0.001)

Application = TaskAutomation | CodeGeneration | Sorting
Positive = Annotated[float, Field(gt=0, allow_inf_nan=False)]


@dataclass(frozen=True, slots=True, kw_only=True)
class Parameters:
    """What the poster does not publish."""

    __pydantic_config__ = ConfigDict(extra="forbid")

    arrival_gap: Positive  #: mean seconds between arrivals, of all applications together
    mean_rounds: Positive  #: of code generation
    scales: Mapping[str, Positive]  #: by application: what its recorded durations are multiplied with

    def scaled(self, factor: float) -> Parameters:
        """The same world with all its times multiplied: so are all JCTs."""
        scales = {name: scale * factor for name, scale in self.scales.items()}
        return replace(self, arrival_gap=self.arrival_gap * factor, scales=scales)


@dataclass(frozen=True, slots=True, kw_only=True)
class Fit:
    """Parameters and where they come from: what scripts/fit_poster.py writes."""

    __pydantic_config__ = ConfigDict(extra="forbid")

    parameters: Parameters
    provenance: Mapping[str, Any]


def read_fit(text: str | bytes) -> Fit:
    """Raises pydantic.ValidationError."""
    return TypeAdapter(Fit).validate_json(text)


def committed_fit() -> Fit:
    """The fit that ships."""
    return read_fit(resources.files(__package__).joinpath("parameters.json").read_bytes())


def fit_json(fit: Fit) -> str:
    """As it is committed."""
    plain = TypeAdapter(Fit).dump_python(fit, mode="json")
    return json.dumps(plain, indent=2, ensure_ascii=False) + "\n"


def applications(mean_rounds: float) -> Mapping[str, Application]:
    """The poster's applications, by name, in recorded seconds.

    Sorting comprises "four LLMs": each of the four operations of its graph is one LLM stage, and is scored on a
    regular executor for as long as it took, but for the splitting. docs/results.md says what else was tried.
    """
    found: tuple[Application, ...] = (
        TaskAutomation(),
        CodeGeneration(mean_rounds=mean_rounds),
        Sorting(folded=True, scoring=1.0),
    )
    return {application.name: application for application in found}


def jobs(parameters: Parameters, seed: int) -> tuple[TraceJob, ...]:
    """The workload of one run: `JOBS` jobs with arrivals. Jobs of equal seeds differ in what parameters say only."""
    made = population(parameters.mean_rounds, seed)
    order = [name for name, some in made.items() for _ in some]
    stream(seed, "order").shuffle(order)
    random = stream(seed, "arrivals")
    arrivals = accumulate(random.expovariate(1.0) * parameters.arrival_gap for _ in order)
    left = {name: iter(some) for name, some in made.items()}
    return tuple(
        replace(scaled(next(left[name]), parameters.scales[name]), arrival_seconds=arrival)
        for name, arrival in zip(order, arrivals, strict=True)
    )


def population(mean_rounds: float, seed: int) -> Mapping[str, tuple[TraceJob, ...]]:
    """The jobs of each application for one run, in recorded seconds, without arrivals."""
    made = applications(mean_rounds)
    return {name: _recorded(made[name], seed, count) for name, count in equal_parts(JOBS, made).items()}


@lru_cache(maxsize=256)
def _recorded(application: Application, seed: int, count: int) -> tuple[TraceJob, ...]:
    # A stream for each job: more rounds of one change nothing in the others.
    name = application.name
    return tuple(application.job(stream(seed, f"{name}/{place}"), f"{name}-{place}") for place in range(count))


def scaled(job: TraceJob, factor: float) -> TraceJob:
    """The job with all durations multiplied and LLM work in milliseconds."""
    return replace(job, stages=tuple(_scaled_stage(stage, factor) for stage in job.stages))


def _scaled_stage(stage: TraceStage, factor: float) -> TraceStage:
    if not stage.is_llm:
        tasks = [TraceTask(seconds=(task.seconds or 0.0) * factor) for task in stage.tasks]
    else:
        works = [WorkModel().work(task.prompt_tokens or 0, task.output_tokens or 0) for task in stage.tasks]
        tasks = [TraceTask(prompt_tokens=0, output_tokens=round(work * factor / MILLISECONDS.decode)) for work in works]
    return replace(stage, tasks=tuple(tasks))


def run_of(workload: tuple[TraceJob, ...], policy: str, executors: int, seed: int) -> Task:
    """A run of one cell: executors of each kind serve one request at a time."""
    order = APPLICATION_ORDER if policy == "ps-tcs" else ()
    settings = RunSettings(
        policy=PolicySettings(name=policy, application_order=order, seed=seed),
        cluster=ClusterShape(llm_executors=executors, max_batch=1, tool_slots=executors),
        work=MILLISECONDS,
    )
    return Task(jobs=workload, settings=settings)
