"""Values that fit a JSON schema, drawn by an injected generator: what a constrained engine might have answered.

Covers what plans and structured outputs are written with: types, enum, const, properties, required, items, sizes and
bounds, anyOf, oneOf, allOf, `$ref` into the same document. What it cannot satisfy it refuses (UnsupportedSchema)
instead of answering something invalid.
"""

from __future__ import annotations

import math
import random
from collections.abc import Mapping, Sequence
from typing import Any

import jsonschema

_DEEP = 6
"""Levels after which only what is required is generated, so that recursive schemas end."""
_DEEPEST = 40
_DRAWINGS = 8
_WORDS = ("alpha", "brief", "cargo", "delta", "ember", "field", "grain", "harbor", "input", "jolly", "kernel", "lemon")
_SHAPES = ("word", "Word", "WORD", "a1", "item_1", "item-1", "1", "2024-05-17", "2024-05-17T12:00:00Z", "a@example.org")
_IDS = tuple(f"s{number}" for number in range(1, 10))
"""Tried on a `pattern` or `format`."""


class UnsupportedSchema(ValueError):
    """The schema is broken, or asks for more than is supported here."""


def value_for(schema: Mapping[str, Any] | bool, rng: random.Random) -> Any:
    """One value that the schema accepts. Raises UnsupportedSchema."""
    try:
        jsonschema.Draft202012Validator.check_schema(schema)
    except jsonschema.SchemaError as error:
        raise UnsupportedSchema(f"not a JSON schema: {error.message}") from error
    validator, drawing = jsonschema.Draft202012Validator(schema), _Drawing(schema, rng)
    # Some drawings miss (both sides of a oneOf, a `not`): another one may hit.
    missed = ""
    for _ in range(_DRAWINGS):
        value = drawing.value(schema, 0)
        flaw = next(validator.iter_errors(value), None)
        if flaw is None:
            return value
        missed = f"{flaw.json_path}: {flaw.message}"
    raise UnsupportedSchema(f"cannot satisfy the schema at {missed}")


class _Drawing:
    def __init__(self, root: Mapping[str, Any] | bool, rng: random.Random) -> None:
        self._root = root
        self._rng = rng

    def value(self, schema: Mapping[str, Any] | bool, depth: int) -> Any:
        if depth > _DEEPEST:
            raise UnsupportedSchema("the schema requires endlessly nested values")
        if isinstance(schema, bool):
            return self._word()
        schema = self._resolved(schema)
        if "const" in schema:
            return schema["const"]
        if "enum" in schema:
            return self._rng.choice(schema["enum"])
        for key in ("anyOf", "oneOf"):
            if key in schema:
                rest = {k: v for k, v in schema.items() if k != key}
                return self._one_of(rest, schema[key], depth)
        return self._typed(schema, depth)

    def _one_of(self, rest: Mapping[str, Any], options: Sequence[Mapping[str, Any]], depth: int) -> Any:
        """A value for one of the options; one that is beyond us leaves the others."""
        left = list(options)
        while True:
            option = self._alternative(left, depth)
            try:
                return self.value(_merged(rest, option), depth + 1)
            except UnsupportedSchema:
                left.remove(option)
                if not left:
                    raise

    def _typed(self, schema: Mapping[str, Any], depth: int) -> Any:
        match self._type(schema):
            case "object":
                return self._object(schema, depth)
            case "array":
                return self._array(schema, depth)
            case "string":
                return self._string(schema)
            case "integer":
                return self._integer(schema)
            case "number":
                return self._number(schema)
            case "boolean":
                return self._rng.random() < 0.5
            case _:
                return None

    def _type(self, schema: Mapping[str, Any]) -> str:
        stated = schema.get("type")
        if isinstance(stated, list):
            return self._rng.choice(stated)
        if stated:
            return stated
        if "properties" in schema or "required" in schema:
            return "object"
        return "array" if "items" in schema or "prefixItems" in schema else "string"

    def _resolved(self, schema: Mapping[str, Any]) -> Mapping[str, Any]:
        for _ in range(_DEEPEST):
            if "$ref" in schema:
                rest = {k: v for k, v in schema.items() if k != "$ref"}
                schema = _merged(rest, self._referred(schema["$ref"]))
            elif "allOf" in schema:
                parts = schema["allOf"]
                schema = {k: v for k, v in schema.items() if k != "allOf"}
                for part in parts:
                    schema = _merged(schema, part)
            else:
                return schema
        raise UnsupportedSchema("the schema refers to itself in a circle")

    def _referred(self, ref: str) -> Mapping[str, Any]:
        if not ref.startswith("#"):
            raise UnsupportedSchema(f"only references into the schema itself are supported, not {ref!r}")
        target: Any = self._root
        for part in ref[1:].split("/")[1:]:
            key = part.replace("~1", "/").replace("~0", "~")
            if not isinstance(target, Mapping) or key not in target:
                raise UnsupportedSchema(f"the schema has nothing at {ref!r}")
            target = target[key]
        return target if isinstance(target, Mapping) else {}

    def _alternative(self, options: Sequence[Mapping[str, Any]], depth: int) -> Mapping[str, Any]:
        if depth < _DEEP:
            return self._rng.choice(options)
        # Deep inside a recursive schema: the alternative that looks least like going on.
        return min(options, key=lambda option: len(str(self._resolved(option))))

    def _object(self, schema: Mapping[str, Any], depth: int) -> dict[str, Any]:
        required = schema.get("required", [])
        optional = [name for name in schema.get("properties", {}) if name not in required]
        kept = [name for name in optional if depth < _DEEP and self._rng.random() < 0.5]
        properties = schema.get("properties", {})
        # In the order of the schema, as a grammar would have it; then what is required without being described.
        names = [name for name in properties if name in required or name in kept]
        names += [name for name in required if name not in properties]
        return {name: self.value(properties.get(name, True), depth + 1) for name in names}

    def _array(self, schema: Mapping[str, Any], depth: int) -> list[Any]:
        first = schema.get("prefixItems", [])
        least = max(schema.get("minItems", 0), 0)
        most = schema.get("maxItems", max(least, len(first)) + 3)
        wanted = least if depth >= _DEEP else self._rng.randint(max(least, min(1, most)), max(least, most))
        distinct = schema.get("uniqueItems", False)
        items: list[Any] = []
        for _ in range(wanted * _DRAWINGS):
            if len(items) == wanted:
                break
            described = first[len(items)] if len(items) < len(first) else schema.get("items", True)
            item = self.value(described, depth + 1)
            if not (distinct and item in items):
                items.append(item)
        return items

    def _string(self, schema: Mapping[str, Any]) -> str:
        if "pattern" in schema or "format" in schema:
            return self._shaped(schema)
        least = schema.get("minLength", 0)
        most = schema.get("maxLength", max(least, 24))
        text = " ".join(self._rng.choices(_WORDS, k=1 + max(least, self._rng.randint(0, 12)) // 4))
        while len(text) < least:
            text += self._word()
        return text[:most]

    def _shaped(self, schema: Mapping[str, Any]) -> str:
        checker = jsonschema.Draft202012Validator(
            {k: v for k, v in schema.items() if k in ("pattern", "format", "minLength", "maxLength")},
            format_checker=jsonschema.Draft202012Validator.FORMAT_CHECKER,
        )
        shapes = [self._word(), *_SHAPES, *_IDS, *(c * n for n in range(1, 41) for c in "a0A")]
        fitting = [shape for shape in shapes if checker.is_valid(shape)]
        if not fitting:
            wanted = schema.get("pattern") or schema.get("format")
            raise UnsupportedSchema(f"cannot make up a string for {wanted!r}")
        return self._rng.choice(fitting)

    def _integer(self, schema: Mapping[str, Any]) -> int:
        step = schema.get("multipleOf", 1)
        if int(step) != step:
            raise UnsupportedSchema("multipleOf of an integer must be whole")
        return self._multiple(int(step), *_bounds(schema, nudge=1))

    def _number(self, schema: Mapping[str, Any]) -> float:
        low, high = _bounds(schema, nudge=1e-3)
        if "multipleOf" in schema:
            return self._multiple(schema["multipleOf"], low, high)
        value = round(self._rng.uniform(low, high), 3)
        return value if low <= value <= high else (low + high) / 2

    def _multiple(self, step: Any, low: float, high: float) -> Any:
        first, last = math.ceil(low / step), math.floor(high / step)
        if first > last:
            raise UnsupportedSchema(f"no multiple of {step} lies between {low} and {high}")
        return self._rng.randint(first, last) * step

    def _word(self) -> str:
        return self._rng.choice(_WORDS)


def _bounds(schema: Mapping[str, Any], *, nudge: float) -> tuple[float, float]:
    """The least and greatest value to draw, `nudge` off excluded ends; an open side is ten away from the other."""
    lows = [schema[key] + off for key, off in (("minimum", 0), ("exclusiveMinimum", nudge)) if key in schema]
    highs = [schema[key] - off for key, off in (("maximum", 0), ("exclusiveMaximum", nudge)) if key in schema]
    if lows:
        return max(lows), min(highs, default=max(lows) + 10)
    high = min(highs, default=10)
    return min(0, high - 10), high


def _merged(left: Mapping[str, Any], right: Mapping[str, Any] | bool) -> Mapping[str, Any]:
    """Both schemas at once, as far as their keywords can simply stand side by side."""
    if isinstance(right, bool):
        return left
    merged = {**left, **right}
    if "properties" in left and "properties" in right:
        merged["properties"] = {**left["properties"], **right["properties"]}
    if "required" in left and "required" in right:
        merged["required"] = list(dict.fromkeys([*left["required"], *right["required"]]))
    return merged
