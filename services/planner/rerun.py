"""What a rerun takes over from a job that failed or was cancelled."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import replace

from services.scheduler.core.model import StageKind, StageSnapshot, StageState

Stages = Mapping[str, StageSnapshot]

#: Failures of an unfolding that the answers before it are to blame for: the same answers would fail again.
_ANSWERS_TO_BLAME = frozenset({"TEMPLATE_ERROR", "INVALID_JSON_OUTPUT", "INVALID_PLAN", "TOO_WIDE"})


def restarted(stages: Stages) -> list[StageSnapshot]:
    """The stages of an ended job as a new one starts with them.

    What is done stays done, with its results; a loop goes on in its round, and a plan with its steps; all other
    stages start again. Where a stage could not be unfolded because of what models had answered, these models are
    asked again, and whatever had come of their answers starts again with them.
    """
    afresh = {stage_id for stage_id, stage in stages.items() if not stage.state.is_done and not _goes_on(stage)}
    for stage in stages.values():
        if _is_blaming(stage):
            afresh |= set(_answers_before(stages, stage))
    _spread(stages, afresh)
    # Unfolding is a pure function: what a stage had added under its own name, it adds again.
    added = tuple(stage_id + mark for stage_id in afresh for mark in "/~!")
    kept = {stage_id: stage for stage_id, stage in stages.items() if not stage_id.startswith(added)}
    return [StageSnapshot(spec=stage.spec) if key in afresh else _resumed(stage) for key, stage in kept.items()]


def _is_blaming(stage: StageSnapshot) -> bool:
    """Whether it could not be unfolded because of the answers before it."""
    failure = stage.failure if stage.state is StageState.FAILED else None
    return failure is not None and not stage.tasks and failure.reason in _ANSWERS_TO_BLAME


def _goes_on(stage: StageSnapshot) -> bool:
    """Whether it is a placeholder, so that what it had added can be kept."""
    return stage.spec.kind is StageKind.DYNAMIC and not _is_blaming(stage)


def _resumed(stage: StageSnapshot) -> StageSnapshot:
    if stage.state.is_done:
        return stage
    if stage.waits_on:
        return replace(stage, state=StageState.EXPANDED, ended_at=None, failure=None)
    # It was being unfolded, perhaps not for the first time: that question is asked once more.
    return StageSnapshot(spec=stage.spec, unfolding=max(0, stage.unfolding - 1))


def _answers_before(stages: Stages, stage: StageSnapshot) -> Iterator[str]:
    """The nearest stages before it that have asked models."""
    if _added_by(stages, stage):
        return  # a loop: its own rounds gave the answers, and they start again with it
    todo, seen = list(stage.spec.parents), set(stage.spec.parents)
    while todo:
        # Of a plan that was asked for several times, the first time: the later ones are added by that.
        stage_id = todo.pop().partition("~")[0]
        before = stages[stage_id]
        inside = _added_by(stages, before) if before.spec.kind is StageKind.DYNAMIC else ()
        if before.spec.kind is StageKind.LLM or any(each.spec.kind is StageKind.LLM for each in inside):
            yield stage_id
            continue
        todo += [parent for parent in before.spec.parents if parent not in seen]
        seen.update(before.spec.parents)


def _added_by(stages: Stages, stage: StageSnapshot) -> list[StageSnapshot]:
    prefix = f"{stage.spec.stage_id}/"
    return [other for stage_id, other in stages.items() if stage_id.startswith(prefix)]


def _spread(stages: Stages, afresh: set[str]) -> None:
    """Adds all that come after stages that start afresh."""
    grown = True
    while grown:
        after = {stage_id for stage_id, stage in stages.items() if not afresh.isdisjoint(stage.spec.parents)}
        grown = not after <= afresh
        afresh |= after
