"""Messages of LangChain as the contract's, and tools for models that know nothing of tools."""

from __future__ import annotations

import json
from typing import Any

import jsonschema
import pytest
from langchain_core.messages import (
    AIMessage,
    ChatMessage,
    FunctionMessage,
    HumanMessage,
    RemoveMessage,
    SystemMessage,
    ToolMessage,
)

from llmsched.errors import InvalidRequestError
from llmsched.langchain.messages import answer_of, schema_for, to_chat, with_tools

CALL = {"name": "add", "args": {"a": 1}, "id": "c1", "type": "tool_call"}
ADD = {
    "name": "add",
    "description": "Adds.",
    "parameters": {"type": "object", "properties": {"a": {"type": "integer"}}, "required": ["a"]},
}
TREE = {
    "name": "grow",
    "parameters": {
        "$defs": {"Leaf": {"type": "object", "properties": {"n": {"type": "integer"}}, "required": ["n"]}},
        "type": "object",
        "properties": {"leaf": {"$ref": "#/$defs/Leaf"}},
        "required": ["leaf"],
    },
}


def test_a_conversation_with_tools_is_a_chat() -> None:
    chat = to_chat(
        [
            SystemMessage("Be brief."),
            HumanMessage([{"type": "text", "text": "1 and "}, "2?"]),
            AIMessage("", tool_calls=[CALL, {**CALL, "id": "c2"}]),
            ToolMessage("3", name="add", tool_call_id="c1"),
            ToolMessage("no such number", tool_call_id="c2", status="error"),
            AIMessage("Adding.", tool_calls=[CALL]),
            ToolMessage("", name="add", tool_call_id="c1"),
            AIMessage(""),
            ChatMessage("Done?", role="user"),
        ]
    )
    called = '{"tool_calls": [{"name": "add", "args": {"a": 1}}'
    assert [tuple(each.values()) for each in chat] == [
        ("system", "Be brief."),
        ("user", "1 and 2?"),
        ("assistant", called + ', {"name": "add", "args": {"a": 1}}]}'),
        ("user", "Tool add gave: 3\nTool c2 failed: no such number"),
        ("assistant", f"Adding.\n{called}]}}"),
        ("user", "Tool add gave: "),
        ("user", "Done?"),
    ]


def test_everything_that_cannot_be_sent_is_named() -> None:
    picture = {"type": "image_url", "image_url": {"url": "data:"}}
    with pytest.raises(InvalidRequestError) as caught:
        to_chat([HumanMessage([picture]), HumanMessage("fine"), RemoveMessage("x"), FunctionMessage("1", name="f")])
    assert [str(each) for each in caught.value.violations] == [
        "messages[0].content[0]: only texts can be sent, not 'image_url'",
        "messages[2]: RemoveMessage has no role here",
        "messages[3]: FunctionMessage has no role here",
    ]


def test_tools_are_told_in_the_one_system_message() -> None:
    alone = with_tools([{"role": "user", "content": "hi"}], [ADD], may_answer=True)
    assert [each["role"] for each in alone] == ["system", "user"]
    assert "- add: Adds." in alone[0]["content"]
    assert '"answer"' in alone[0]["content"]
    joined = with_tools([{"role": "system", "content": "Be brief."}], [ADD], may_answer=False)
    assert len(joined) == 1
    assert joined[0]["content"].startswith("Be brief.\n\nYou can call tools.")
    assert '"answer"' not in joined[0]["content"]


@pytest.mark.parametrize(
    ("answer", "fits", "fits_calls_only"),
    [
        ({"answer": "3"}, True, False),
        ({"tool_calls": [{"name": "add", "args": {"a": 1}}]}, True, True),
        ({"tool_calls": [{"name": "grow", "args": {"leaf": {"n": 1}}}]}, True, True),
        ({"tool_calls": [{"name": "grow", "args": {"leaf": {}}}]}, False, False),
        ({"tool_calls": [{"name": "add", "args": {}}]}, False, False),
        ({"tool_calls": [{"name": "other", "args": {"a": 1}}]}, False, False),
        ({"tool_calls": []}, False, False),
        ({"answer": "3", "tool_calls": []}, False, False),
    ],
)
def test_answers_are_constrained(answer: Any, fits: bool, fits_calls_only: bool) -> None:
    for may_answer, expected in ((True, fits), (False, fits_calls_only)):
        schema = schema_for([ADD, TREE], may_answer=may_answer)
        jsonschema.Draft202012Validator.check_schema(schema)
        assert jsonschema.Draft202012Validator(schema).is_valid(answer) is expected


def test_calls_are_read() -> None:
    text, calls = answer_of('{"tool_calls": [{"name": "add", "args": {"a": 1}}, {"name": "add", "args": {}}]}', [ADD])
    assert text == ""
    assert [(call["name"], call["args"]) for call in calls] == [("add", {"a": 1}), ("add", {})]
    assert calls[0]["id"] != calls[1]["id"]
    assert answer_of('{"answer": "three"}', [ADD]) == ("three", [])


@pytest.mark.parametrize(
    "text",
    [
        "I would add them.",
        '{"tool_calls": [{"name": "add", "args": {"a": 1',
        '{"tool_calls": [{"name": "other", "args": {}}]}',
        '{"tool_calls": [{"name": "add", "args": [1]}]}',
        '{"tool_calls": [{"args": {}}]}',
        '{"tool_calls": ["add"]}',
        '{"tool_calls": []}',
        '{"answer": 3}',
        "[" * 100_000,
        "null",
        json.dumps("text"),
    ],
)
def test_a_bad_answer_is_plain_text(text: str) -> None:
    assert answer_of(text, [ADD]) == (text, [])
