"""What follows a stage: values computed from the end of the graph that a job has shown so far."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import TypeVar

from services.scheduler.core.policies.base import StageFacts

T = TypeVar("T")


def _waits_for(stages: Mapping[str, StageFacts], stage_id: str) -> bool:
    """A stage that is not shown any more has ended."""
    return stage_id in stages and not stages[stage_id].state.is_final


def from_the_end(stages: Mapping[str, StageFacts], value: Callable[[StageFacts, Sequence[T]], T]) -> dict[str, T]:
    """For each stage that is not done, by id: `value` of the stage and of the values of those that wait for it.

    A stage waits for its parents and, once its unfolding has added stages, for these. O(stages and their parents).
    """
    needs = {
        stage_id: [one for one in (*stage.spec.parents, *stage.waits_on) if _waits_for(stages, one)]
        for stage_id, stage in stages.items()
        if not stage.state.is_final
    }
    missing = dict.fromkeys(needs, 0)
    for needed in needs.values():
        for stage_id in needed:
            missing[stage_id] += 1
    known: dict[str, list[T]] = {stage_id: [] for stage_id in needs}
    found: dict[str, T] = {}
    # No recursion, as chains may be long.
    todo = [stage_id for stage_id, count in missing.items() if count == 0]
    while todo:
        stage_id = todo.pop()
        found[stage_id] = value(stages[stage_id], known[stage_id])
        for needed_id in needs[stage_id]:
            known[needed_id].append(found[stage_id])
            missing[needed_id] -= 1
            if missing[needed_id] == 0:
                todo.append(needed_id)
    return found
