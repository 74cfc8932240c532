"""Whatever is answered to a schema is valid under it, or the schema is refused."""

import json
import random
from typing import Any

import jsonschema
import pytest

from services.executors.engine_sim.schema_values import UnsupportedSchema, value_for

PLAN = {
    "type": "object",
    "properties": {
        "steps": {
            "type": "array",
            "minItems": 1,
            "maxItems": 4,
            "items": {"anyOf": [{"$ref": "#/$defs/search"}, {"$ref": "#/$defs/calculate"}]},
        }
    },
    "required": ["steps"],
    "additionalProperties": False,
    "$defs": {
        "id": {"type": "string", "pattern": "^[a-z][a-z0-9_]*$"},
        "search": {
            "type": "object",
            "properties": {
                "id": {"$ref": "#/$defs/id"},
                "tool": {"const": "search"},
                "args": {
                    "type": "object",
                    "properties": {"query": {"type": "string", "minLength": 3, "maxLength": 40}},
                    "required": ["query"],
                },
                "after": {"type": "array", "items": {"type": "string"}, "uniqueItems": True},
            },
            "required": ["id", "tool", "args"],
        },
        "calculate": {
            "type": "object",
            "properties": {
                "id": {"$ref": "#/$defs/id"},
                "tool": {"const": "calculate"},
                "args": {"type": "object", "properties": {"n": {"type": "integer", "minimum": 1, "maximum": 3}}},
            },
            "required": ["id", "tool", "args"],
        },
    },
}

TREE = {
    "$ref": "#/$defs/node",
    "$defs": {
        "node": {
            "type": "object",
            "properties": {
                "value": {"type": "integer"},
                "children": {"type": "array", "items": {"$ref": "#/$defs/node"}},
                "next": {"anyOf": [{"type": "null"}, {"$ref": "#/$defs/node"}]},
            },
            "required": ["value", "children", "next"],
        }
    },
}

SCHEMAS: dict[str, Any] = {
    "anything": {},
    "true": True,
    "enum": {"enum": ["a", 2, None, {"x": 1}]},
    "const": {"const": [1, "two"]},
    "null": {"type": "null"},
    "boolean": {"type": "boolean"},
    "several types": {"type": ["integer", "null", "string"]},
    "integer": {"type": "integer"},
    "integer bounds": {"type": "integer", "minimum": -3, "maximum": -2},
    "integer open bounds": {"type": "integer", "exclusiveMinimum": 4, "exclusiveMaximum": 6},
    "integer fractional bounds": {"type": "integer", "minimum": 1.5, "maximum": 2.5},
    "only a maximum": {"type": "integer", "maximum": -100},
    "multiple": {"type": "integer", "multipleOf": 7, "minimum": 50, "maximum": 60},
    "number": {"type": "number", "minimum": 0.25, "maximum": 0.251},
    "number open bounds": {"type": "number", "exclusiveMinimum": 0, "exclusiveMaximum": 1},
    "number multiple": {"type": "number", "multipleOf": 0.5, "minimum": 1},
    "long string": {"type": "string", "minLength": 200},
    "short string": {"type": "string", "maxLength": 2},
    "empty string": {"type": "string", "maxLength": 0},
    "date": {"type": "string", "format": "date"},
    "digits": {"type": "string", "pattern": "^[0-9]{4}$"},
    "array": {"type": "array", "items": {"type": "integer"}},
    "array sizes": {"type": "array", "items": {"type": "boolean"}, "minItems": 5, "maxItems": 5},
    "no items": {"type": "array", "maxItems": 0},
    "tuple": {"type": "array", "prefixItems": [{"type": "integer"}, {"const": "b"}], "minItems": 2, "maxItems": 2},
    "unique": {"type": "array", "items": {"enum": [1, 2, 3]}, "uniqueItems": True, "minItems": 3, "maxItems": 3},
    "required without description": {"type": "object", "required": ["x"]},
    "type left out": {"properties": {"a": {"type": "integer"}}, "required": ["a"]},
    "one of": {"oneOf": [{"type": "integer"}, {"type": "string"}]},
    "any of beside properties": {
        "type": "object",
        "properties": {"a": {"type": "integer"}, "b": {"type": "integer"}},
        "anyOf": [{"required": ["a"]}, {"required": ["b"]}],
    },
    "all of": {
        "allOf": [
            {"type": "object", "properties": {"a": {"type": "integer"}}, "required": ["a"]},
            {"properties": {"b": {"type": "string"}}, "required": ["b"]},
        ]
    },
    "plan": PLAN,
    "tree": TREE,
}


@pytest.mark.parametrize("name", SCHEMAS)
def test_the_value_is_valid_json_for_the_schema(name: str) -> None:
    for seed in range(25):
        value = json.loads(json.dumps(value_for(SCHEMAS[name], random.Random(seed))))
        jsonschema.validate(value, SCHEMAS[name], cls=jsonschema.Draft202012Validator)


def test_the_same_generator_gives_the_same_value() -> None:
    values = [value_for(PLAN, random.Random(7)) for _ in range(2)]
    assert values[0] == values[1]


def test_different_generators_give_different_values() -> None:
    values = [json.dumps(value_for(PLAN, random.Random(seed))) for seed in range(20)]
    assert len(set(values)) > 10


@pytest.mark.parametrize(
    ("schema", "told"),
    [
        ({"type": "nonsense"}, "not a JSON schema"),
        ({"type": "string", "pattern": "^only this exact text$"}, "only this exact text"),
        ({"$ref": "https://example.org/elsewhere"}, "elsewhere"),
        ({"$ref": "#/$defs/missing"}, "missing"),
        ({"$ref": "#"}, "circle"),
        ({"type": "integer", "minimum": 5, "maximum": 3}, "between 5 and 3"),
        ({"type": "integer", "not": {"type": "integer"}}, "cannot satisfy"),
        ({"type": "object", "properties": {"a": {"$ref": "#"}}, "required": ["a"]}, "endlessly"),
        ({"type": "array", "items": {"const": 1}, "uniqueItems": True, "minItems": 2}, "cannot satisfy"),
    ],
)
def test_what_cannot_be_satisfied_is_refused(schema: dict[str, Any], told: str) -> None:
    with pytest.raises(UnsupportedSchema, match=told.replace("$", r"\$").replace("^", r"\^")):
        value_for(schema, random.Random(0))
