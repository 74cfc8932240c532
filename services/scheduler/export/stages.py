"""From a recorded job to the stages of a trace."""

from __future__ import annotations

from collections.abc import Collection

from services.profiler.core.skeleton import Node, Skeleton
from services.profiler.core.trace import TraceStage
from services.scheduler.core.model import OPEN, StageKind
from services.scheduler.export.jobs import RecordedJob
from services.scheduler.task_trace import trace_task


def trace_stages(job: RecordedJob, plans: Collection[str]) -> tuple[TraceStage, ...]:
    """The stages that ran or could have run, parents first; else by their place in the application.

    `plans` names the LLM stages whose output creates stages. A stage that was skipped, and one that a rerun has taken
    over, has no tasks. Of a stage that failed, only the tasks that succeeded before are there.
    """
    graph = _skeleton(job)
    return tuple([_trace_stage(job, stage_id, graph, plans) for stage_id in graph.order])


def _trace_stage(job: RecordedJob, stage_id: str, graph: Skeleton, plans: Collection[str]) -> TraceStage:
    stage = job.stages[stage_id]
    spec, parents = stage.spec, graph.parents[stage_id]
    is_llm = spec.kind is StageKind.LLM
    tasks = (
        [] if job.taken_over(stage) else [trace_task(task, is_llm=is_llm) for task in stage.tasks if task.measurement]
    )
    width_by = graph.before(spec.width_by, stage_id)
    if not tasks and width_by is None and parents:
        width_by = parents[-1]  # what its condition, or its failure, was known from
    return TraceStage(
        id=spec.stage_id,
        name=spec.name,
        kind=("plan" if spec.name in plans else "llm") if is_llm else "tool",
        parents=parents,
        tasks=tuple(tasks),
        generated_by=graph.before(spec.generated_by, stage_id),
        width_by=width_by,
    )


def _skeleton(job: RecordedJob) -> Skeleton:
    nodes = {}
    for index, (stage_id, stage) in enumerate(job.stages.items()):
        origin = stage.origin
        failed = origin is not None and not job.stages[origin.adder].is_placeholder  # this is its fallback
        made_by = stage.spec.generated_by if job.structure == OPEN else None  # a program had seen this stage's result
        nodes[stage_id] = Node(
            canonical=(stage.spec.name, stage.spec.occurrence),
            place=(stage.spec.position, index),
            placeholder=stage.is_placeholder,
            needs=(*stage.spec.parents, *(origin.after if origin else ()), *([made_by] if made_by else ())),
            behind=(origin.adder,) if origin is not None and failed else (),
            adds=stage.waits_on,
        )
    return Skeleton(nodes)


def plan_names(job: RecordedJob) -> set[str]:
    """Names of the LLM stages whose output created stages of this job."""
    if job.structure != "generated":
        return set()
    added: dict[tuple[str, int], set[str]] = {}
    for stage in job.stages.values():
        if stage.origin is not None:
            added.setdefault((stage.origin.adder, stage.origin.unfolding), set()).add(stage.spec.name)
    found: set[str] = set()
    for stage in job.stages.values():
        generator = job.stages.get(stage.spec.generated_by or "")
        if generator is None or stage.origin is None or generator.spec.kind is not StageKind.LLM:
            continue
        adder = job.stages[stage.origin.adder]
        # The last stage of a loop's round generates the next round, itself among it; and what is nested in that round
        # has the same generator.
        repeats = generator.spec.name in added[stage.origin.adder, stage.origin.unfolding]
        inherited = adder.spec.generated_by == generator.spec.stage_id
        if adder.is_placeholder and not repeats and not inherited:
            found.add(generator.spec.name)
    return found
