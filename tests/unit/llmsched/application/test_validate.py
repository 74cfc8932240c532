from __future__ import annotations

import textwrap
from collections.abc import Collection
from typing import Any

import pytest

from llmsched.application import ApplicationError, parse_yaml
from llmsched.application.parse import build_unchecked
from llmsched.application.validate import check, ensure_valid

A = "- {llm: a, prompt: hi}"


def violations(
    stages: str, *, output: str = "null", input: str = "{topic: string}", known_tools: Collection[str] | None = None
) -> list[str]:
    body = textwrap.indent(textwrap.dedent(stages).strip(), "  ")
    try:
        parse_yaml(f"application: test\ninput: {input}\noutput: {output}\nstages:\n{body}\n", known_tools)
    except ApplicationError as error:
        return [f"{each.path}: {each.message}" for each in error.violations]
    return []


def loop(body: str, *, name: str = "l", until: str = "{{ x }}", more: str = "") -> str:
    return f'- {{loop: {name}, max_rounds: 2, until: "{until}", body: [{body}]{more}}}'


X = "{llm: x, prompt: hi}"
PLAN = "- {plan: p, prompt: hi, tools: [web.search]}"
DYNAMIC = "- {dynamic: e, plan: p}"


@pytest.mark.parametrize(
    "stages",
    [
        A,
        loop(X),
        loop(loop(X, name="m")[2:] + ', {llm: y, prompt: "{{ m.last.x.text }}"}', until="{{ y }}"),
        f"{PLAN}\n{DYNAMIC}",
        f'{A}\n- {{llm: b, prompt: "{{{{ a.text }}}}{{{{ a.finish_reason }}}}{{{{ a.strip() }}}}"}}',
        f'{A}\n- {{llm: b, prompt: "{{{{ item }}}}{{{{ index }}}}", foreach: "{{{{ a.split() }}}}"}}',
        "- {llm: a, prompt: hi, json_schema: {$ref: '#/$defs/x', $defs: {x: {type: string, pattern: '^a'}}}}",
        "- {llm: a, prompt: hi, on_error: {tool: b, call: web.search, args: {q: '{{ error.message }}'}}}",
        '- {tool: a, call: web.search, on_error: {llm: b, prompt: hi}}\n- {llm: c, prompt: "{{ a.anything.at.all }}"}',
        '- {llm: a, messages: [{system: x}, {user: "{{ input }}"}]}',
        '- {tool: a, call: web.search}\n- {llm: b, prompt: "{{ a.any.thing }}"}',
    ],
)
def test_good_applications_have_no_violations(stages: str) -> None:
    assert violations(stages) == []


@pytest.mark.parametrize(
    ("stages", "found"),
    [
        # Names
        ("- {llm: 1a, prompt: hi}", "stages[0].name: '1a' is no stage name"),
        ("- {llm: a-b, prompt: hi}", "stages[0].name: 'a-b' is no stage name"),
        ("- {llm: _a, prompt: hi}", "stages[0].name: '_a' is no stage name"),
        ("- {llm: input, prompt: hi}", "stages[0].name: 'input' means something else"),
        ("- {llm: class, prompt: hi}", "stages[0].name: 'class' means something else"),
        ("- {llm: endfor, prompt: hi}", "stages[0].name: 'endfor' means something else"),
        (f"{A}\n{A}", "stages[1].name: 2 stages of this scope are called 'a'"),
        (f"- {{llm: x, prompt: hi}}\n{loop(X)}", "stages[1].body[0].name: 'x' is the name of a stage outside the loop"),
        (loop(X.replace("x,", "l,"), until="{{ l }}"), "stages[0].body[0].name: 'l' is the name of a stage outside"),
        # Calls
        ("- {llm: a}", "stages[0]: a: give either prompt or messages"),
        ("- {llm: a, prompt: hi, messages: [{user: hi}]}", "stages[0]: a: give either prompt or messages"),
        ("- {tool: a, call: search}", "stages[0].call: 'search' is no tool name"),
        ("- {tool: a, call: Web.search}", "stages[0].call: 'Web.search' is no tool name"),
        ("- {tool: a, call: web.search, args: {n: 9007199254740993}}", "stages[0].args.n: 9007199254740993 is beyond"),
        ("- {tool: a, call: web.search, args: {n: " + "[" * 30 + "]" * 30 + "}}", "is nested more than 28 deep"),
        ("- {llm: a, prompt: hi, json_schema: {type: objekt}}", "stages[0].json_schema.type: is no JSON schema"),
        ("- {llm: a, prompt: hi, json_schema: {pattern: '('}}", "stages[0].json_schema: '(' is no regular expression"),
        ("- {llm: a, prompt: hi, json_schema: {$ref: 'http://x/y'}}", "$ref 'http://x/y' points to nothing"),
        ("- {llm: a, prompt: hi, json_schema: {items: [{$ref: '#/$defs/x'}]}}", "$ref '#/$defs/x' points to nothing"),
        # Order
        ('- {llm: a, prompt: "{{ a.text }}"}', "stages: a waits for itself"),
        (
            '- {llm: a, prompt: "{{ c }}"}\n- {llm: b, prompt: "{{ a }}"}\n- {llm: c, prompt: hi, after: [b]}',
            "stages wait for each other: ",
        ),
        (
            "- {llm: a, prompt: hi, on_error: {llm: b, prompt: '{{ a }}'}}",
            "stages: a waits for itself",
        ),
        (loop(X) + '\n- {llm: y, prompt: "{{ l.count }}"}\n' + loop('{llm: z, prompt: "{{ y }}"}', name="m"), "no 'x'"),
        (f"{A[:-1]}, after: [b, a]}}", "stages[0].after[0]: there is no stage 'b' in this scope"),
        # Templates
        ('- {llm: a, prompt: "{{ b }}"}', "stages[0].prompt: there is no 'b' here; known are a, input"),
        ('- {llm: a, prompt: "{{ input.topc }}"}', "stages[0].prompt: the input has no 'topc'; it has topic"),
        ('- {llm: a, prompt: "{{ x }"}', "stages[0].prompt: is no valid template: unexpected '}' (its line 1)"),
        ('- {llm: a, prompt: "{% include 1 %}"}', "stages[0].prompt: is no valid template: Include is not available"),
        (
            "- {llm: a, prompt: '{{ " + "(" * 5000 + " }}'}",
            "stages[0].prompt: is no valid template: is nested too deep",
        ),
        ('- {llm: a, messages: [{user: "{{ x }}"}]}', "stages[0].messages[0].content: there is no 'x' here"),
        ('- {tool: a, call: w.s, args: {q: [{k: "{{ x }}"}]}}', "stages[0].args.q[0].k: there is no 'x' here"),
        ('- {llm: a, prompt: "{{ item }}"}', "there is no 'item' here"),
        ('- {llm: a, prompt: "{{ error.message }}"}', "there is no 'error' here"),
        ('- {llm: a, prompt: "{{ tools }}"}', "there is no 'tools' here"),
        (f'{A}\n- {{llm: b, prompt: "{{{{ a.txt }}}}"}}', "'a' has no 'txt'; it has text, json, finish_reason"),
        (f'{A}\n- {{llm: b, prompt: "{{{{ a.json }}}}"}}', "'a' has no json: give the stage a json_schema"),
        (
            '- {llm: a, prompt: hi, foreach: "{{ [1] }}"}\n- {llm: b, prompt: "{{ a.text }}"}',
            "stages[1].prompt: 'a' is a list with one output for each element",
        ),
        ('- {llm: a, prompt: hi, when: "yes"}', "stages[0].when: write an expression in braces: {{ yes }}"),
        ('- {llm: a, prompt: hi, when: "{{ 1 }} and {{ 2 }}"}', "stages[0].when: must be one expression"),
        ('- {llm: a, prompt: hi, foreach: "1, 2"}', "stages[0].foreach.items: write an expression"),
        ('- {llm: a, prompt: hi, foreach: {items: "{{ item }}"}}', "stages[0].foreach.items: there is no 'item' here"),
        # Fan-out
        ('- {llm: a, prompt: hi, foreach: {items: "{{ [1] }}", as: a}}', "stages[0].foreach.as: 'a' is the name of a"),
        ('- {llm: a, prompt: hi, foreach: {items: "{{ [1] }}", as: input}}', "stages[0].foreach.as: 'input' cannot be"),
        ('- {llm: a, prompt: hi, foreach: {items: "{{ [1] }}", as: a b}}', "stages[0].foreach.as: 'a b' cannot be"),
        (loop(X, more=', foreach: "{{ [1] }}"'), "stages[0].foreach: only llm and tool stages can be spread"),
        (f'{PLAN[:-1]}, foreach: "{{{{ [1] }}}}"}}\n{DYNAMIC}', "stages[0].foreach: only llm and tool stages"),
        # Loops
        (loop(X, until="{{ y }}"), "stages[0].until: there is no 'y' here; known are input, l, x"),
        (loop(X, until="x"), "stages[0].until: write an expression"),
        (loop(X, more=", timeout: 3s"), "stages[0]: l: retry and timeout belong to the stages of the loop's body"),
        (loop(X, more=", retry: {}"), "stages[0]: l: retry and timeout belong"),
        (loop(X, more=", on_error: {llm: z, prompt: hi}"), "stages[0].on_error: only llm and tool stages"),
        (loop('{llm: x, prompt: "{{ l.last.x }}"}'), "inside the loop, 'l' has round, previous and rounds"),
        (loop('{llm: x, prompt: "{{ l }}"}'), "inside the loop, 'l' has round, previous and rounds"),
        (loop('{llm: x, prompt: "{{ l.previous.y }}"}'), "the loop 'l' has no stage 'y'; it has x"),
        (loop('{llm: x, prompt: "{{ l.previous.x.json }}"}'), "'x' has no json"),
        (loop(X) + '\n- {llm: y, prompt: "{{ l.previous }}"}', "'l' has no 'previous'; it has last, rounds, count"),
        (loop(X) + '\n- {llm: y, prompt: "{{ l.last.z }}"}', "the loop 'l' has no stage 'z'; it has x"),
        (loop(X) + '\n- {llm: y, prompt: "{{ x }}"}', "there is no 'x' here"),
        (loop(X, more=', when: "{{ x }}"'), "stages[0].when: there is no 'x' here"),
        # Plans
        (PLAN, "stages[0]: p: exactly one dynamic stage must run the plan; no stage would"),
        (f"{PLAN}\n{DYNAMIC}\n- {{dynamic: f, plan: p}}", "exactly one dynamic stage must run the plan; e and f would"),
        (f"{A}\n- {{dynamic: e, plan: a}}", "stages[1].plan: there is no plan stage 'a' in this scope"),
        (f"{DYNAMIC}", "stages[0].plan: there is no plan stage 'p' in this scope"),
        (f"{PLAN}\n{loop('{dynamic: x, plan: p}')}", "stages[1].body[0].plan: there is no plan stage 'p'"),
        (
            f'{PLAN}\n{DYNAMIC}\n- {{llm: y, prompt: "{{{{ p.text }}}}"}}',
            "stages[0]: y uses p; use the stage that runs",
        ),
        (
            f"{PLAN}\n{DYNAMIC}\n- {{llm: y, prompt: hi, after: [p]}}",
            "stages[2].after[0]: wait for the stage that runs",
        ),
        (
            f'{PLAN}\n{DYNAMIC}\n- {{llm: y, prompt: "{{{{ e.outputs }}}}"}}',
            "'e' has no 'outputs'; it has steps, results",
        ),
        (
            f"{PLAN.replace('[web.search]', '[web.search, web.search]')}\n{DYNAMIC}",
            "stages[0].tools: a tool is named twice",
        ),
        (f"{PLAN.replace('[web.search]', '[web]')}\n{DYNAMIC}", "stages[0].tools[0]: 'web' is no tool name"),
        (f"{PLAN[:-1]}, on_error: {{llm: z, prompt: hi}}}}\n{DYNAMIC}", "stages[0].on_error: only llm and tool stages"),
        # Fallbacks
        (f"{A[:-1]}, on_error: {{llm: b, prompt: hi, after: [a]}}}}", "stages[0].on_error.after: a fallback runs when"),
        (f"{A[:-1]}, on_error: {loop(X)[2:]}}}", "stages[0].on_error: a fallback is an llm or a tool stage"),
        (f"{A[:-1]}, on_error: {{llm: b, prompt: '{{{{ q }}}}'}}}}", "stages[0].on_error.prompt: there is no 'q' here"),
        (
            f"{A[:-1]}, on_error: {{llm: b, prompt: hi, foreach: '{{{{ [1] }}}}'}}}}",
            "stages[0].on_error.foreach: a has one task, so must its fallback",
        ),
        (
            f"{A[:-1]}, foreach: '{{{{ [1] }}}}', on_error: {{llm: b, prompt: hi}}}}",
            "stages[0].on_error.foreach: a is spread over a list, so its fallback must be",
        ),
        # Times
        (f"{A[:-1]}, timeout: 0s}}", "stages[0].timeout: must be more than 0 and at most 7 days"),
        (f"{A[:-1]}, timeout: 169h}}", "stages[0].timeout: must be more than 0"),
        (f"{A[:-1]}, retry: {{backoff: 2h}}}}", "stages[0].retry.backoff: must be from 0 to 1 hour"),
    ],
)
def test_what_makes_no_sense_is_named(stages: str, found: str) -> None:
    assert any(found in each for each in violations(stages)), violations(stages)


def test_all_violations_are_found_at_once() -> None:
    found = violations(
        """
        - {llm: a, prompt: "{{ nobody }}", timeout: 0s}
        - {llm: a, prompt: "{{ input.typo }}"}
        - {tool: b, call: nope}
        - {plan: p, prompt: "{{ x", tools: [web.search]}
        """,
        output='{x: "{{ gone }}", n: 9007199254740993}',
        input="{topic: {type: strin}}",
    )
    assert [each.split(":")[0] for each in found] == [
        "input.properties.topic.type",
        "output.x",
        "output.n",
        "stages[0].name",
        "stages[0].prompt",
        "stages[0].timeout",
        "stages[1].name",
        "stages[1].prompt",
        "stages[2].call",
        "stages[3].prompt",
        "stages[3]",
    ]


def test_the_output_is_checked_like_a_stage() -> None:
    assert violations(A, output='{x: ["{{ b }}"]}')[0].startswith("output.x[0]: there is no 'b' here")
    assert violations(loop(X), output='"{{ l.last.x.text }}"') == []
    assert violations(loop(X), output='"{{ x }}"')[0].startswith("output: there is no 'x' here")


@pytest.mark.parametrize(
    ("schema", "found"),
    [
        ("{properties: {x: 3}}", "input.properties.x: is no JSON schema"),
        ("{type: object, properties: {x: {pattern: '['}}}", "input: '[' is no regular expression"),
        ("{properties: {x: {}}}", "input: the schema of an input must have type: object"),
    ],
)
def test_the_schema_of_the_input_is_checked(schema: str, found: str) -> None:
    assert any(found in each for each in violations(A, input=schema)), violations(A, input=schema)


def test_an_open_schema_lets_any_field_be_used() -> None:
    stage = '- {llm: a, prompt: "{{ input.anything }}"}'
    assert violations(stage, input="{type: object}") == []
    closed = "{type: object, additionalProperties: false}"
    assert violations(stage, input=closed) == ["stages[0].prompt: the input has no 'anything'; it has nothing"]
    assert violations(stage, input="{type: object, additionalProperties: false, patternProperties: {}}") == []


def test_tools_can_be_checked_against_those_that_are_known() -> None:
    stages = f"- {{tool: a, call: web.search}}\n- {{tool: b, call: web.serch}}\n{PLAN}\n{DYNAMIC}"
    assert violations(stages, known_tools={"web.search"}) == ["stages[1].call: no executor offers the tool 'web.serch'"]


def unchecked(**fields: Any) -> list[str]:
    return [f"{each.path}: {each.message}" for each in check(build_unchecked({"application": "x", **fields}))]


def test_sizes_are_limited() -> None:
    llm = {"kind": "llm", "prompt": "hi"}
    many = [{**llm, "name": f"a{n}"} for n in range(501)]
    assert unchecked(stages=many) == ["stages: there are 501 stages; 500 are allowed"]
    huge = [{**llm, "name": "a", "prompt": "x" * 2**20}]
    assert unchecked(stages=huge)[0].startswith("stages: the application takes ")
    long = {"kind": "loop", "name": "l", "max_rounds": 100_000, "until": "{{ a }}", "body": [{**llm, "name": "a"}]}
    assert unchecked(stages=[long]) == ["stages: a job could have 100001 stages with all rounds; 100000 are allowed"]
    deep: dict[str, Any] = {**llm, "name": "a"}
    for level in range(6):
        deep = {"kind": "loop", "name": f"l{level}", "max_rounds": 2, "until": "{{ 1 }}", "body": [deep]}
    assert unchecked(stages=[deep]) == ["stages: loops are nested 6 deep; 5 are allowed"]


def test_a_valid_application_is_returned_and_another_raised() -> None:
    good = build_unchecked({"application": "x", "stages": [{"kind": "llm", "name": "a", "prompt": "hi"}]})
    assert ensure_valid(good) is good
    bad = build_unchecked({"application": "x", "stages": [{"kind": "llm", "name": "a"}]})
    with pytest.raises(ApplicationError, match=r"stages\[0\]: a: give either prompt or messages"):
        ensure_valid(bad)
