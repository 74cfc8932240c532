"""Applications as plain functions: the same values as in YAML, and what is refused."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import pytest

from llmsched.application import ApplicationError, parse_yaml
from llmsched.application.expressions import Reference, filled
from llmsched.application.template_filters import Meter
from llmsched.application.templates import Template
from llmsched.decorators import application, foreach, llm_stage, loop, stage, tool


@dataclass
class Verdict:
    score: int
    why: str


@llm_stage(max_tokens=40)
def idea(topic: str) -> str:
    """One idea about {{ topic }}:"""


@tool("sample.count")
def count(text: str, least: int = 1) -> int:
    """How many words a text has."""
    return max(least, len(text.split()))


@tool("sample.run_tests")
def run_tests(code: str, tests: str) -> dict[str, Any]:
    """Whether tests pass."""
    return {"passed": code == tests}


@llm_stage(system="You rate {{ what }}.", temperature=0.0, timeout="30s")
def judge(text: str, what: str = "texts") -> Verdict:
    """Rate this: {{ text | trim }}"""


@llm_stage()
def split(text: str) -> list[str]:
    """List the claims in: {{ text }}"""


def test_data_flow_is_the_graph() -> None:
    @application("hello", version=2)
    def hello(topic: str) -> dict[str, Any]:
        """Writes of a topic."""
        first = idea(topic)
        return {"idea": first, "words": count(first), "said": f"On {topic}: {first}"}

    assert hello.spec() == parse_yaml("""
        application: hello
        version: 2
        description: Writes of a topic.
        input: {topic: string}
        stages:
          - {llm: idea, prompt: "One idea about {{ input.topic }}:", max_tokens: 40}
          - {tool: count, call: sample.count, args: {text: "{{ idea.text }}"}}
        output:
          idea: "{{ idea.text }}"
          words: "{{ count }}"
          said: "On {{ input.topic }}: {{ idea.text }}"
    """)


def test_answers_have_the_type_that_the_function_returns() -> None:
    @application("rate")
    def rate(text: str) -> dict[str, Any]:
        verdict = judge(text)
        return {"score": verdict.score, "all": verdict}

    assert rate.spec() == parse_yaml("""
        application: rate
        input: {text: string}
        stages:
          - llm: judge
            messages:
              - system: 'You rate {{ "texts" }}.'
              - user: "Rate this: {{ input.text | trim }}"
            temperature: 0.0
            timeout: 30s
            json_schema:
              title: Verdict
              type: object
              properties: {score: {title: Score, type: integer}, why: {title: Why, type: string}}
              required: [score, why]
        output: {score: "{{ judge.json.score }}", all: "{{ judge.json }}"}
    """)


def test_a_list_fans_out() -> None:
    @application("claims")
    def claims(text: str) -> Any:
        found = split(text)
        checked = foreach(count, found, least=2)
        first = foreach(stage(idea, name="more"), found)[0]
        return [checked, checked[0], first]

    assert claims.spec() == parse_yaml("""
        application: claims
        input: {text: string}
        stages:
          - llm: split
            prompt: "List the claims in: {{ input.text }}"
            json_schema: {type: array, items: {type: string}}
          - tool: count
            call: sample.count
            foreach: "{{ split.json }}"
            args: {text: "{{ item }}", least: 2}
          - {llm: more, prompt: "One idea about {{ item }}:", max_tokens: 40, foreach: "{{ split.json }}"}
        output: ["{{ count }}", "{{ count[0] }}", "{{ more[0].text }}"]
    """)


def test_a_block_repeats() -> None:
    @llm_stage(max_tokens=512)
    def draft(problem: str, report: str) -> str:
        """{{ problem }} {{ report }}"""

    @application("code-generation")
    def generate(problem: str, tests: str) -> dict[str, Any]:
        with loop("refine", max_rounds=10, until="{{ run_tests.passed }}") as refine:
            run_tests(draft(problem, refine.previous.run_tests.report), tests)
        return {"code": refine.last.draft, "rounds": refine.count}

    assert generate.spec() == parse_yaml("""
        application: code-generation
        input: {problem: string, tests: string}
        stages:
          - loop: refine
            max_rounds: 10
            until: "{{ run_tests.passed }}"
            body:
              - {llm: draft, prompt: "{{ input.problem }} {{ refine.previous.run_tests.report }}", max_tokens: 512}
              - {tool: run_tests, call: sample.run_tests, args: {code: "{{ draft.text }}", tests: "{{ input.tests }}"}}
        output: {code: "{{ refine.last.draft }}", rounds: "{{ refine.count }}"}
    """)


def test_options_of_one_place_and_names_that_repeat() -> None:
    @application("options")
    def options(topic: str, long: bool = False) -> Any:
        first = idea(topic)
        words = stage(count, after=[first], retry={"max_attempts": 1})("fixed text")
        again = stage(idea, when=long)(f"{first} in {words} words")
        return stage(idea, when="{{ count > 3 }}")(again)

    found = options.spec()
    assert [each.name for each in found.stages] == ["idea", "count", "idea_2", "idea_3"]
    words, again, last = found.stages[1:]
    assert (words.after, words.retry.max_attempts, words.args) == (("idea",), 1, {"text": "fixed text"})
    assert again.when == "{{ (input.long | default(false)) }}"
    assert again.prompt == 'One idea about {{ ((idea.text) ~ " in " ~ (count) ~ " words") }}:'
    assert (last.when, last.prompt) == ("{{ count > 3 }}", "One idea about {{ idea_2.text }}:")
    assert "long" not in found.input.get("required", [])


def test_what_a_literal_becomes_keeps_its_value() -> None:
    values = {"a": 'q"\\\n 🙂', "b": None, "c": [True, 1.5], "d": {"k k": "v"}}
    written = filled("{{ [a, b, c, d] }}", values)
    assert Template.of(written).evaluate({}, Meter(steps=1000, characters=1000)) == list(values.values())
    alone = ["{% if %}", "{# no comment #}", "}} {", "{ { x }}"]  # only {{ makes a text more than a text
    written = filled("{{ a }}", {"a": alone})
    assert Template.of(written).evaluate({}, Meter(steps=1000, characters=1000)) == alone


@pytest.mark.parametrize(
    "text",
    [
        "tell {{ me",
        "tell {{ it's",
        "tell {{ }}",
        "{{ x }} and {{ me",
        "{{ x }}{% if y %}z{% endif %}",
        "{% raw %}{{ x }}{% endraw %}",
        "{# why #} {{ x }}",
    ],
)
def test_a_text_that_would_lose_its_value_is_refused(text: str) -> None:
    with pytest.raises(TypeError, match=r"\{\{"):
        filled("{{ a }}", {"a": text})


@pytest.mark.parametrize(
    ("source", "written"),
    [
        ("{{ a.a }} {{ b.a }} {{ a|a }}", "{{ x.y.a }} {{ b.a }} {{ x.y|a }}"),
        ("a {# a #} {{ 'a' }} {{ dict(a=a) }}", "a {# a #} {{ 'a' }} {{ dict(a=x.y) }}"),
        (
            "{% for one in a %}{{ loop.index }}{{ one }}{% endfor %}",
            "{% for one in x.y %}{{ loop.index }}{{ one }}{% endfor %}",
        ),
        ("{{ a broken", "{{ a broken"),
    ],
)
def test_only_variables_are_replaced(source: str, written: str) -> None:
    assert filled(source, {"a": Reference("x.y")}) == written


def test_a_parameter_keeps_its_value() -> None:
    @llm_stage()
    def odd(topic: str) -> str:
        """{% set topic = 1 %}{{ topic }}"""

    with pytest.raises(TypeError, match="the template gives topic"):

        @application("odd")
        def app(topic: str) -> Any:
            return odd(topic)


def test_everything_wrong_is_named_at_the_end() -> None:
    @llm_stage(max_tokens=0)
    def bad(topic: str) -> str:
        """{{ nowhere }} {{ topic | shout }}"""

    @application("Wrong Name")
    def wrong(topic: str) -> Any:
        return bad(topic)

    with pytest.raises(ApplicationError) as caught:
        wrong.spec()
    assert {each.path for each in caught.value.violations} >= {"application", "stages[0].max_tokens"}


@pytest.mark.parametrize(
    ("use", "told"),
    [
        (lambda ref: bool(ref), "known only when a job runs"),
        (lambda ref: list(ref), "known only when a job runs"),
        (lambda ref: ref + "x", "known only when a job runs"),
        (lambda ref: ref > 1, "known only when a job runs"),
        (lambda ref: idea(ref) == "yes", "known only when a job runs"),
        (lambda ref: idea(ref) != "yes", "known only when a job runs"),
        (lambda ref: ref in ["yes"], "known only when a job runs"),
        (lambda ref: idea(ref).upper(), "use filters in a template"),
        (lambda ref: idea({1, 2}), "no JSON value"),
        (lambda ref: idea(), "missing a required argument"),
        (lambda ref: stage(count, after=[ref])("x"), "not the output of a stage"),
        (lambda ref: stage(len)(ref), "neither an llm_stage nor a tool"),
    ],
)
def test_what_cannot_be_written_down_is_refused_at_once(use: Any, told: str) -> None:
    def body(topic: str) -> Any:
        return use(topic)

    with pytest.raises((TypeError, AttributeError), match=told):
        application("refused")(body)


def test_references_can_be_kept() -> None:
    first, second = Reference("x"), Reference("x")
    assert len({first, second, first}) == 2


def test_declarations_that_make_no_sense() -> None:
    def bare(topic: str) -> str: ...

    async def later(topic: str) -> str:
        """{{ topic }}"""

    def untyped(topic) -> str:  # type: ignore[no-untyped-def]
        """{{ topic }}"""

    with pytest.raises(TypeError, match="docstring of an llm_stage is its prompt"):
        llm_stage()(bare)
    with pytest.raises(TypeError, match="only plain functions"):
        llm_stage()(later)
    with pytest.raises(TypeError, match="parameter topic needs a type hint"):
        application("x")(untyped)
    with pytest.raises(TypeError, match="call it in the function of an application"):
        idea("rivers")


def test_tools_still_run_outside_of_applications() -> None:
    assert count("one two three") == 3
    assert run_tests("a", tests="a") == {"passed": True}


def test_the_builder_goes_on_where_decorators_end() -> None:
    @application("planned")
    def planned(request: str) -> None:
        idea(request)

    planned.plan("plan", tools=[count], prompt="{{ idea.text }}")
    planned.dynamic("execute", plan="plan")
    assert [each.kind for each in planned.spec().stages] == ["llm", "plan", "dynamic"]
