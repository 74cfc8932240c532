from __future__ import annotations

from datetime import timedelta
from pathlib import Path

import pytest

from llmsched.application import (
    ApplicationError,
    ApplicationSpec,
    DynamicStage,
    ForEach,
    LlmStage,
    LoopStage,
    Message,
    PlanStage,
    Retry,
    ToolStage,
    dump_yaml,
    load_yaml,
    parse_yaml,
)

EVERYTHING = """
application: everything
version: 7
description: One of each.
input: {problem: string, tags: [string]}
stages:
  - loop: refine
    max_rounds: 4
    until: "{{ test.passed }}"
    when: "{{ input.problem }}"
    body:
      - llm: draft
        prompt: |
          Solve this:
          {{ input.problem }}
          {{ refine.previous.test.report }}
        model: tiny
        max_tokens: 512
        temperature: 0
        stop: ["END"]
        timeout: 90s
        retry: {max_attempts: 2, backoff: 250ms}
        on_error: {tool: backup, call: notes.read, args: {why: "{{ error.message }}"}}
      - tool: test
        call: python.run_tests
        args: {code: "{{ draft }}", limit: 3}
  - llm: each
    messages: [{system: Be brief.}, {role: user, content: "{{ tag }}"}]
    foreach: {items: "{{ input.tags }}", as: tag}
    json_schema: {type: object}
    after: [refine]
  - {plan: plan, prompt: "{{ tools }}", tools: [web.search], max_stages: 5, max_retries: 0}
  - {dynamic: execute, plan: plan, timeout: 2m}
output:
  code: "{{ refine.last.draft }}"
  each: "{{ each }}"
"""


def test_yaml_and_python_are_one_schema() -> None:
    assert parse_yaml(EVERYTHING) == ApplicationSpec(
        application="everything",
        version=7,
        description="One of each.",
        input={
            "type": "object",
            "properties": {"problem": {"type": "string"}, "tags": {"type": "array", "items": {"type": "string"}}},
            "required": ["problem", "tags"],
            "additionalProperties": False,
        },
        stages=(
            LoopStage(
                name="refine",
                max_rounds=4,
                until="{{ test.passed }}",
                when="{{ input.problem }}",
                body=(
                    LlmStage(
                        name="draft",
                        prompt="Solve this:\n{{ input.problem }}\n{{ refine.previous.test.report }}\n",
                        model="tiny",
                        max_tokens=512,
                        temperature=0,
                        stop=("END",),
                        timeout=timedelta(seconds=90),
                        retry=Retry(max_attempts=2, backoff=timedelta(seconds=0.25)),
                        on_error=ToolStage(name="backup", call="notes.read", args={"why": "{{ error.message }}"}),
                    ),
                    ToolStage(name="test", call="python.run_tests", args={"code": "{{ draft }}", "limit": 3}),
                ),
            ),
            LlmStage(
                name="each",
                messages=(Message(role="system", content="Be brief."), Message(role="user", content="{{ tag }}")),
                foreach=ForEach(items="{{ input.tags }}", as_="tag"),
                json_schema={"type": "object"},
                after=("refine",),
            ),
            PlanStage(name="plan", prompt="{{ tools }}", tools=("web.search",), max_stages=5, max_retries=0),
            DynamicStage(name="execute", plan="plan", timeout=timedelta(minutes=2)),
        ),
        output={"code": "{{ refine.last.draft }}", "each": "{{ each }}"},
    )


def test_what_is_written_is_read_back() -> None:
    app = parse_yaml(EVERYTHING)
    written = dump_yaml(app)
    assert parse_yaml(written) == app
    assert "- loop: refine" in written
    assert "prompt: |" in written
    assert "backoff: 250ms" in written


def test_defaults_are_not_written() -> None:
    app = parse_yaml("application: x\nstages: [{llm: a, prompt: hi}]")
    assert [line for line in dump_yaml(app).splitlines() if line.startswith(("-", "  "))][-2:] == [
        "- llm: a",
        "  prompt: hi",
    ]
    assert "output" not in dump_yaml(app)


def test_a_file_is_read(tmp_path: Path) -> None:
    path = tmp_path / "application.yaml"
    path.write_text(EVERYTHING, encoding="utf-8")
    assert load_yaml(path) == load_yaml(str(path)) == parse_yaml(EVERYTHING)
    with pytest.raises(OSError, match="nowhere"):
        load_yaml(tmp_path / "nowhere.yaml")
    path.write_bytes(b"\xff\xfe\x00")
    with pytest.raises(ApplicationError, match="is no UTF-8 text"):
        load_yaml(path)


def found(source: str) -> list[str]:
    with pytest.raises(ApplicationError) as caught:
        parse_yaml(source)
    return [str(each) for each in caught.value.violations]


NO_STAGE = (
    "is no stage: it starts with its kind and its name, as in `llm: draft`; kinds are llm, tool, loop, plan, dynamic"
)


def test_errors_name_lines_and_are_all_there() -> None:
    assert found(
        """
application: Bad Name
stages:
  - llm: a
    promt: hi
    max_tokens: -1
  - foo: b
"""
    ) == [
        "line 2: application: must be lower-case letters, digits and hyphens, with a letter first",
        "line 5: stages[0].promt: there is no such field; did you mean prompt?",
        "line 6: stages[0].max_tokens: should be greater than or equal to 1",
        f"line 7: stages[1]: {NO_STAGE}",
    ]


def test_a_misspelt_field_does_not_hide_what_makes_no_sense() -> None:
    assert found(
        """
application: x
stages:
  - llm: a
    prompt: "{{ nobody }}"
    max_token: 3
    temperature: -1
    retry: {max_attempt: 3}
    messages:
      - {user: hi}
"""
    ) == [
        "line 4: stages[0]: a: give either prompt or messages",
        "line 5: stages[0].prompt: there is no 'nobody' here; known are a, input",
        "line 6: stages[0].max_token: there is no such field; did you mean max_tokens?",
        "line 7: stages[0].temperature: should be greater than or equal to 0",
        "line 8: stages[0].retry.max_attempt: there is no such field; did you mean max_attempts?",
    ]


def test_errors_inside_loops_fallbacks_and_templates_name_their_line() -> None:
    assert found(
        """
application: x
stages:
  - loop: l
    max_rounds: 0
    until: "{{ a }}"
    body:
      - llm: a
        on_error:
          tool: b
          call: 3
"""
    ) == [
        "line 5: stages[0].max_rounds: should be greater than or equal to 1",
        "line 11: stages[0].body[0].on_error.call: should be a valid string",
    ]


@pytest.mark.parametrize(
    ("source", "said"),
    [
        ("", "an application is a mapping"),
        ("- a", "an application is a mapping"),
        ("a: [", "line 1: is no YAML: "),
        ("a: b: c", "line 1: is no YAML: mapping values are not allowed here"),
        ("a: \x01", "is no YAML: "),
        ("a: *b", "line 1: is no YAML: found undefined alias 'b'"),
        ("a: &x [*x]", "nested too deep"),
        ("[" * 5000, "is no YAML: "),
        ("x" * (2**20 + 1), "is longer than"),
        ("application: x\nstages: [{llm: a, prompt: {{ input.x }}}]", "line 2: stages[0].prompt: put quotes around"),
        ("application: x\napplication: y\nstages: [{llm: a, prompt: hi}]", "line 2: application: is given twice"),
        ("application: x\nstages: [{llm: a, prompt: !secret hi}]", "the tag !secret has no meaning here"),
        ("application: x\nstages: [{llm: a, prompt: !!python/object:os.system hi}]", "has no meaning here"),
        ("application: x\nstages: 3", "line 2: stages: "),
        ("application: x\nstages: [3]", "line 2: stages[0]: "),
        ("application: x\nstages: []", "line 2: stages: must not be empty"),
        ("application: x", "stages: is missing"),
        ("application: x\nversion: '1'\nstages: [{llm: a, prompt: hi}]", "version: should be a valid integer"),
        ("application: x\nstages: [{llm: a, tool: b, prompt: hi}]", "stages[0].tool: there is no such field"),
        ("application: x\nstages: [{kind: llm, name: a, promp: hi}]", "did you mean prompt?"),
        ("application: x\nstages: [{llm: a, prompt: hi, foreach: {item: x}}]", "did you mean items?"),
        ("application: x\nstage: [{llm: a, prompt: hi}]", "there is no such field; did you mean stages?"),
        ("application: x\nstages: [{llm: a, prompt: hi, timeout: 30}]", "30 is no duration"),
        ("application: x\nstages: [{llm: a, messages: [{robot: hi}]}]", "messages[0].role: "),
        ("application: x\ninput: {a: strin}\nstages: [{llm: a, prompt: hi}]", "line 2: input: a: 'strin' is no type"),
        ("application: x\ninput: 3\nstages: [{llm: a, prompt: hi}]", "input: should be a valid dictionary"),
        ("application: x\nstages: [{llm: a, prompt: hi, temperature: .nan}]", "should be a finite number"),
    ],
)
def test_bad_texts_are_explained(source: str, said: str) -> None:
    assert any(said in each for each in found(source)), found(source)


def test_aliases_cannot_make_a_text_large() -> None:
    bomb = "a0: &a0 [x, x, x, x, x, x, x, x, x, x]\n"
    bomb += "".join(f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 10)}]\n" for n in range(1, 9))
    assert "too large" in found(bomb)[0]


def test_words_that_older_yaml_takes_for_something_else_stay_texts() -> None:
    app = parse_yaml(
        "application: x\n"
        "stages: [{tool: a, call: b.c, args: {a: yes, b: off, c: 1:30, d: 2024-01-01, e: true, f: 3, g: null}}]"
    )
    (stage,) = app.stages
    assert isinstance(stage, ToolStage)
    assert stage.args == {"a": "yes", "b": "off", "c": "1:30", "d": "2024-01-01", "e": True, "f": 3, "g": None}


def test_the_tools_of_a_cluster_can_be_checked() -> None:
    source = "application: x\nstages:\n  - tool: a\n    call: web.serch"
    assert parse_yaml(source).application == "x"
    with pytest.raises(ApplicationError, match=r"line 4: .*no executor offers the tool 'web.serch'"):
        parse_yaml(source, known_tools={"web.search"})
