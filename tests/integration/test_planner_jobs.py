"""What the store keeps of failures reaches the templates: whole jobs with a real scheduler."""

from __future__ import annotations

import json
from typing import Any

from llmsched.api.common.v1 import task_pb2
from llmsched.api.planner.v1 import job_pb2
from llmsched.tools import ToolRegistry, tool
from tests.support.planner import Workshop, broken

KEEP_GOING = """
application: test
stages:
  - {plan: plan, prompt: "Plan with {{ tools }}", tools: [test.any]}
  - {dynamic: execute, plan: plan, keep_going: true}
  - {tool: after, call: test.other, args: {seen: "{{ execute.results }}"}}
output: {steps: "{{ execute.steps }}", after: "{{ after }}"}
"""
PLAN = {"steps": [{"id": name, "tool": "test.any", "args": {"text": name}, "after": []} for name in ("s1", "s2")]}


@tool(name="test.any")
def use(text: str) -> str:
    """Does something with a text."""
    return text


async def test_a_step_that_failed_is_told_where_the_plan_keeps_going() -> None:
    def answer(stage_id: str, index: int, payload: task_pb2.TaskPayload) -> Any:
        return {"plan": json.dumps(PLAN), "execute/s1": broken(), "execute/s2": "two"}.get(stage_id, "seen")

    async with Workshop.open(answer, tools=ToolRegistry([use])) as workshop:
        await workshop.planner.register(KEEP_GOING)
        job = await workshop.run("test")
        assert job.state == job_pb2.Job.STATE_SUCCEEDED
        result = await workshop.planner.result(job.name)
        first, second = result["steps"]
        assert (first["output"], second["output"]) == (None, "two")
        assert "it broke" in first["error"]
        shown = {stage.stage_id: stage for stage in job.stages}["execute/s1"]
        assert shown.failure.reason == "BROKEN"


async def test_a_fallback_is_told_what_it_stands_in_for() -> None:
    def answer(stage_id: str, index: int, payload: task_pb2.TaskPayload) -> Any:
        return broken("TIMEOUT", "it took too long") if stage_id == "draft" else f"instead of {stage_id}"

    async with Workshop.open(answer) as workshop:
        await workshop.planner.register(
            """
            application: test
            stages:
              - llm: draft
                prompt: "Write"
                on_error: {llm: draft, prompt: "{{ error.reason }}: {{ error.message }}"}
              - {tool: use, call: test.any, args: {text: "{{ draft.text }}"}}
            output: "{{ draft.text }}"
            """
        )
        job = await workshop.run("test")
        assert job.state == job_pb2.Job.STATE_SUCCEEDED
        assert workshop.prompts["draft!"] == "TIMEOUT: it took too long"
        assert await workshop.planner.result(job.name) == "instead of draft!"
