"""LangChain's messages as the contract's, and tools for models that know nothing of tools.

The tools are described in the system prompt, and the answer is constrained by a JSON schema: either calls of tools, or
an answer. What went before is written in the same form, so that the model sees one language.
"""

from __future__ import annotations

import json
import uuid
from collections.abc import Mapping, Sequence
from typing import Any

from langchain_core.messages import AIMessage, BaseMessage, ChatMessage, HumanMessage, SystemMessage, ToolMessage
from langchain_core.messages.tool import ToolCall
from langchain_core.utils.json_schema import dereference_refs

from llmsched.errors import InvalidRequestError, Violation

__all__ = ["answer_of", "schema_for", "to_chat", "with_tools"]

Tool = Mapping[str, Any]  #: name, description and parameters, as in `{"type": "function", "function": …}`

_INSTRUCTIONS = """\
You can call tools. Answer with one JSON object and nothing else: either
{{"tool_calls": [{{"name": "…", "args": {{…}}}}]}} to call one or more tools{or_answer}
Tools:
{tools}"""
_OR_ANSWER = ', or\n{"answer": "…"} once you can answer.'


def to_chat(messages: Sequence[BaseMessage]) -> list[dict[str, str]]:
    """The messages with roles that every model knows. Raises InvalidRequestError with every violation."""
    chat: list[dict[str, str]] = []
    problems: list[Violation] = []
    was_result = False
    for place, message in enumerate(messages):
        role, text = _said(message, f"messages[{place}]", problems)
        is_result = isinstance(message, ToolMessage)
        if is_result and was_result:
            # Most models have learned that turns alternate.
            chat[-1]["content"] += f"\n{text}"
        elif text:
            chat.append({"role": role, "content": text})
        was_result = is_result
    if problems:
        raise InvalidRequestError(violations=problems)
    return chat


def _said(message: BaseMessage, where: str, problems: list[Violation]) -> tuple[str, str]:
    text = _text(message.content, where, problems)
    match message:
        case SystemMessage():
            return "system", text
        case HumanMessage():
            return "user", text
        case AIMessage(tool_calls=[_, *_] as calls):
            written = [{"name": call["name"], "args": call["args"]} for call in calls]
            called = json.dumps({"tool_calls": written}, ensure_ascii=False)
            return "assistant", f"{text}\n{called}" if text else called
        case AIMessage():
            return "assistant", text
        case ToolMessage():
            failed = "failed" if message.status == "error" else "gave"
            return "user", f"Tool {message.name or message.tool_call_id} {failed}: {text}"
        case ChatMessage(role="system" | "user" | "assistant"):
            return message.role, text
    problems.append(Violation(path=where, message=f"{type(message).__name__} has no role here"))
    return "", ""


def _text(content: str | list[Any], where: str, problems: list[Violation]) -> str:
    if isinstance(content, str):
        return content
    parts = []
    for place, block in enumerate(content):
        if isinstance(block, str):
            parts.append(block)
        elif block.get("type") == "text":
            parts.append(str(block.get("text", "")))
        elif block.get("type") not in ("tool_use", "tool_call"):  # which tool_calls tell again
            problem = f"only texts can be sent, not {block.get('type')!r}"
            problems.append(Violation(path=f"{where}.content[{place}]", message=problem))
    return "".join(parts)


def with_tools(chat: Sequence[dict[str, str]], tools: Sequence[Tool], *, may_answer: bool) -> list[dict[str, str]]:
    """The chat with the tools in its system prompt."""
    described = "\n".join(
        f"- {tool['name']}: {tool.get('description', '')}\n  args: {json.dumps(_parameters(tool), ensure_ascii=False)}"
        for tool in tools
    )
    text = _INSTRUCTIONS.format(or_answer=_OR_ANSWER if may_answer else ".", tools=described)
    if chat and chat[0]["role"] == "system":
        # Many models take one system message, and only in the first place.
        return [{"role": "system", "content": f"{chat[0]['content']}\n\n{text}"}, *chat[1:]]
    return [{"role": "system", "content": text}, *chat]


def schema_for(tools: Sequence[Tool], *, may_answer: bool, several: bool = True) -> dict[str, Any]:
    """What the answer must be: calls of these tools (`several` at once, or one), or an answer."""
    calls = [_object(name={"const": tool["name"]}, args=_parameters(tool)) for tool in tools]
    most = {} if several else {"maxItems": 1}
    calling = _object(tool_calls={"type": "array", "minItems": 1, **most, "items": {"anyOf": calls}})
    return {"anyOf": [calling, _object(answer={"type": "string"})]} if may_answer else calling


def answer_of(text: str, tools: Sequence[Tool]) -> tuple[str, list[ToolCall]]:
    """The answer's text and its calls. What is in neither form is plain text: models are not to be trusted."""
    try:
        found = json.loads(text)
    except (ValueError, RecursionError):
        return text, []
    match found:
        case {"answer": str(answer)}:
            return answer, []
        case {"tool_calls": [_, *_] as calls}:
            known = {tool["name"] for tool in tools}
            if all(isinstance(call, dict) and _is_call(call, known) for call in calls):
                return "", [_tool_call(call) for call in calls]
    return text, []


def _is_call(call: Mapping[str, Any], known: set[str]) -> bool:
    return call.get("name") in known and isinstance(call.get("args"), dict)


def _tool_call(call: Mapping[str, Any]) -> ToolCall:
    return ToolCall(name=call["name"], args=call["args"], id=f"call_{uuid.uuid4().hex}", type="tool_call")


def _parameters(tool: Tool) -> dict[str, Any]:
    parameters = dict(tool.get("parameters") or {"type": "object", "properties": {}})
    # References mean the root of a document, where a tool's schema is not any more.
    return dereference_refs(parameters) if "$defs" in parameters or "definitions" in parameters else parameters


def _object(**properties: Any) -> dict[str, Any]:
    return {
        "type": "object",
        "properties": properties,
        "required": list(properties),
        "additionalProperties": False,
    }
