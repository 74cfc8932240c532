"""The values that templates work on, and what becomes of them as text and as JSON.

Templates see JSON values and two things more: `LlmText`, the answer of a model, and `Nothing`, which stands for what
is absent without being a mistake (the output of a skipped stage, the round before the first).
"""

from __future__ import annotations

import json
import math
from collections.abc import Collection, ItemsView, Iterable, Iterator, KeysView, Mapping, ValuesView
from functools import cached_property
from typing import Any, NoReturn, cast

import jinja2
from jsonschema import Draft202012Validator

from llmsched.application.model import JsonValue

__all__ = [
    "Fields",
    "InvalidJsonOutput",
    "LlmText",
    "Nothing",
    "TooCostly",
    "TooLarge",
    "canonical",
    "plain",
    "read_json",
    "text",
]

MAX_TEXT = 4 * 2**20  #: characters of any text made inside a template
MAX_NODES = 500_000  #: parts of any value that leaves a template
MAX_INTEGER = 2**53  #: larger whole numbers do not survive JSON
MAX_DEPTH = 28  #: of lists and objects in each other, as in `llmsched.values`


class TooLarge(jinja2.TemplateRuntimeError):
    """A text or value grew beyond what a template may make."""


class TooCostly(jinja2.TemplateRuntimeError):
    """A template takes more steps than it may."""


class InvalidJsonOutput(jinja2.TemplateRuntimeError):
    """A template needs the JSON of an answer that is none."""


class Nothing(jinja2.ChainableUndefined):
    """Absent by design: false, empty, `null` as JSON, and so is everything in it."""

    __slots__ = ()


class Fields(dict[str, JsonValue]):
    """An object some of whose fields are optional: those are `Nothing` when they are absent, and not a mistake."""

    def __init__(self, fields: Mapping[str, JsonValue], optional: Collection[str]) -> None:
        super().__init__(fields)
        self.optional = optional


class LlmText(str):
    """The answer of a model: a text that also has `text`, `json` and `finish_reason` in templates.

    Where a stage asked for JSON, the answer as a whole value is the parsed JSON, and its text is the raw text.
    """

    stage: str
    finish_reason: str
    schema: Mapping[str, JsonValue] | None

    def __new__(
        cls, value: str, *, stage: str, finish_reason: str = "stop", schema: Mapping[str, JsonValue] | None = None
    ) -> LlmText:
        self = super().__new__(cls, value)
        self.stage = stage
        self.finish_reason = finish_reason
        self.schema = schema
        return self

    @cached_property
    def json(self) -> JsonValue:
        """The answer as JSON of the stage's schema. Raises InvalidJsonOutput."""
        try:
            value = read_json(self)
        except (ValueError, RecursionError) as error:
            self._refuse(f"is no JSON ({error})")
        worst = list(Draft202012Validator(cast("Any", self.schema or {})).iter_errors(value))
        if worst:
            where = "; ".join(sorted(f"{e.json_path}: {e.message}" for e in worst[:5]))
            self._refuse(f"does not fit the json_schema: {where}")
        return value

    def _refuse(self, why: str) -> NoReturn:
        hint = "; it was cut off at max_tokens: allow more" if self.finish_reason == "length" else ""
        raise InvalidJsonOutput(f"the answer of {self.stage!r} {why}{hint}")


def read_json(source: str) -> JsonValue:
    """The value of a JSON text, `NaN` and the like refused. Raises ValueError, RecursionError."""
    return cast("JsonValue", json.loads(source, parse_constant=_refuse_constant))


def _refuse_constant(name: str) -> NoReturn:
    raise ValueError(f"{name} is not JSON")


def text(value: object) -> str:
    """What a template writes for a value: a text as it is, nothing for `Nothing`, all else as JSON.

    Raises UndefinedError for an undefined value, TooLarge, and TypeError for what has no JSON form.
    """
    if isinstance(value, str):
        return str(value)
    if isinstance(value, jinja2.Undefined):
        return str(value)  # raises unless it is Nothing
    parts: list[str] = []
    size = 0
    for part in json.JSONEncoder(ensure_ascii=False).iterencode(plain(value)):
        size += len(part)
        if size > MAX_TEXT:
            raise TooLarge(f"a value is longer than {MAX_TEXT} characters")
        parts.append(part)
    return "".join(parts)


def plain(value: object) -> JsonValue:
    """The value as JSON.

    Raises UndefinedError, TooLarge, InvalidJsonOutput, and TypeError for what has no JSON form or none that the wire
    can carry.
    """
    return _Plain().convert(value, 0)


class _Plain:
    """One conversion; counts parts, since a value that holds itself many times over may be small in memory."""

    def __init__(self) -> None:
        self._nodes = 0

    def convert(self, value: object, depth: int) -> JsonValue:
        self._nodes += 1
        if self._nodes > MAX_NODES:
            raise TooLarge(f"a value has more than {MAX_NODES} parts")
        if isinstance(value, LlmText):
            return str(value) if value.schema is None else value.json
        if value is None or isinstance(value, str | bool):
            return value
        if isinstance(value, int | float):
            return _number(value)
        if isinstance(value, jinja2.Undefined):
            str(value)  # raises unless it is Nothing
            return None
        if depth >= MAX_DEPTH:
            raise TooLarge(f"a value is nested more than {MAX_DEPTH} deep")
        if isinstance(value, Mapping):
            return {_key(key): self.convert(part, depth + 1) for key, part in value.items()}
        if isinstance(value, list | tuple | range | Iterator | KeysView | ValuesView | ItemsView):
            return [self.convert(part, depth + 1) for part in cast("Iterable[object]", value)]
        raise TypeError(f"a {type(value).__name__} is not a JSON value")


def _number(value: float) -> int | float:
    if isinstance(value, float) and not math.isfinite(value):
        raise TypeError(f"{value} is not a JSON value")
    if isinstance(value, int) and abs(value) > MAX_INTEGER:
        raise TypeError(f"whole numbers beyond 2^53 do not survive JSON: {value:.6e}")
    return value


def _key(key: object) -> str:
    if not isinstance(key, str):
        raise TypeError(f"the keys of a JSON object are texts, not {type(key).__name__}")
    return str(key)


def canonical(value: JsonValue) -> JsonValue:
    """The value with the keys of all objects sorted: their order on the wire is not kept, and must not be seen."""
    if isinstance(value, Mapping):
        return {key: canonical(value[key]) for key in sorted(value)}
    if isinstance(value, list):
        return [canonical(part) for part in value]
    return value
