"""Plans that keep going: a failed step and a hopeless plan are told, and do not fail the job."""

from __future__ import annotations

import json

from llmsched.application import ApplicationSpec, parse_yaml
from services.planner.core import dry_run
from services.planner.core.dryrun import Answer, DryTask
from services.planner.core.model import Failure, LlmOutput, ToolInfo, ToolOutput
from services.planner.core.plan import tools_text

APP = """
application: plans
input: {}
stages:
  - {plan: plan, prompt: "{{ tools }}", tools: [a.one, a.two], max_retries: 1}
  - {dynamic: execute, plan: plan, keep_going: KEEP}
output: "{{ execute.steps }}"
"""
STEPS = [
    {"id": "s1", "tool": "a.one", "args": {"x": 1}},
    {"id": "s2", "tool": "a.two", "args": {"y": "<s1>"}},
    {"id": "s3", "tool": "a.two", "args": {"y": "<s1.part>"}},
]


def app(keep: bool) -> ApplicationSpec:
    return parse_yaml(APP.replace("KEEP", str(keep).lower()))


def answers(plan: object, one: Answer) -> object:
    def answer(task: DryTask) -> Answer:
        if task.stage.name == "plan":
            return LlmOutput(text=json.dumps(plan))
        return one if task.stage.name == "execute.a.one" else ToolOutput(value="two")

    return answer


def test_a_failed_step_gives_null_and_its_error() -> None:
    broken = Failure(reason="TOOL_RAISED", message="no luck")
    run = dry_run(app(True), {}, answers({"steps": STEPS}, broken))
    assert run.failure is None
    one, two, three = run.output
    assert one == {**STEPS[0], "output": None, "error": "TOOL_RAISED: no luck"}
    # What used the missing output got null for it; what used a part of it could not be called.
    assert two == {**STEPS[1], "args": {"y": None}, "output": "two", "error": None}
    assert three["output"] is None
    assert three["error"].startswith("INVALID_PLAN")


def test_without_it_a_failed_step_fails_the_job() -> None:
    run = dry_run(app(False), {}, answers({"steps": STEPS}, Failure(reason="TOOL_RAISED", message="no luck")))
    assert run.failure is not None
    assert run.failure.reason == "TOOL_RAISED"


def test_a_plan_that_stays_bad_has_no_steps() -> None:
    run = dry_run(app(True), {}, answers("nonsense", ToolOutput(value=1)))
    assert run.failure is None
    assert run.output == []


def test_a_plan_refused_for_its_arguments_has_no_steps() -> None:
    schema = {"type": "object", "properties": {"x": {"type": "string"}}}
    run = dry_run(
        app(True),
        {},
        answers({"steps": STEPS[:1]}, ToolOutput(value=1)),
        catalogue={"a.one": ToolInfo(args_schema=schema)},
    )
    assert run.failure is None
    assert run.output == []


def test_without_it_a_plan_that_stays_bad_fails_the_job() -> None:
    run = dry_run(app(False), {}, answers("nonsense", ToolOutput(value=1)))
    assert run.failure is not None
    assert run.failure.reason == "INVALID_PLAN"


def test_a_signature_says_enough_of_the_arguments() -> None:
    catalogue = {"a.one": ToolInfo(signature="a.one(x: integer)", description="Counts.")}
    assert tools_text(["a.one"], catalogue) == "- a.one(x: integer): Counts."
