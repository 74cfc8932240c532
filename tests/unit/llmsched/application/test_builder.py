from __future__ import annotations

from datetime import timedelta

import pytest
from pydantic import BaseModel

from llmsched.application import (
    Application,
    ApplicationError,
    ForEach,
    LlmStage,
    Message,
    Retry,
    ToolStage,
    parse_yaml,
)
from llmsched.tools import tool


@tool(name="python.run_tests")
def run_tests(code: str) -> dict[str, bool]:
    """Runs tests."""
    raise NotImplementedError


class Score(BaseModel):
    score: int


def test_python_and_yaml_make_the_same_value() -> None:
    app = Application("hello", version=2, description="Writes.", input={"topic": "string", "n": "optional integer"})
    idea = app.llm("idea", prompt="One idea about {{ input.topic }}", max_tokens=40, temperature=0.5)
    with app.loop("refine", max_rounds=3, until="{{ test[0].ok }}", after=[idea]) as refine:
        refine.llm("draft", messages=[{"user": "{{ refine.previous.draft }}"}, Message(role="user", content="x")])
        refine.tool(
            "test", call=run_tests, args={"code": "{{ draft }}"}, foreach="{{ [1] }}", retry={"max_attempts": 1}
        )
        with refine.loop("inner", max_rounds=2, until="{{ x }}") as inner:
            inner.llm("x", prompt="{{ draft }}", timeout="3s", on_error=ToolStage(name="y", call="notes.read"))
    plan = app.plan("plan", tools=[run_tests, "web.search"], prompt="{{ tools }}", max_stages=3)
    app.dynamic("execute", plan=plan, when="{{ refine.count }}", timeout=timedelta(minutes=1))
    app.output = {"code": "{{ refine.last.draft }}"}
    assert app.spec() == parse_yaml("""
        application: hello
        version: 2
        description: Writes.
        input: {topic: string, n: optional integer}
        stages:
          - {llm: idea, prompt: "One idea about {{ input.topic }}", max_tokens: 40, temperature: 0.5}
          - loop: refine
            max_rounds: 3
            until: "{{ test[0].ok }}"
            after: [idea]
            body:
              - {llm: draft, messages: [{user: "{{ refine.previous.draft }}"}, {user: x}]}
              - tool: test
                call: python.run_tests
                args: {code: "{{ draft }}"}
                foreach: "{{ [1] }}"
                retry: {max_attempts: 1}
              - loop: inner
                max_rounds: 2
                until: "{{ x }}"
                body:
                  - {llm: x, prompt: "{{ draft }}", timeout: 3s, on_error: {tool: y, call: notes.read}}
          - {plan: plan, tools: [python.run_tests, web.search], prompt: "{{ tools }}", max_stages: 3}
          - {dynamic: execute, plan: plan, when: "{{ refine.count }}", timeout: 1m}
        output: {code: "{{ refine.last.draft }}"}
    """)


def test_options_may_be_values() -> None:
    app = Application("x")
    app.llm("a", prompt="hi", json_schema=Score, retry=Retry(max_attempts=5), foreach=ForEach(items="{{ [1] }}"))
    app.llm("b", prompt="hi", json_schema={"type": "object"})
    a, b = app.spec().stages
    assert isinstance(a, LlmStage)
    assert isinstance(b, LlmStage)
    assert a.json_schema == Score.model_json_schema()
    assert b.json_schema == {"type": "object"}
    assert (a.retry, a.foreach) == (Retry(max_attempts=5), ForEach(items="{{ [1] }}"))


def test_everything_wrong_is_named_when_the_value_is_made() -> None:
    app = Application("Bad")
    app.llm("a", prompt="{{ b }}", max_tokens=0)
    with app.loop("l", max_rounds=0, until="x") as body:
        body.tool("t", call="nope")
    with pytest.raises(ApplicationError) as caught:
        app.spec()
    assert [each.path for each in caught.value.violations] == [
        "application",
        "stages[0].max_tokens",
        "stages[1].max_rounds",
    ]
    assert all(each.line is None for each in caught.value.violations)


def test_a_plain_function_is_no_tool() -> None:
    with pytest.raises(TypeError, match="give its name, or a function with the tool decorator"):
        Application("x").tool("t", call=len)


def test_handles_are_their_names() -> None:
    app = Application("x")
    assert str(app.llm("a", prompt="hi")) == "a"
    assert str(app.loop("l", max_rounds=1, until="{{ x }}")) == "l"


def test_a_value_can_be_made_again_after_a_change() -> None:
    app = Application("x")
    app.llm("a", prompt="hi")
    first = app.spec()
    app.llm("b", prompt="{{ a }}")
    app.version = 2
    assert [stage.name for stage in first.stages] == ["a"]
    assert [stage.name for stage in app.spec().stages] == ["a", "b"]
