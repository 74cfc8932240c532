"""From an application to the stages of a job."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from llmsched.application import (
    ApplicationSpec,
    DynamicStage,
    LlmStage,
    LoopStage,
    PlanStage,
    Retry,
    Stage,
    ToolStage,
)
from llmsched.application.graph import extent
from llmsched.application.templates import Template
from services.planner.core.model import OUTPUT_STAGE, StageKind, StageOutput, StageSpec, Structure
from services.planner.core.place import Place, Scope, occurrence, top


def compile_job(app: ApplicationSpec) -> tuple[tuple[StageSpec, ...], Structure]:
    """The stages known at arrival, parents first and `$output` last, and what is unknown about the job's shape.

    The application must be valid.
    """
    specs = scope_specs(top(app), {})
    output = StageSpec(
        stage_id=OUTPUT_STAGE,
        name=OUTPUT_STAGE,
        kind=StageKind.DYNAMIC,
        parents=tuple(spec.stage_id for spec in specs),
        position=sum(extent(stage, app.stages) for stage in app.stages),
    )
    return (*specs, output), _structure(app)


def _structure(app: ApplicationSpec) -> Structure:
    stages = list(_all_stages(app.stages))
    if any(isinstance(stage, DynamicStage) for stage in stages):
        return Structure.GENERATED
    chain = any(isinstance(stage, LoopStage) for stage in stages)
    width = any(stage.foreach is not None for stage in stages)
    if chain:
        return Structure.CHAIN_WIDTH if width else Structure.CHAIN
    return Structure.WIDTH if width else Structure.STATIC


def _all_stages(stages: tuple[Stage, ...]) -> Iterator[Stage]:
    for stage in stages:
        yield stage
        if isinstance(stage, LoopStage):
            yield from _all_stages(stage.body)


def scope_specs(scope: Scope, outputs: Mapping[str, StageOutput]) -> tuple[StageSpec, ...]:
    """The stages of the top, or of one round of a loop."""
    return tuple(stage_spec(place, outputs, generated_by=scope.generated_by) for place in scope.places.values())


def stage_spec(place: Place, outputs: Mapping[str, StageOutput], *, generated_by: str | None) -> StageSpec:
    """The spec of a declared stage, of a plan's further try, or of a fallback."""
    stage = place.stage
    retry = stage.retry or Retry()
    return StageSpec(
        stage_id=place.stage_id,
        name=place.name,
        occurrence=occurrence(place.name, place.stage_id, outputs),
        kind=_kind(stage),
        parents=place.parents,
        requirement=_requirement(stage),
        position=place.position,
        max_attempts=retry.max_attempts,
        timeout_seconds=None if stage.timeout is None else stage.timeout.total_seconds(),
        backoff_seconds=retry.backoff.total_seconds(),
        recoverable=stage.on_error is not None,
        generated_by=generated_by,
        width_by=_width_by(place),
    )


def _kind(stage: Stage) -> StageKind:
    if isinstance(stage, LlmStage | PlanStage):
        return StageKind.LLM
    return StageKind.TOOL if isinstance(stage, ToolStage) else StageKind.DYNAMIC


def _requirement(stage: Stage) -> str:
    if isinstance(stage, LlmStage | PlanStage):
        return "llm" if stage.model is None else f"llm:{stage.model}"
    return f"tool:{stage.call}" if isinstance(stage, ToolStage) else ""


def _width_by(place: Place) -> str | None:
    """The last stage of the scope that the list comes from; None if the list is known when the stage exists."""
    if place.stage.foreach is None:
        return None
    names = Template.of(place.stage.foreach.items).names
    sources = [other.stage_id for other in place.scope.places.values() if other.declared.name in names]
    return sources[-1] if sources else None
