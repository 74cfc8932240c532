"""What is in a workload or a history, in numbers."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import chain, pairwise
from math import fsum, sqrt
from pathlib import Path

from services.profiler.core.statistics import WorkModel
from services.profiler.core.trace import Structure, TraceJob, read_history, read_workload
from simulator.cluster import ClusterShape
from simulator.generate.errors import RecipeError
from simulator.generate.load import Demand, demand, load_of_rate
from simulator.generate.mixes import STRUCTURES
from simulator.metrics import quantile


@dataclass(frozen=True, slots=True, kw_only=True)
class Spread:
    """Of some numbers; all 0 when there are none."""

    mean: float
    cv: float  #: standard deviation over mean
    p95: float  #: at index floor(0.95 (n - 1)) of the sorted numbers


@dataclass(frozen=True, slots=True, kw_only=True)
class Description:
    """Of the jobs of one application, or of all."""

    jobs: int
    structure: Structure  #: of its most uncertain job
    stages: Spread  #: a job
    tasks: Spread  #: a job
    width: Spread  #: tasks of a job's widest stage
    llm_work: Spread  #: seconds a job: docs/simulation-contract.md
    tool_seconds: Spread  #: a job; unknown seconds count as 0
    generated_stages: float  #: share of stages that are not known at arrival
    unknown_tool_tasks: int  #: tool tasks without seconds


@dataclass(frozen=True, slots=True, kw_only=True)
class ArrivalSummary:
    """How jobs arrive. The clock starts at 0."""

    rate: float  #: jobs a second: jobs over the last arrival; 0 if all arrive at 0
    cv: float  #: of the gaps; 1 for a Poisson process
    last: float  #: seconds
    load: float | None  #: load factor, by the file's own means; None where the cluster cannot serve the jobs at all


@dataclass(frozen=True, slots=True, kw_only=True)
class FileDescription:
    """Of one file."""

    file: str
    kind: str  #: workload or history
    all: Description
    applications: dict[str, Description]
    arrivals: ArrivalSummary | None  #: workloads only


def spread(values: Sequence[float]) -> Spread:
    """Of values in any order."""
    if not values:
        return Spread(mean=0.0, cv=0.0, p95=0.0)
    mean = fsum(values) / len(values)
    deviation = sqrt(fsum((value - mean) ** 2 for value in values) / len(values))
    return Spread(mean=mean, cv=deviation / mean if mean else 0.0, p95=quantile(sorted(values), 0.95))


def describe_file(path: Path, cluster: ClusterShape, work: WorkModel) -> FileDescription:
    """Describes a workload, if its first job has an arrival, or a history. Keeps some numbers of each job.

    Raises:
        TraceError: the file breaks the format.
        OSError: it cannot be read.
    """
    overall = _Counts()
    by_application: dict[str, _Counts] = {}
    arrivals: list[float] = []
    with path.open("rb") as file:
        head = _head(file)
        is_workload = _has_arrival(head[-1])
        jobs = (read_workload if is_workload else read_history)(chain(head, file), str(path))
        for job in jobs:
            asked = demand(job, work)
            overall.add(job, asked)
            by_application.setdefault(job.app, _Counts()).add(job, asked)
            arrivals.append(job.arrival_seconds or 0.0)
    everything = overall.description()
    return FileDescription(
        file=str(path),
        kind="workload" if is_workload else "history",
        all=everything,
        applications={name: by_application[name].description() for name in sorted(by_application)},
        arrivals=_arrivals(arrivals, everything, cluster) if is_workload else None,
    )


class _Counts:
    """What is kept of each job."""

    def __init__(self) -> None:
        self.structures: set[Structure] = set()
        self.stages: list[float] = []
        self.tasks: list[float] = []
        self.widths: list[float] = []
        self.llm: list[float] = []
        self.tool: list[float] = []
        self.generated = 0
        self.unknown = 0

    def add(self, job: TraceJob, asked: Demand) -> None:
        widths = [len(stage.tasks) for stage in job.stages]
        self.structures.add(job.structure)
        self.stages.append(len(job.stages))
        self.tasks.append(sum(widths))
        self.widths.append(max(widths))
        self.llm.append(asked.llm_work)
        self.tool.append(asked.tool_seconds)
        self.generated += sum(stage.generated_by is not None for stage in job.stages)
        self.unknown += sum(task.seconds is None for stage in job.stages if not stage.is_llm for task in stage.tasks)

    def description(self) -> Description:
        return Description(
            jobs=len(self.stages),
            structure=max(self.structures, key=STRUCTURES.index),
            stages=spread(self.stages),
            tasks=spread(self.tasks),
            width=spread(self.widths),
            llm_work=spread(self.llm),
            tool_seconds=spread(self.tool),
            generated_stages=self.generated / fsum(self.stages),
            unknown_tool_tasks=self.unknown,
        )


def _head(file: Iterable[bytes]) -> list[bytes]:
    """The lines up to the first that is not blank; not empty."""
    head: list[bytes] = []
    for line in file:
        head.append(line)
        if line.strip():
            break
    return head or [b""]


def _has_arrival(line: bytes) -> bool:
    """Whether a job has an arrival. A line that cannot be read is left to the reader."""
    try:
        job = json.loads(line)
    except ValueError:
        return False
    return isinstance(job, dict) and job.get("arrival_seconds") is not None


def _arrivals(times: Sequence[float], jobs: Description, cluster: ClusterShape) -> ArrivalSummary:
    gaps = [later - earlier for earlier, later in pairwise((0.0, *times))]
    rate = len(times) / times[-1] if times[-1] else 0.0
    mean = Demand(llm_work=jobs.llm_work.mean, tool_seconds=jobs.tool_seconds.mean)
    try:
        load = load_of_rate(rate, mean, cluster)
    except RecipeError:
        load = None
    return ArrivalSummary(rate=rate, cv=spread(gaps).cv, last=times[-1], load=load)
