"""Dry runs of the applications that ship: models are scripted, tools are the real ones."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from llmsched.applications.catalogue import ReferenceApplication
from llmsched.tools import ToolRegistry
from services.planner.core.dryrun import Answer, DryRun, DryStage, DryTask, dry_run
from services.planner.core.model import Failure, LlmCall, LlmOutput, ToolInfo, ToolOutput

#: What a model may answer where JSON is wanted and does not come: nothing, prose, JSON of another shape, a beginning.
GARBAGE = (
    "",
    "I cannot do that.",
    "[]",
    "{}",
    "null",
    "7",
    '{"steps": 5}',
    '[{"x": [1',
    '{"thought": "I am',
    "\x00{{ x }}",
    '["\\ud800"]',
    '{"action": "finish", "input": "a\\ud800", "text": "\\ud800", "steps": [{"id": "\\udfff"}]}',
)

Script = Mapping[str, str | Sequence[str] | Callable[[LlmCall], str]]


def try_out(name: str, job_input: Mapping[str, Any], script: Script | str, *, finish_reason: str = "stop") -> DryRun:
    """Runs a job. `script` has the answers of each LLM stage by name, several for its tasks or rounds in turn, or a
    function of the call; or one text for all."""
    tools = ToolRegistry.from_entry_points()
    catalogue = {
        spec.name: ToolInfo(description=spec.description, signature=spec.signature, args_schema=dict(spec.args_schema))
        for spec in tools
    }
    asked: dict[str, int] = {}

    def answer(task: DryTask) -> Answer:
        call = task.task.payload
        if isinstance(call, LlmCall):
            name = task.stage.name.rpartition(".")[2]  # without the loop that it is in
            number = asked[name] = asked.get(name, -1) + 1
            scripted = script if isinstance(script, str) else script[name]
            if callable(scripted):
                return LlmOutput(text=scripted(call), finish_reason=finish_reason)
            text = scripted if isinstance(scripted, str) else scripted[number]
            return LlmOutput(text=text, finish_reason=finish_reason)
        try:
            # As JSON, like on the wire.
            value = tools.get(call.tool).call(json.loads(json.dumps(dict(call.args))))
            return ToolOutput(value=json.loads(json.dumps(value, allow_nan=False, ensure_ascii=False).encode()))
        except Exception as error:  # whatever a tool raises is its answer
            return Failure(reason="TOOL_RAISED", message=f"{type(error).__name__}: {error}")

    return dry_run(ReferenceApplication(name).load(), job_input, answer, catalogue=catalogue)


def calls(run: DryRun) -> dict[str, int]:
    """How many tasks ran, by the name of their stage."""
    found: dict[str, int] = {}

    def visit(stage: DryStage) -> None:
        if stage.tasks:
            found[stage.spec.name] = found.get(stage.spec.name, 0) + len(stage.tasks)
        for inner in stage.stages:
            visit(inner)

    for stage in run.stages:
        visit(stage)
    return found
