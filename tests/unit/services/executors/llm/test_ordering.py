"""Properties come in the order of `required`, whatever order they travelled in."""

from __future__ import annotations

from services.executors.llm.ordering import ordered


def test_required_properties_come_first_and_in_their_order() -> None:
    schema = {
        "properties": {"args": {}, "z": {}, "id": {}, "a": {}, "tool": {}},
        "required": ["id", "tool", "args", "ghost"],
    }
    assert list(ordered(schema)["properties"]) == ["id", "tool", "args", "a", "z"]


def test_schemas_inside_are_ordered_too_and_nothing_is_lost() -> None:
    schema = {"items": [{"properties": {"b": {}, "a": {"enum": ["y", "x"]}}, "required": ["b"]}], "type": "array"}
    result = ordered(schema)
    assert result == schema
    assert list(result["items"][0]["properties"]) == ["b", "a"]
    assert result["items"][0]["properties"]["a"]["enum"] == ["y", "x"]
