"""Python values to and from `google.protobuf.Struct` and `Value`, the JSON of the wire.

JSON numbers are doubles. So whole numbers come back as `int` (a float like 3.0 too), and what a double or the
wire cannot carry is refused when it is sent: integers beyond 2**53, NaN and infinities, text with lone surrogates,
keys that are not text, nesting deeper than `MAX_DEPTH`.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

from google.protobuf import struct_pb2

MAX_INTEGER = 2**53
"""Whole numbers up to this magnitude survive the way over the wire."""

MAX_DEPTH = 28
"""Lists and mappings may be nested this deep: protobuf stops reading at 100 messages, and a mapping takes three."""


class JsonValueError(ValueError):
    """A value cannot be sent as JSON."""

    def __init__(self, path: str, problem: str) -> None:
        super().__init__(f"{path or 'the value'}: {problem}")
        #: Where in the value, for example `problems[3].tests`; empty for the value as a whole.
        self.path = path
        #: What is wrong with it, for people.
        self.problem = problem


def to_struct(value: Mapping[str, Any]) -> struct_pb2.Struct:
    """A mapping as a Struct. Raises JsonValueError."""
    if not isinstance(value, Mapping):
        raise JsonValueError("", f"must be a mapping (a JSON object), not {type(value).__name__}")
    struct = struct_pb2.Struct()
    _fill_struct(struct, value, "", 1)
    return struct


def from_struct(struct: struct_pb2.Struct) -> dict[str, Any]:
    """A Struct as a dict, whole numbers as `int`."""
    return {key: from_value(value) for key, value in struct.fields.items()}


def to_value(value: Any) -> struct_pb2.Value:
    """A JSON value as a Value; tuples become lists. Raises JsonValueError."""
    target = struct_pb2.Value()
    _fill(target, value, "", 0)
    return target


def from_value(value: struct_pb2.Value) -> Any:
    """A Value as a Python value, whole numbers as `int`; None if nothing is set."""
    match value.WhichOneof("kind"):
        case "number_value":
            return _number(value.number_value)
        case "string_value":
            return value.string_value
        case "bool_value":
            return value.bool_value
        case "struct_value":
            return from_struct(value.struct_value)
        case "list_value":
            return [from_value(item) for item in value.list_value.values]
        case _:
            return None


def _number(number: float) -> int | float:
    whole = number.is_integer() and abs(number) <= MAX_INTEGER
    return int(number) if whole else number


def _fill(target: struct_pb2.Value, value: Any, path: str, depth: int) -> None:
    match value:
        case None:
            target.null_value = struct_pb2.NULL_VALUE
        case bool():
            target.bool_value = value
        case int() | float():
            target.number_value = _checked_number(value, path)
        case str():
            target.string_value = _checked_text(value, path)
        case Mapping():
            # Touched first: an empty mapping must differ from an unset value.
            target.struct_value.SetInParent()
            _fill_struct(target.struct_value, value, path, depth + 1)
        case list() | tuple():
            _check_depth(path, depth + 1)
            target.list_value.SetInParent()
            for position, item in enumerate(value):
                _fill(target.list_value.values.add(), item, f"{path}[{position}]", depth + 1)
        case _:
            raise JsonValueError(path, f"{type(value).__name__} is not a JSON value")


def _fill_struct(struct: struct_pb2.Struct, value: Mapping[Any, Any], path: str, depth: int) -> None:
    _check_depth(path, depth)
    for key, item in value.items():
        if not isinstance(key, str):
            raise JsonValueError(path, f"keys must be text, not {type(key).__name__} ({key!r})")
        inner = f"{path}.{key}" if path else key
        _fill(struct.fields[_checked_text(key, path)], item, inner, depth)


def _check_depth(path: str, depth: int) -> None:
    if depth > MAX_DEPTH:
        raise JsonValueError(path, f"is nested more than {MAX_DEPTH} deep")


def _checked_number(number: int | float, path: str) -> float:
    if isinstance(number, int):
        if abs(number) > MAX_INTEGER:
            raise JsonValueError(path, f"{number} is beyond ±2**53, which JSON numbers cannot hold: send it as text")
        return float(number)
    if not math.isfinite(number):
        raise JsonValueError(path, f"{number} is not a JSON number")
    return number


def _checked_text(text: str, path: str) -> str:
    try:
        text.encode()
    except UnicodeEncodeError:
        raise JsonValueError(path, "contains a lone surrogate, which UTF-8 cannot encode") from None
    return text
