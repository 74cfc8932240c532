"""Running a call as a model wrote it: everything that can be wrong with it becomes a sentence, never an error."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from typing import Any

from llmsched.applications.answers import sendable
from llmsched.applications.taskmatrix.catalogue import CATALOGUE
from llmsched.tools import InvalidArgumentsError, ToolSpec

_RESULT = re.compile(r"<(\d)>")
#: Characters of a result as JSON.
_LONGEST = 10_000
#: Larger whole numbers are given as text, as JSON readers cannot be trusted with them.
_LARGEST = 2**53


class BadCall(ValueError):
    """The call cannot be made; the message says why."""


def run_call(answer: str, offered: Sequence[str], results: Mapping[int, Any]) -> dict[str, Any]:
    """Make the call that an answer asks for: the function, its arguments, and its result or an error.

    `offered` are names of functions, which the answer chooses from by number; `results` are those of earlier steps.
    """
    call: dict[str, Any] = {"function": None, "arguments": [], "result": None, "error": None}
    try:
        number, call["arguments"] = _read(answer)
        if not 1 <= number <= len(offered):
            raise BadCall(f"there is no function {number}, only 1 to {len(offered)}")
        spec = CATALOGUE.get(offered[number - 1])
        call["function"] = spec.name
        call["result"] = _checked(spec.call(_bound(spec, [_filled(each, results) for each in call["arguments"]])))
    except (BadCall, InvalidArgumentsError) as error:
        call["error"] = str(error)
    except Exception as error:  # whatever a function raises is what came of the call
        call["error"] = f"{offered[number - 1]}: {error or type(error).__name__}"
    return call


def _read(answer: str) -> tuple[int, list[str]]:
    """The number of the function, and the arguments in order. Raises BadCall."""
    try:
        value = json.loads(answer)
    except (ValueError, RecursionError):
        raise BadCall("the answer is no complete JSON; it may have been cut off at the token limit") from None
    number = value.get("function") if isinstance(value, dict) else None
    arguments = value.get("arguments") if isinstance(value, dict) else None
    if not isinstance(number, int) or not isinstance(arguments, list):
        raise BadCall('the answer must have "function", a number, and "arguments", a list')
    return number, [sendable(each) if isinstance(each, str) else json.dumps(each) for each in arguments]


def _filled(argument: str, results: Mapping[int, Any]) -> Any:
    """An argument, or the result of a step that it stands for. Raises BadCall."""
    mark = _RESULT.fullmatch(argument.strip())
    if mark is None:
        return argument
    if int(mark[1]) not in results:
        raise BadCall(f"there is no result of step {mark[1]} to use")
    return results[int(mark[1])]


def _bound(spec: ToolSpec, arguments: Sequence[Any]) -> dict[str, Any]:
    """Arguments by name, read as what the function takes. Raises BadCall."""
    properties = spec.args_schema["properties"]
    if len(arguments) > len(properties):
        raise BadCall(f"{spec.name} takes {len(properties)} arguments, not {len(arguments)}")
    return {
        name: _as_type(value, schema.get("type"))
        for (name, schema), value in zip(properties.items(), arguments, strict=False)
    }


def _as_type(value: Any, kind: str | None) -> Any:
    if kind == "string" and not isinstance(value, str):
        return json.dumps(value)
    if kind == "array" and isinstance(value, str):
        try:
            read = json.loads(value)
        except ValueError:
            read = None
        return read if isinstance(read, list) else [part.strip() for part in value.split(",")]
    return value


def _checked(result: Any) -> Any:
    """The result as JSON. Raises BadCall."""
    result = _plain(result)
    if len(json.dumps(result, allow_nan=False)) > _LONGEST:
        raise BadCall("the result is too long")
    return result


def _plain(value: Any) -> Any:
    if isinstance(value, list):
        return [_plain(each) for each in value]
    if isinstance(value, dict):
        return {sendable(str(key)): _plain(each) for key, each in value.items()}
    if isinstance(value, int) and abs(value) > _LARGEST:
        return str(value)
    return sendable(value)
