from __future__ import annotations

from typing import Any

import pytest

from services.planner.rerun import restarted
from services.scheduler.core.graph import admission_problem
from services.scheduler.core.model import (
    Failure,
    StageKind,
    StageSnapshot,
    StageSpec,
    StageState,
    TaskSnapshot,
    TaskSpec,
)
from tests.support import scheduling as make

DONE, FAILED, CANCELLED = StageState.SUCCEEDED, StageState.FAILED, StageState.CANCELLED


def ended(spec: StageSpec, state: StageState = DONE, *, reason: str = "", **more: Any) -> StageSnapshot:
    """A stage of a job that has ended; LLM and TOOL stages have had a task unless told otherwise."""
    tasks = () if spec.kind is StageKind.DYNAMIC else (TaskSnapshot(spec=TaskSpec()),)
    failure = Failure(reason=reason, message="because") if reason else None
    return StageSnapshot(spec=spec, state=state, failure=failure, **({"tasks": tasks, "unfolding": 1} | more))


def rerun(*stages: StageSnapshot) -> dict[str, StageSnapshot]:
    """The stages of a rerun, which any scheduler must be able to take up."""
    again = restarted({stage.spec.stage_id: stage for stage in stages})
    assert admission_problem(make.job("job", *again)) is None
    return {stage.spec.stage_id: stage for stage in again}


def test_what_is_done_stays_as_it_is_and_the_rest_is_as_new() -> None:
    draft, skipped = ended(make.llm("draft")), ended(make.tool("maybe"), StageState.SKIPPED, tasks=())
    check = ended(make.tool("check", "draft"), FAILED, reason="TOOL_RAISED", ended_at=3.0, ready_at=1.0)
    after = ended(make.llm("after", "check"), CANCELLED, tasks=(), unfolding=0)
    assert rerun(draft, skipped, check, after) == {
        "draft": draft,
        "maybe": skipped,
        "check": StageSnapshot(spec=check.spec),
        "after": StageSnapshot(spec=after.spec),
    }


@pytest.mark.parametrize("reason", ["TEMPLATE_ERROR", "INVALID_JSON_OUTPUT", "INVALID_PLAN", "TOO_WIDE"])
def test_models_are_asked_again_if_their_answers_could_not_be_used(reason: str) -> None:
    stages = (
        ended(make.llm("a")),
        ended(make.tool("b", "a")),
        ended(make.tool("c", "b"), FAILED, reason=reason, tasks=()),
        ended(make.llm("beside")),
    )
    assert {name for name, stage in rerun(*stages).items() if stage.state is DONE} == {"beside"}


@pytest.mark.parametrize("reason", ["UNFOLD_FAILED", "PAYLOAD_TOO_LARGE", "APPLICATION_NOT_FOUND"])
def test_models_are_not_asked_again_if_something_else_was_to_blame(reason: str) -> None:
    again = rerun(ended(make.llm("a")), ended(make.tool("b", "a"), FAILED, reason=reason, tasks=()))
    assert again["a"].state is DONE


def test_models_are_not_asked_again_if_a_task_failed_by_itself() -> None:
    again = rerun(ended(make.llm("a")), ended(make.tool("b", "a"), FAILED, reason="TEMPLATE_ERROR"))
    assert again["a"].state is DONE


def test_an_output_that_could_not_be_rendered_asks_every_model_again() -> None:
    stages = (
        ended(make.llm("a")),
        ended(make.tool("b", "a")),
        ended(make.dynamic("loop", "b")),
        ended(make.llm("loop/1/x", "b")),
        ended(make.tool("alone")),
        ended(make.dynamic("$output", "a", "b", "loop", "alone"), FAILED, reason="TEMPLATE_ERROR"),
    )
    again = rerun(*stages)
    assert {name for name, stage in again.items() if stage.state is DONE} == {"alone"}
    assert "loop/1/x" not in again


def test_a_loop_that_was_between_two_rounds_is_asked_the_same_question_again() -> None:
    loop = ended(make.dynamic("loop"), CANCELLED, unfolding=3)
    again = rerun(loop, ended(make.llm("loop/1/x")), ended(make.llm("loop/2/x", "loop/1/x")))
    assert again["loop"] == StageSnapshot(spec=loop.spec, unfolding=2)
    assert again["loop/2/x"].state is DONE


def test_a_loop_inside_a_loop_goes_on_in_its_round() -> None:
    outer = ended(make.dynamic("o"), CANCELLED, unfolding=2, again=True, waits_on=("o/2/i",))
    inner = ended(make.dynamic("o/2/i"), CANCELLED, unfolding=1, again=True, waits_on=("o/2/i/1/x",))
    again = rerun(outer, ended(make.dynamic("o/1/i")), inner, ended(make.tool("o/2/i/1/x"), FAILED, reason="TIMEOUT"))
    assert [again[name].state for name in ("o", "o/2/i")] == [StageState.EXPANDED] * 2
    assert (again["o"].unfolding, again["o"].waits_on, again["o"].again) == (2, ("o/2/i",), True)
    assert again["o/2/i/1/x"].state is StageState.WAITING


def test_a_stage_whose_fallback_stood_in_stays_done_with_its_fallback() -> None:
    stages = (
        ended(make.llm("a", recoverable=True), reason="TIMEOUT", waits_on=("a!",)),
        ended(make.llm("a!")),
        ended(make.tool("b", "a"), FAILED, reason="TOOL_RAISED"),
    )
    again = rerun(*stages)
    assert (again["a"], again["a!"]) == stages[:2]


def test_a_stage_that_waited_for_its_fallback_is_tried_anew() -> None:
    stages = (
        ended(make.llm("a", recoverable=True), CANCELLED, reason="TIMEOUT", waits_on=("a!",)),
        ended(make.llm("a!"), CANCELLED),
    )
    assert rerun(*stages) == {"a": StageSnapshot(spec=stages[0].spec)}


def test_a_further_try_of_a_plan_that_failed_in_the_engine_is_tried_again_alone() -> None:
    stages = (
        ended(make.llm("plan")),
        ended(make.dynamic("run", "plan"), CANCELLED, again=True, waits_on=("plan~2",)),
        ended(make.llm("plan~2", "plan"), FAILED, reason="ENGINE_UNAVAILABLE"),
    )
    again = rerun(*stages)
    assert {name: stage.state for name, stage in again.items()} == {
        "plan": DONE,
        "run": StageState.EXPANDED,
        "plan~2": StageState.WAITING,
    }
