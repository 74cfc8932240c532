"""Builders of applications and of the outcomes of stages; a test shows only what matters to it."""

from __future__ import annotations

import textwrap
from collections.abc import Callable, Mapping
from typing import Any

from llmsched.application import ApplicationSpec, JsonValue, parse_yaml
from services.planner.core.dryrun import Answer, DryRun, DryStage, DryTask, dry_run
from services.planner.core.model import (
    Failure,
    Item,
    LlmCall,
    LlmOutput,
    StageOutput,
    StageSpec,
    StageState,
    ToolCall,
    ToolOutput,
    Unfolding,
)
from services.planner.core.unfold import unfold


def application(stages: str, *, output: str = "null", input: str = "{}") -> ApplicationSpec:
    """The application with these stages, given as YAML."""
    body = textwrap.indent(textwrap.dedent(stages).strip(), "  ")
    return parse_yaml(f"application: test\ninput: {input}\nstages:\n{body}\noutput: {output}\n")


def llm(text: str = "", *, name: str = "x", finish_reason: str = "stop") -> StageOutput:
    return StageOutput(name=name, tasks=(LlmOutput(text=text, finish_reason=finish_reason),))


def tool(*values: JsonValue, name: str = "x") -> StageOutput:
    return StageOutput(name=name, tasks=tuple(ToolOutput(value=value) for value in values))


def done(name: str = "x") -> StageOutput:
    """A loop or a dynamic stage that has ended."""
    return StageOutput(name=name)


def skipped(name: str = "x") -> StageOutput:
    return StageOutput(name=name, state=StageState.SKIPPED)


def failed(reason: str = "TIMEOUT", message: str = "took too long", name: str = "x") -> StageOutput:
    return StageOutput(name=name, state=StageState.FAILED, failure=Failure(reason=reason, message=message))


def ask(
    app: ApplicationSpec,
    stage_id: str,
    outputs: Mapping[str, StageOutput] | None = None,
    *,
    job_input: Mapping[str, JsonValue] | None = None,
    unfolding: int = 0,
    failure: Failure | None = None,
    **options: Any,
) -> Unfolding:
    item = Item(stage_id=stage_id, unfolding=unfolding, failure=failure)
    return unfold(app, job_input or {}, outputs or {}, item, **options)


def only_prompt(unfolding: Unfolding) -> str | None:
    """The prompt of the only task."""
    assert unfolding.failure is None, unfolding.failure
    (task,) = unfolding.tasks
    assert isinstance(task.payload, LlmCall)
    return task.payload.prompt


def all_args(unfolding: Unfolding) -> list[dict[str, JsonValue]]:
    """The arguments of all tasks."""
    assert unfolding.failure is None, unfolding.failure
    return [dict(task.payload.args) for task in unfolding.tasks if isinstance(task.payload, ToolCall)]


def reason(unfolding: Unfolding) -> str:
    assert unfolding.failure is not None, unfolding
    return unfolding.failure.reason


def message(unfolding: Unfolding) -> str:
    assert unfolding.failure is not None, unfolding
    return unfolding.failure.message


def play(
    app: ApplicationSpec,
    answers: Mapping[str, Answer | Callable[[DryTask], Answer]],
    job_input: Mapping[str, JsonValue] | None = None,
    **options: Any,
) -> DryRun:
    """A dry run in which stages are answered by id, else by name; a stage without an answer gives its own id."""

    def answer(task: DryTask) -> Answer:
        found = answers.get(task.stage.stage_id, answers.get(task.stage.name))
        if found is None:
            text = task.stage.stage_id
            return LlmOutput(text=text) if isinstance(task.task.payload, LlmCall) else ToolOutput(value=text)
        return found(task) if callable(found) else found

    return dry_run(app, job_input or {}, answer, **options)


def flatten(run: DryRun) -> list[DryStage]:
    """All stages of a run, inner ones after those that added them."""
    found: list[DryStage] = []

    def visit(stage: DryStage) -> None:
        found.append(stage)
        for inner in stage.stages:
            visit(inner)

    for stage in run.stages:
        visit(stage)
    return found


def specs(run: DryRun) -> dict[str, StageSpec]:
    return {stage.spec.stage_id: stage.spec for stage in flatten(run)}
