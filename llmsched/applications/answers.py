"""Reading what a model answered where JSON was wanted: whatever comes is taken, and what was wrong is said.

An answer may have been cut off at `max_tokens`, which even an engine that keeps to a schema cannot help. What stands
there until then is kept: an application goes on with less, and reports it.
"""

from __future__ import annotations

import json
import re
from typing import Any

__all__ = ["in_words", "read_list", "read_object", "sendable"]

#: What a failed call says around what went wrong: `TOOL_RAISED: math.evaluate: ValueError: … (file.py:3, in f: …)`.
_PLACE = re.compile(r" \(\w+\.py:\d+, in .*", re.DOTALL)
_ERROR_TYPE = re.compile(r"^(?:[A-Z_]+: )?(?:[\w.]+: )?\w+Error: ")

_CLOSING = {"{": "}", "[": "]"}
_SHOWN = 60


def read_object(text: str) -> tuple[dict[str, Any], str | None]:
    """The JSON object in an answer, empty if there is none; and what is wrong with the answer, in plain words."""
    value, problem = _read(text)
    if isinstance(value, dict):
        return value, problem
    return {}, problem or f"the model answered with something else than an object: {_short(text)}"


def read_list(text: str) -> tuple[list[Any], str | None]:
    """The JSON list in an answer, empty if there is none; and what is wrong with the answer, in plain words."""
    value, problem = _read(text)
    if isinstance(value, list):
        return value, problem
    return [], problem or f"the model answered with something else than a list: {_short(text)}"


def sendable(value: Any) -> Any:
    """A JSON value with a question mark for halves of characters, which JSON can name and no wire can carry."""
    if isinstance(value, str):
        return value.encode("utf-8", "replace").decode()
    if isinstance(value, list):
        return [sendable(each) for each in value]
    if isinstance(value, dict):
        return {sendable(key): sendable(each) for key, each in value.items()}
    return value


def in_words(problem: str) -> str:
    """What went wrong in a tool, without the line of which program said so."""
    return _ERROR_TYPE.sub("", _PLACE.sub("", problem))


def _read(text: str) -> tuple[Any, str | None]:
    try:
        return sendable(json.loads(text)), None
    except (ValueError, RecursionError):
        pass
    # From the end backwards: the longest beginning that makes a value once it is closed.
    for end in _ends(text):
        try:
            value = sendable(json.loads(text[:end] + _closing(text[:end])))
        except (ValueError, RecursionError):
            continue
        if isinstance(value, dict | list):
            return value, f"the model's answer was cut off and read as far as it goes: {_short(text)}"
    return None, f"the model's answer is no JSON: {_short(text)}"


def _ends(text: str) -> list[int]:
    """Where a cut-off text may have to be cut back to: its end, and the last few places at which a value ends."""
    marks = [place for place, character in enumerate(text) if character in ',{["]}']
    return [len(text), *reversed([end for place in marks[-24:] for end in (place, place + 1)])]


def _closing(text: str) -> str:
    """What ends every text, list and object that is open."""
    opened: list[str] = []
    quoted = escaped = False
    for character in text:
        if escaped:
            escaped = False
        elif quoted:
            escaped = character == "\\"
            quoted = character != '"'
        elif character == '"':
            quoted = True
        elif character in _CLOSING:
            opened.append(_CLOSING[character])
        elif character in _CLOSING.values() and opened:
            opened.pop()
    return ('"' if quoted else "") + "".join(reversed(opened))


def _short(text: str) -> str:
    one_line = " ".join(text.split())
    return repr(one_line if len(one_line) <= _SHOWN else one_line[: _SHOWN - 1] + "…")
