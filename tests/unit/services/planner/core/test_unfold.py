from __future__ import annotations

import pytest

from llmsched.application import Message, Sampling
from llmsched.application.parse import build_unchecked
from services.planner.core.model import Failure, Limits, LlmCall, StageKind, StageSpec, Task, ToolCall, Unfolding
from tests.unit.services.planner.core.jobs import (
    all_args,
    application,
    ask,
    failed,
    llm,
    message,
    only_prompt,
    reason,
    skipped,
    tool,
)

TOPIC = "{topic: string, limit: optional integer}"


def test_a_prompt_is_rendered_and_its_tokens_estimated() -> None:
    app = application(
        '- {llm: a, prompt: "About {{ input.topic }}.", model: tiny, max_tokens: 5, temperature: 0, stop: ["\\n"]}',
        input=TOPIC,
    )
    call = LlmCall(prompt="About rivers.", model="tiny", sampling=Sampling(max_tokens=5, temperature=0, stop=("\n",)))
    assert ask(app, "a", job_input={"topic": "rivers"}) == Unfolding(tasks=(Task(payload=call, prompt_tokens=4),))


def test_a_chat_is_rendered_and_empty_messages_are_left_out() -> None:
    app = application(
        """
        - llm: a
          messages: [{system: "{{ 'Be brief.' if input.limit else '' }}"}, {user: "{{ input.topic }}?"}]
        """,
        input=TOPIC,
    )
    (brief,) = ask(app, "a", job_input={"topic": "rivers", "limit": 3}).tasks
    assert isinstance(brief.payload, LlmCall)
    assert brief.payload.messages == (
        Message(role="system", content="Be brief."),
        Message(role="user", content="rivers?"),
    )
    assert brief.prompt_tokens == (3 + 4) + (2 + 4)
    (long,) = ask(app, "a", job_input={"topic": "rivers"}).tasks
    assert isinstance(long.payload, LlmCall)
    assert long.payload.messages == (Message(role="user", content="rivers?"),)


def test_a_prompt_that_renders_to_nothing_is_an_error() -> None:
    app = application('- {llm: a, prompt: "{{ input.limit }}"}', input=TOPIC)
    assert message(ask(app, "a", job_input={"topic": "x"})) == "stage a: its prompt is empty"


def test_arguments_keep_the_type_of_a_single_expression_and_the_rest_is_text() -> None:
    app = application(
        """
        - tool: a
          call: web.search
          args:
            whole: "{{ input.values }}"
            first: " {{ input.values[0] }} "
            text: "{{ input.values[0] }} of {{ input.values }}"
            plain: "no braces"
            deep: [{n: "{{ input.values|length }}", flag: true, none: null}]
        """,
        input="{values: [any]}",
    )
    assert all_args(ask(app, "a", job_input={"values": [1, {"k": None}]})) == [
        {
            "whole": [1, {"k": None}],
            "first": 1,
            "text": '1 of [1, {"k": null}]',
            "plain": "no braces",
            "deep": [{"n": 2, "flag": True, "none": None}],
        }
    ]


def test_the_answer_of_a_model_has_text_json_and_finish_reason() -> None:
    app = application("""
        - {llm: a, prompt: hi, json_schema: {type: object}}
        - llm: b
          prompt: hi
        - tool: c
          call: web.search
          args:
            text: "{{ a.text }}"
            json: "{{ a.json.k }}"
            whole: "{{ a }}"
            raw: "{{ b }}"
            inside: "<{{ a }}>"
            why: "{{ b.finish_reason }}"
            upper: "{{ b.upper() }}"
    """)
    outputs = {"a": llm('{"k": [1]}'), "b": llm("Hé", finish_reason="length")}
    assert all_args(ask(app, "c", outputs)) == [
        {
            "text": '{"k": [1]}',
            "json": [1],
            "whole": {"k": [1]},
            "raw": "Hé",
            "inside": '<{"k": [1]}>',
            "why": "length",
            "upper": "HÉ",
        }
    ]


@pytest.mark.parametrize(
    ("answer", "finish_reason", "said"),
    [
        ('{"k": 1', "length", "allow more"),
        ('{"k": 1', "stop", "is no JSON"),
        ('{"k": NaN}', "stop", "NaN is not JSON"),
        ('{"k": "x"}', "stop", "$.k: 'x' is not of type 'integer'"),
        ("[" * 100_000, "stop", "is no JSON"),
    ],
)
def test_json_that_a_model_got_wrong_is_named_when_it_is_used(answer: str, finish_reason: str, said: str) -> None:
    app = application("""
        - {llm: a, prompt: hi, json_schema: {type: object, properties: {k: {type: integer}}}}
        - {tool: b, call: web.search, args: {q: "{{ a.json }}"}}
        - {tool: c, call: web.search, args: {q: "{{ a.text|length }}"}}
    """)
    outputs = {"a": llm(answer, finish_reason=finish_reason)}
    failure = ask(app, "b", outputs)
    assert reason(failure) == "INVALID_JSON_OUTPUT"
    assert said in message(failure)
    assert all_args(ask(app, "c", outputs)) == [{"q": len(answer)}]


def test_what_a_model_or_a_tool_wrote_is_never_a_template() -> None:
    app = application(
        """
        - {llm: a, prompt: hi}
        - {tool: b, call: web.search}
        - {tool: c, call: web.search, args: {whole: "{{ a }}", text: "I: {{ a }} {{ b.x }}", b: "{{ b }}"}}
        """,
        input="{secret: string}",
    )
    outputs = {"a": llm("{{ input.secret }}{% for x in range(9) %}"), "b": tool({"x": "{{ input.secret }}"})}
    (args,) = all_args(ask(app, "c", outputs, job_input={"secret": "s3cr3t"}))
    assert args == {
        "whole": "{{ input.secret }}{% for x in range(9) %}",
        "text": "I: {{ input.secret }}{% for x in range(9) %} {{ input.secret }}",
        "b": {"x": "{{ input.secret }}"},
    }


def test_rendering_does_not_depend_on_the_order_of_keys_on_the_wire() -> None:
    app = application(
        """
        - {tool: a, call: web.search}
        - {llm: b, prompt: "{{ a }}{% for k in a %}{{ k }}{% endfor %}{{ input.o }}"}
        """,
        input="{o: object}",
    )
    one = ask(app, "b", {"a": tool({"x": 1, "y": {"p": 1, "q": 2}})}, job_input={"o": {"c": 1, "d": 2}})
    two = ask(app, "b", {"a": tool({"y": {"q": 2, "p": 1}, "x": 1})}, job_input={"o": {"d": 2, "c": 1}})
    assert one == two
    assert only_prompt(one) == '{"x": 1, "y": {"p": 1, "q": 2}}xy{"c": 1, "d": 2}'


# Conditions


@pytest.mark.parametrize(
    ("condition", "runs"),
    [
        ("{{ input.limit }}", False),
        ("{{ input.topic }}", True),
        ("{{ 'No' }}", False),
        ("{{ ' FALSE ' }}", False),
        ("{{ a == 'yes' }}", True),
        ("{{ a }}", True),
        ("{{ [] }}", False),
        ("{{ 0 }}", False),
        ("{{ [1]|select('eq', 2) }}", False),
        ("{{ a and not input.limit }}", True),
    ],
)
def test_a_stage_whose_condition_is_false_is_skipped(condition: str, runs: bool) -> None:
    app = application(f'- {{llm: a, prompt: hi}}\n- {{llm: b, prompt: hi, when: "{condition}"}}', input=TOPIC)
    unfolding = ask(app, "b", {"a": llm("yes")}, job_input={"topic": "x"})
    assert unfolding.skipped is not runs
    assert len(unfolding.tasks) == runs


def test_what_comes_after_a_skipped_stage_sees_nothing_there() -> None:
    app = application("""
        - {llm: a, prompt: hi, when: "{{ false }}", json_schema: {type: object}}
        - tool: b
          call: web.search
          args:
            whole: "{{ a }}"
            part: "{{ a.json.deep[0].er }}"
            text: "<{{ a.text }}>"
            other: "{{ a.text or 'none' }}"
            list: "{% for x in a.json %}x{% endfor %}"
            known: "{{ a is defined }}"
            size: "{{ a|length }}"
        - {llm: c, prompt: "{{ item }}", foreach: "{{ a.json }}"}
    """)
    assert all_args(ask(app, "b", {"a": skipped()})) == [
        {"whole": None, "part": None, "text": "<>", "other": "none", "list": "", "known": False, "size": 0}
    ]
    assert ask(app, "c", {"a": skipped()}) == Unfolding()


def test_an_optional_input_may_be_absent_and_an_unknown_one_may_not() -> None:
    app = application(
        '- {tool: a, call: web.search, args: {whole: "{{ input }}", limit: "{{ input.limit }}"}}', input=TOPIC
    )
    assert all_args(ask(app, "a", job_input={"topic": "x"})) == [{"whole": {"topic": "x"}, "limit": None}]
    free = application('- {tool: a, call: web.search, args: {q: "{{ input.q }}"}}', input="{type: object}")
    assert "there is no 'q' among 'topic'" in message(ask(free, "a", job_input={"topic": "x"}))
    odd = application(
        '- {tool: a, call: web.search, args: {q: "{{ input.q }}"}}', input="{type: object, patternProperties: {}}"
    )
    assert reason(ask(odd, "a")) == "TEMPLATE_ERROR"


# Fan-out


FAN_OUT = """
    - {llm: split, prompt: hi, json_schema: {type: array}}
    - tool: find
      call: web.search
      foreach: {items: "{{ split }}", as: word}
      args: {q: "{{ word }}", n: "{{ index }}"}
    - {llm: sum, prompt: "{{ find|join(';') }} {{ find[0] }} {{ find|length }}"}
"""


def test_a_fan_out_has_one_task_for_each_element() -> None:
    app = application(FAN_OUT)
    unfolding = ask(app, "find", {"split": llm('["a", {"b": 1}]')})
    assert all_args(unfolding) == [{"q": "a", "n": 0}, {"q": {"b": 1}, "n": 1}]
    outputs = {"split": llm("[]"), "find": tool("A", ["B"])}
    assert only_prompt(ask(app, "sum", outputs)) == 'A;["B"] A 2'


def test_an_empty_list_makes_no_tasks_and_an_empty_output() -> None:
    app = application(FAN_OUT.replace("{{ find[0] }}", ""))
    assert ask(app, "find", {"split": llm("[]")}) == Unfolding()
    assert only_prompt(ask(app, "sum", {"split": llm("[]"), "find": tool()})) == "  0"


def test_a_list_that_is_too_long_is_refused() -> None:
    app = application(FAN_OUT)
    outputs = {"split": llm("[1, 2, 3]")}
    assert len(ask(app, "find", outputs, limits=Limits(max_width=3)).tasks) == 3
    failure = ask(app, "find", outputs, limits=Limits(max_width=2))
    assert reason(failure) == "TOO_WIDE"
    assert "3 elements; 2 are allowed" in message(failure)


@pytest.mark.parametrize(("items", "said"), [("{{ 'a, b' }}", "json_schema"), ("{{ 3 }}", "must be a list")])
def test_what_is_no_list_cannot_be_fanned_out(items: str, said: str) -> None:
    app = application(f'- {{llm: a, prompt: hi, foreach: "{items}"}}')
    assert reason(ask(app, "a")) == "TEMPLATE_ERROR"
    assert said in message(ask(app, "a"))


# Fallbacks


FALLBACK = application("""
    - {llm: before, prompt: hi}
    - llm: a
      prompt: "{{ before }}"
      on_error:
        tool: b
        call: notes.read
        timeout: 2s
        args: {why: "{{ error.reason }}: {{ error.message }}"}
        on_error: {llm: c, prompt: "{{ error.message }}"}
    - {llm: after, prompt: "{{ a }}"}
""")
TIMEOUT = Failure(reason="TIMEOUT", message="took too long")


def test_a_stage_that_failed_gets_its_fallback() -> None:
    unfolding = ask(FALLBACK, "a", {"before": llm()}, unfolding=1, failure=TIMEOUT)
    assert unfolding == Unfolding(
        stages=(
            StageSpec(
                stage_id="a!",
                name="a!",
                kind=StageKind.TOOL,
                parents=("before",),
                requirement="tool:notes.read",
                position=2,
                timeout_seconds=2.0,
                recoverable=True,
                generated_by="a",
            ),
        )
    )


def test_a_fallback_sees_the_error_and_its_output_stands_in() -> None:
    outputs = {"before": llm(), "a": failed()}
    assert all_args(ask(FALLBACK, "a!", outputs)) == [{"why": "TIMEOUT: took too long"}]
    assert only_prompt(ask(FALLBACK, "after", {**outputs, "a!": tool("saved")})) == "saved"


def test_a_fallback_can_have_a_fallback() -> None:
    outputs = {"before": llm(), "a": failed()}
    (second,) = ask(FALLBACK, "a!", outputs, failure=TIMEOUT).stages
    assert (second.stage_id, second.position, second.generated_by, second.recoverable) == ("a!!", 3, "a!", False)
    outputs["a!"] = failed(message="worse")
    assert only_prompt(ask(FALLBACK, "a!!", outputs)) == "worse"
    outputs["a!!"] = llm("in the end")
    assert only_prompt(ask(FALLBACK, "after", outputs)) == "in the end"
    assert ask(FALLBACK, "a!!", outputs, failure=TIMEOUT) == Unfolding(failure=TIMEOUT)


def test_a_fallback_can_be_skipped() -> None:
    app = application("""
        - {llm: a, prompt: hi, on_error: {llm: b, prompt: hi, when: "{{ error.reason == 'TIMEOUT' }}"}}
        - {tool: after, call: web.search, args: {q: "{{ a }}"}}
    """)
    assert ask(app, "a!", {"a": failed(reason="OTHER")}).skipped
    assert not ask(app, "a!", {"a": failed()}).skipped
    assert all_args(ask(app, "after", {"a": failed(), "a!": skipped()})) == [{"q": None}]


def test_a_fallback_whose_error_was_not_stored_still_runs() -> None:
    outputs = {"before": llm()}
    assert all_args(ask(FALLBACK, "a!", outputs)) == [{"why": "UNKNOWN: "}]


def test_a_stage_that_failed_without_a_fallback_is_undefined() -> None:
    app = application('- {llm: a, prompt: hi}\n- {llm: b, prompt: "{{ a }}"}')
    assert "'a' is undefined" in message(ask(app, "b", {"a": failed()}))
    assert "'a' is undefined" in message(ask(app, "b", {}))


# The job's output


def test_the_output_is_rendered_when_all_is_done() -> None:
    app = application(
        '- {llm: a, prompt: hi}\n- {tool: b, call: web.search, args: {q: "{{ a }}"}}',
        output='{text: "{{ a.text }}", list: ["{{ b.n }}", 7], note: "n is {{ b.n }}"}',
    )
    unfolding = ask(app, "$output", {"a": llm("A"), "b": tool({"n": 3})})
    assert unfolding == Unfolding(output={"text": "A", "list": [3, 7], "note": "n is 3"})


def test_without_an_output_the_ends_of_the_graph_are_it() -> None:
    app = application("""
        - {llm: a, prompt: hi}
        - {llm: b, prompt: "{{ a }}", json_schema: {type: object}}
        - {llm: c, prompt: "{{ a }}", when: "{{ false }}"}
        - {tool: d, call: web.search, foreach: "{{ [1, 2] }}", args: {q: "{{ a }}"}}
        - {llm: e, prompt: hi}
    """)
    outputs = {"a": llm("A"), "b": llm('{"k": 1}'), "c": skipped(), "d": tool(1, 2), "e": llm("E")}
    assert ask(app, "$output", outputs).output == {"b": {"k": 1}, "c": None, "d": [1, 2], "e": "E"}


def test_an_output_that_cannot_be_rendered_fails_the_job() -> None:
    app = application("- {tool: a, call: web.search}", output='{x: "{{ a.n }}"}')
    failure = ask(app, "$output", {"a": tool({"m": 1})}).failure
    assert failure is not None
    assert failure.reason == "TEMPLATE_ERROR"
    assert failure.message == "stage $output, output.x: there is no 'n' among 'm'; in {{ a.n }}"
    assert dict(failure.metadata) == {
        "stage": "$output",
        "field": "output.x",
        "expression": "{{ a.n }}",
        "problem": "there is no 'n' among 'm'",
    }


# Errors and limits


@pytest.mark.parametrize(
    ("prompt", "said"),
    [
        ("one\ntwo {{ a.n }}", "there is no 'n' among 'm'; in two {{ a.n }}"),
        ("{{ a.m.x }}", "a number has no 'x'"),
        ("{{ a.m + 'x' }}", "unsupported operand"),
        ("{{ a.m // 0 }}", "by zero"),
        ("{{ a.m.__class__ }}", "a number has no '__class__'"),
        ("{{ a['__class__'] }}", "there is no '__class__'"),
        ("{{ range(10 ** 1) }}x", "Pow"),
        ("{% for i in range(99999999) %}{% endfor %}", "Range too big"),
        ("{% for i in range(99999) %}{% for j in range(99999) %}{% endfor %}{% endfor %}", "too many steps"),
        ("{{ 9007199254740991 + 9007199254740991 }}", "beyond 2^53"),
        ("{{ 'x' * 99999999 }}", "works on numbers only"),
        ("{{ a.keys }}", "is not a JSON value"),
        ("{{ 'inf'|float }}", "is not a JSON value"),
    ],
)
def test_errors_in_templates_say_where_and_what(prompt: str, said: str) -> None:
    quoted = prompt.replace("\n", "\\n")
    try:
        app = application(f'- {{tool: a, call: web.search}}\n- {{llm: b, prompt: "{quoted}", after: [a]}}')
    except ValueError as error:  # found before any job runs
        assert said in str(error)  # noqa: PT017
        return
    failure = ask(app, "b", {"a": tool({"m": 1})})
    assert reason(failure) == "TEMPLATE_ERROR"
    assert message(failure).startswith("stage b, prompt: ")
    assert said in message(failure)


def test_conditions_and_lists_report_errors_too() -> None:
    app = application("""
        - {tool: a, call: web.search}
        - {llm: b, prompt: hi, when: "{{ a.n }}"}
        - {llm: c, prompt: hi, foreach: "{{ a.n }}"}
    """)
    assert message(ask(app, "b", {"a": tool({})})).startswith("stage b, when: there is no 'n' in an empty object")
    assert message(ask(app, "c", {"a": tool({})})).startswith("stage c, foreach.items: ")


def test_a_payload_that_is_too_large_is_refused_in_bytes() -> None:
    app = application('- {tool: a, call: web.search, args: {q: "{{ input.topic }}"}}', input=TOPIC)
    small = Limits(max_payload_bytes=30)
    assert ask(app, "a", job_input={"topic": "x" * 22}, limits=small).tasks
    failure = ask(app, "a", job_input={"topic": "é" * 22}, limits=small)
    assert reason(failure) == "PAYLOAD_TOO_LARGE"
    assert "takes 52 bytes; 30 are allowed" in message(failure)


def test_a_text_that_grows_without_end_is_stopped_while_it_grows() -> None:
    app = application('- {llm: a, prompt: "{% for i in range(99999) %}{{ input.topic }}{% endfor %}"}', input=TOPIC)
    assert reason(ask(app, "a", job_input={"topic": "x" * 10_000})) == "PAYLOAD_TOO_LARGE"


def test_all_tasks_of_a_stage_together_have_a_limit() -> None:
    app = application(
        '- {tool: a, call: web.search, args: {q: "{{ item }}"}, foreach: "{{ input.xs }}"}', input="{xs: [any]}"
    )
    limits = Limits(max_stage_bytes=40)
    assert ask(app, "a", job_input={"xs": ["abc"] * 3}, limits=limits).tasks
    failure = ask(app, "a", job_input={"xs": ["abc"] * 4}, limits=limits)
    assert reason(failure) == "PAYLOAD_TOO_LARGE"
    assert "all its tasks together" in message(failure)


def test_an_output_that_is_too_large_is_refused() -> None:
    app = application("- {tool: a, call: web.search}", output='"{{ a }}"')
    assert (
        reason(ask(app, "$output", {"a": tool("x" * 50)}, limits=Limits(max_payload_bytes=50))) == "PAYLOAD_TOO_LARGE"
    )


def test_text_that_is_no_unicode_is_refused() -> None:
    app = application("""
        - {llm: a, prompt: hi, json_schema: {type: string}}
        - {tool: b, call: web.search, args: {q: "{{ a.json }}"}}
    """)
    assert "lone surrogate" in message(ask(app, "b", {"a": llm('"\\ud800"')}))


def test_unicode_survives() -> None:
    app = application('- {llm: a, prompt: "→ {{ input.topic }} 日本"}', input=TOPIC)
    assert only_prompt(ask(app, "a", job_input={"topic": "𝄞 é"})) == "→ 𝄞 é 日本"


def test_values_nested_too_deep_for_the_wire_are_refused() -> None:
    app = application("""
        - {llm: a, prompt: hi, json_schema: {}}
        - {tool: b, call: web.search, args: {q: "{{ a.json }}"}}
    """)
    assert ask(app, "b", {"a": llm("[" * 28 + "]" * 28)}).tasks
    assert "nested more than 28 deep" in message(ask(app, "b", {"a": llm("[" * 29 + "]" * 29)}))


def test_a_name_that_validation_would_refuse_is_undefined() -> None:
    app = build_unchecked({"application": "x", "stages": [{"kind": "llm", "name": "a", "prompt": "hi {{ nobody }}"}]})
    assert message(ask(app, "a")) == "stage a, prompt: 'nobody' is undefined; in hi {{ nobody }}"


def test_a_stage_that_the_application_does_not_have_is_an_error_of_the_caller() -> None:
    app = application("- {llm: a, prompt: hi}")
    with pytest.raises(LookupError):
        ask(app, "b")


def test_an_answer_gives_no_tool_calls_and_a_tool_no_tokens() -> None:
    app = application("- {tool: a, call: web.search, args: {q: 1}}")
    assert ask(app, "a").tasks == (Task(payload=ToolCall(tool="web.search", args={"q": 1}), prompt_tokens=0),)
