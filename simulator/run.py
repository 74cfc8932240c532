"""One run: a workload under one policy on one cluster."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field

from services.profiler.core.belief import Beliefs
from services.profiler.core.statistics import Statistics, WorkModel
from services.profiler.core.trace import TraceJob
from services.scheduler.core import PolicySettings, SchedulerMachine
from services.scheduler.core.effects import Effect, JobChanged
from services.scheduler.core.model import JobState
from services.scheduler.core.policies.base import Knowledge
from simulator.cluster import Cluster, ClusterShape
from simulator.engine import Simulation
from simulator.metrics import JctSummary, JobLog
from simulator.online import OnlineProfiler
from simulator.trouble import Trouble
from simulator.variants import label
from simulator.workload import Workload

Observer = Callable[[float, Effect], None]


@dataclass(frozen=True, slots=True, kw_only=True)
class RunSettings:
    """Everything a run depends on besides its jobs."""

    policy: PolicySettings
    cluster: ClusterShape = field(default_factory=ClusterShape)
    work: WorkModel = field(default_factory=WorkModel)
    trouble: Trouble = field(default_factory=Trouble)


@dataclass(frozen=True, slots=True, kw_only=True)
class RunResult:
    """What came of it. Seconds, unless it says otherwise."""

    policy: str  #: as `variants.label` has it
    summary: JctSummary
    per_application: Mapping[str, JctSummary]
    failed: int  #: jobs
    makespan: float
    llm_utilisation: float  #: busy slot-seconds over slots times makespan
    tool_utilisation: float
    decisions: int
    wall_seconds: float
    jcts: tuple[tuple[int, str, float], ...]  #: order in the workload, application, job completion time


def run(
    jobs: Iterable[TraceJob],
    settings: RunSettings,
    *,
    statistics: Statistics | None = None,
    beliefs: Beliefs | None = None,
    observe: Observer | None = None,
    profiler: OnlineProfiler | None = None,
) -> RunResult:
    """Simulates the jobs to the end of the last one. `jobs` is read as the run goes on.

    Args: `profiler` learns from jobs that succeed; it is given instead of `beliefs`, which then go by its profiles.

    Raises:
        UnknownPolicy: the settings name no policy, or one that needs a history and there is none.
        TraceError: `jobs` reads a file that breaks the trace format.
        ValueError: the jobs are not in the order of their arrivals, a task is of unknown length, or a job never ends
            because the cluster has nothing that could run its tasks.
    """
    begin = time.perf_counter()
    workload = Workload(jobs, settings.work)
    cluster = Cluster(settings.cluster, settings.trouble.around(workload.load))
    if profiler is not None:
        beliefs = Beliefs(profiler.profiles, settings.work)
    knowledge = Knowledge(
        statistics=statistics,
        beliefs=beliefs or Beliefs(work=settings.work),
        slowdown=settings.cluster.slowdown(settings.cluster.max_batch),
        oracle=workload.oracle,
    )
    machine = SchedulerMachine(settings.policy, knowledge=knowledge)
    log = JobLog()

    def heard(at: float, effect: Effect) -> None:
        if isinstance(effect, JobChanged) and effect.state.is_final:
            job = machine.view(effect.job_id)
            log.ended(job.application, job.order, job.arrival, at, effect.state)
            recorded = workload.forget(effect.job_id)
            if profiler is not None and effect.state is JobState.SUCCEEDED:
                changed = profiler.ended(recorded, at)
                simulation.schedule([] if changed is None else [changed])
        if observe is not None:
            observe(at, effect)

    simulation = Simulation(machine, workload, cluster, arrivals=workload.arrivals(), observe=heard)
    simulation.schedule(cluster.executors())
    simulation.run()
    if machine.active_jobs:
        first = machine.job_ids()[0]
        raise ValueError(f"{machine.active_jobs} jobs never end, for want of executors for their tasks: {first} first")
    shape, makespan = settings.cluster, log.makespan
    return RunResult(
        policy=label(settings.policy),
        summary=log.overall(),
        per_application=log.per_application(),
        failed=log.failed,
        makespan=makespan,
        llm_utilisation=_share(cluster.llm_seconds, shape.llm_executors * shape.max_batch * makespan),
        tool_utilisation=_share(cluster.tool_seconds, shape.tool_slots * makespan),
        decisions=machine.decisions,
        wall_seconds=time.perf_counter() - begin,
        jcts=tuple(log.by_order()),
    )


def _share(busy: float, capacity: float) -> float:
    return busy / capacity if capacity > 0 else 0.0
