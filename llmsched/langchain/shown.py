"""What goes into graphs and comes out of them, as JSON values for people."""

from __future__ import annotations

import json
import logging
from collections.abc import Mapping, Sequence
from typing import Any

from langchain_core.messages import BaseMessage
from pydantic import BaseModel

from llmsched.values import to_value

__all__ = ["shown"]

_log = logging.getLogger(__name__)

#: Bytes as JSON; inputs and outputs beyond it are not shown: a graph's state may be anything.
_MAX_BYTES = 64 * 1024


def shown(value: Any) -> Any:
    """The value as JSON, as far as that makes sense; None where it does not."""
    try:
        plain = _Copy().of(value)
        to_value(plain)
        return plain if len(json.dumps(plain, ensure_ascii=False).encode()) <= _MAX_BYTES else None
    except Exception as error:  # values of others run code of others, which is no reason for a graph to fail
        _log.debug("a %s is not shown: %r", type(value).__name__, error)
        return None


class _Copy:
    """Copies a value, but no more of it than could be shown."""

    def __init__(self) -> None:
        self._left = _MAX_BYTES

    def of(self, value: Any) -> Any:
        """The value of JSON's types. Raises ValueError if it is too large, and whatever the value's own code raises."""
        # No value is shorter in JSON, with the comma behind it.
        self._left -= len(value) if isinstance(value, str) else 2
        if self._left < 0:
            raise ValueError("too large")
        match value:
            case None | bool() | int() | float() | str():
                return value
            case BaseMessage():
                calls = [{"name": each["name"], "args": self.of(each["args"])} for each in _calls_of(value)]
                return {value.type: self.of(value.content)} | ({"tool_calls": calls} if calls else {})
            case BaseModel():
                return self.of(value.model_dump())  # whole, since only the model knows what it hides
            case Mapping():
                return {str(key): self.of(each) for key, each in value.items()}
            case list() | tuple() | set() | frozenset():
                return [self.of(each) for each in value]
        return str(value)[:200]


def _calls_of(message: BaseMessage) -> Sequence[Mapping[str, Any]]:
    return getattr(message, "tool_calls", ())
