"""The order of a JSON schema's properties, which engines write answers in.

Schemas travel as `google.protobuf.Struct`, whose maps have no order, but lists keep theirs. So the order of `required`
is taken for the order of the properties, and the others follow by name: the same schema always gives the same grammar.
"""

from __future__ import annotations

from typing import Any


def ordered(schema: Any) -> Any:
    """The schema with its properties, and all its keys, in a fixed order."""
    if isinstance(schema, list):
        return [ordered(part) for part in schema]
    if not isinstance(schema, dict):
        return schema
    result = {key: ordered(schema[key]) for key in sorted(schema)}
    properties = schema.get("properties")
    if isinstance(properties, dict):
        required = [name for name in schema.get("required", []) if name in properties]
        names = [*required, *sorted(set(properties) - set(required))]
        result["properties"] = {name: ordered(properties[name]) for name in names}
    return result
