"""What schedulers have observed (`services.scheduler.observe`), and what of it belongs into a history."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from services.profiler.core.calibration import Report
from services.profiler.core.skeleton import Node, Skeleton
from services.profiler.core.trace import Structure, TraceJob, TraceStage, TraceTask


@dataclass(frozen=True, slots=True, kw_only=True)
class AttemptObserved:
    """An attempt that ended. Moments are seconds since the epoch; what only a success has measured is None without."""

    job: str
    application: str
    stage: str  #: its id
    name: str
    occurrence: int
    kind: Literal["LLM", "TOOL"]
    requirement: str
    task: int  #: index
    attempt: int
    outcome: str  #: "succeeded", "failed", "lost" or "cancelled"
    executor: str
    started_at: float  #: dispatch
    ended_at: float
    used_slots: int | None = None  #: on the executor at dispatch, this one included
    queue: float | None = None  #: seconds inside the executor before it began
    prefill: float | None = None  #: seconds
    decode: float | None = None  #: seconds
    total: float | None = None  #: seconds
    prompt_tokens: int | None = None
    output_tokens: int | None = None
    cached_tokens: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class StepsObserved:
    """How fast an engine was since its executor's last report."""

    executor: str
    models: tuple[str, ...]  #: names that it answers to
    slots: int
    at: float  #: seconds since the epoch
    report: Report


@dataclass(frozen=True, slots=True, kw_only=True)
class StageObserved:
    stage: str  #: its id
    name: str
    occurrence: int
    kind: Literal["LLM", "TOOL", "DYNAMIC"]
    state: str
    parents: tuple[str, ...]
    position: int
    tasks: tuple[TraceTask, ...]  #: that succeeded
    added: tuple[str, ...] = ()  #: stages, by its unfoldings; of an earlier leader's perhaps only the latest
    generated_by: str | None = None
    width_by: str | None = None
    ended_at: float | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class JobObserved:
    """A job that ended."""

    job: str
    application: str
    structure: Structure | Literal["open"]
    outcome: str  #: "succeeded", "failed" or "cancelled"
    arrived_at: float
    ended_at: float
    stages: tuple[StageObserved, ...]


def recorded(job: JobObserved) -> TraceJob | None:
    """The job as its application's history has it: without placeholders, stages in a topological order.

    A stage has the same name and occurrence there (`trace.canonicals`) that it had while the job ran, except where a
    plan numbers its steps against their dependencies. Stages that were skipped have no tasks.

    None for a job that does not show what jobs of its application take: it did not succeed, it had nothing to run, or
    it has taken over results of another job.

    Raises LookupError, ValueError, RecursionError: the stages do not fit together.
    """
    real = [stage for stage in job.stages if stage.kind != "DYNAMIC"]
    taken_over = any(one.ended_at is not None and one.ended_at < job.arrived_at for one in job.stages)
    if job.outcome != "succeeded" or not real or taken_over:
        return None
    graph = _skeleton(job.stages)
    plans = _plans(job)
    stages = {stage.stage: stage for stage in real}
    return TraceJob(
        app=job.application,
        job_id=job.job,
        # How many steps a program takes shows itself as it goes, as with a loop.
        structure="chain" if job.structure == "open" else job.structure,
        stages=tuple(_trace_stage(stages[stage_id], graph, plans) for stage_id in graph.order),
        recorded_jct_seconds=round(max(0.0, job.ended_at - job.arrived_at), 6),
    )


def _skeleton(stages: Sequence[StageObserved]) -> Skeleton:
    """What made a stage exist comes before it, whether or not its placeholder is known to have added it."""
    known = {stage.stage: stage for stage in stages}
    nodes = {}
    for index, stage in enumerate(stages):
        needs, behind = list(stage.parents), []
        generator = known.get(stage.generated_by or "")
        if generator is not None and stage.stage in generator.added:
            behind.append(generator.stage)  # it failed, and this is its fallback
        elif generator is not None:
            needs.append(generator.stage)
        nodes[stage.stage] = Node(
            canonical=(stage.name, stage.occurrence),
            place=(stage.position, index),
            placeholder=stage.kind == "DYNAMIC",
            needs=tuple(needs),
            behind=tuple(behind),
            adds=stage.added,
        )
    return Skeleton(nodes)


def _plans(job: JobObserved) -> frozenset[str]:
    """Names of the LLM stages whose output created stages. The last stage of a loop's round generates the next round,
    itself among it, and is no plan for that."""
    if job.structure != "generated":
        return frozenset()
    made: dict[str, set[str]] = defaultdict(set)
    for stage in job.stages:
        if stage.generated_by is not None:
            made[stage.generated_by].add(stage.name)
    return frozenset(
        stage.name
        for stage in job.stages
        if stage.kind == "LLM" and stage.stage in made and stage.name not in made[stage.stage]
    )


def _trace_stage(stage: StageObserved, graph: Skeleton, plans: frozenset[str]) -> TraceStage:
    parents = graph.parents[stage.stage]
    width_by = graph.before(stage.width_by, stage.stage)
    if not stage.tasks and width_by is None and parents:
        width_by = parents[-1]  # what its condition, or its failure, was known from
    kind: Literal["llm", "plan", "tool"] = "tool" if stage.kind == "TOOL" else "plan" if stage.name in plans else "llm"
    return TraceStage(
        id=stage.stage,
        name=stage.name,
        kind=kind,
        parents=parents,
        tasks=stage.tasks,
        generated_by=graph.before(stage.generated_by, stage.stage),
        width_by=width_by,
    )
