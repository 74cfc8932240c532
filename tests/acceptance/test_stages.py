"""Jobs of each kind of stage, and what their results have in common."""

from __future__ import annotations

import json
from typing import Any

import pytest

import llmsched
from llmsched import Application
from llmsched.types import Job, StageKind, StageState

pytestmark = [pytest.mark.slow, pytest.mark.full]


async def run(client: llmsched.Client, app: Application, job_input: dict[str, Any]) -> tuple[Job, Any]:
    """The job as it ended, and its result."""
    await client.register(app)
    handle = await client.submit(app, job_input)
    result = await handle.result(timeout=100)
    return await handle.status(), result


def stages(job: Job) -> dict[str, StageState]:
    return {stage.stage_id: stage.state for stage in job.stages}


async def test_one_after_the_other(client: llmsched.Client, own_name: str) -> None:
    app = Application(own_name, input={"topic": "string"})
    app.llm("idea", prompt="An idea about {{ input.topic }}", max_tokens=6)
    app.tool("digest", call="hash.digest", args={"text": "{{ idea.text }}"})
    app.llm("poem", messages=[{"user": "A poem about {{ idea.text }} {{ digest }}"}], max_tokens=6)
    app.output = {"idea": "{{ idea.text }}", "poem": "{{ poem.text }}"}
    job, result = await run(client, app, {"topic": "rivers"})
    assert set(stages(job).values()) == {StageState.SUCCEEDED}
    assert {stage.name: stage.kind for stage in job.stages} == {
        "idea": StageKind.LLM,
        "digest": StageKind.TOOL,
        "poem": StageKind.LLM,
    }
    ends = {stage.name: stage.end_time for stage in job.stages}
    assert ends["idea"] < ends["digest"] < ends["poem"]
    assert result.keys() == {"idea", "poem"}
    assert 2 <= job.usage.completion_tokens <= 12


async def test_as_wide_as_the_input_says(client: llmsched.Client, own_name: str) -> None:
    app = Application(own_name, input={"parts": ["string"]})
    app.llm("part", prompt="About {{ item }}", foreach="{{ input.parts }}", max_tokens=4)
    app.tool("count", call="text.statistics", foreach="{{ part }}", args={"text": "{{ item }}"})
    app.output = {
        "texts": "{{ part | map(attribute='text') | list }}",
        "counts": "{{ count | map(attribute='words') | list }}",
    }
    job, result = await run(client, app, {"parts": ["a", "b", "c", "d", "e"]})
    assert [len(stage.tasks) for stage in job.stages] == [5, 5]
    assert len(result["texts"]) == len(result["counts"]) == 5
    assert (await client.outputs(job.name))[0].task_index == 0

    _, nothing = await run(client, app, {"parts": []})
    assert nothing == {"texts": [], "counts": []}


async def test_a_loop_ends_when_its_condition_holds(client: llmsched.Client, own_name: str) -> None:
    app = Application(own_name, input={"rounds": "integer"})
    with app.loop("polish", max_rounds=5, until="{{ polish.round >= input.rounds }}") as polish:
        polish.llm("draft", prompt="{{ polish.previous.draft.text }} again", max_tokens=4)
        polish.tool("check", call="hash.digest", args={"text": "{{ draft.text }}"})
    app.output = {"rounds": "{{ polish.count }}", "check": "{{ polish.last.check }}"}
    job, result = await run(client, app, {"rounds": 3})
    assert result["rounds"] == 3
    assert [stage.name for stage in job.stages if stage.kind is StageKind.LLM].count("polish.draft") == 3
    _, longest = await run(client, app, {"rounds": 100})
    assert longest["rounds"] == 5


async def test_a_condition_skips_stages(client: llmsched.Client, own_name: str) -> None:
    app = Application(own_name, input={"deep": "boolean"})
    app.llm("ask", prompt="ask", max_tokens=3)
    app.llm("think", prompt="{{ ask.text }}", when="{{ input.deep }}", max_tokens=3)
    app.llm("tell", prompt="{{ ask.text }} {{ think.text }}", max_tokens=3)
    job, _ = await run(client, app, {"deep": False})
    assert stages(job)["think"] is StageState.SKIPPED
    job, _ = await run(client, app, {"deep": True})
    assert stages(job)["think"] is StageState.SUCCEEDED


async def test_answers_fit_their_schema(client: llmsched.Client, own_name: str) -> None:
    app = Application(own_name)
    fields = {"score": {"type": "integer", "minimum": 0, "maximum": 9}, "why": {"type": "string", "maxLength": 20}}
    schema = {"type": "object", "properties": fields, "required": ["score", "why"], "additionalProperties": False}
    app.llm("judge", messages=[{"user": "Rate rivers."}], json_schema=schema, max_tokens=300)
    app.output = {"score": "{{ judge.json.score }}"}
    _, result = await run(client, app, {})
    assert result["score"] in range(10)


#: Simulated engines answer with it; of others it is a proposal.
PLAN = {
    "steps": [
        {"id": "a", "tool": "text.statistics", "args": {"text": "one two three"}, "after": []},
        {"id": "b", "tool": "text.keywords", "args": {"text": "rivers and lakes"}, "after": ["a"]},
    ]
}


async def test_a_model_plans_what_is_done(client: llmsched.Client, own_name: str) -> None:
    app = Application(own_name)
    app.plan(
        "plan",
        tools=["text.statistics", "text.keywords"],
        prompt=f"Plan tool calls, as {json.dumps(PLAN)}\n[[reply: {json.dumps(json.dumps(PLAN))}]]\n{{{{ tools }}}}",
        max_stages=3,
        max_tokens=400,
    )
    # A plan may stay bad, and its steps may fail: what a model writes is nobody's promise.
    app.dynamic("execute", plan="plan", keep_going=True)
    app.output = {"steps": "{{ execute.steps }}"}
    job, result = await run(client, app, {})
    steps = result["steps"]
    generated = [stage for stage in job.stages if stage.generated_by and stage.kind is StageKind.TOOL]
    assert len(steps) == len(generated) <= 3
    for step in steps:
        assert step["tool"] in ("text.statistics", "text.keywords")
        assert (step["output"] is None) is (step["error"] is not None)
    engines = {offer for each in (await client.cluster()).executors if each.kind == "llm" for offer in each.offers}
    if engines == {"llm", "llm:engine-sim"}:
        assert [step["id"] for step in steps] == ["a", "b"]
        assert steps[0]["output"]["words"] == 3
