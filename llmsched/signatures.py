"""Type hints of functions as JSON schemas: what tools take and give, and what applications take."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from typing import Any, get_type_hints

from pydantic import BaseModel, ConfigDict, Field, PydanticUserError, TypeAdapter, create_model

__all__ = ["SignatureError", "arguments_model", "hints_of", "value_schema", "without_titles"]


class SignatureError(TypeError):
    """A function's parameters or type hints cannot be told as a JSON schema."""


def hints_of(function: Callable[..., Any]) -> dict[str, Any]:
    """The type hints of a function. Raises SignatureError."""
    try:
        return get_type_hints(function, include_extras=True)
    except NameError as error:
        raise SignatureError(f"a type hint cannot be resolved: {error}") from error


def arguments_model(
    function: Callable[..., Any], hints: Mapping[str, Any], docs: Mapping[str, str], *, otherwise: str = ""
) -> type[BaseModel]:
    """What checks the arguments of a function; `otherwise` tells what else can be done. Raises SignatureError."""
    fields: dict[str, Any] = {}
    for position, parameter in enumerate(inspect.signature(function).parameters.values()):
        if parameter.kind not in (parameter.POSITIONAL_OR_KEYWORD, parameter.KEYWORD_ONLY):
            raise SignatureError(f"parameter {parameter} needs a name of its own{otherwise}")
        if parameter.name not in hints:
            raise SignatureError(f"parameter {parameter.name} needs a type hint{otherwise}")
        default = ... if parameter.default is parameter.empty else parameter.default
        # The alias carries the name: as field names, `schema` or `copy` would clash with pydantic's own.
        about = Field(default, alias=parameter.name, description=docs.get(parameter.name))
        fields[f"arg{position}"] = (hints[parameter.name], about)
    try:
        return create_model("Arguments", __config__=ConfigDict(extra="forbid"), **fields)
    except PydanticUserError as error:
        raise SignatureError(str(error)) from error


def value_schema(hint: Any) -> dict[str, Any]:
    """The JSON schema of a value with this type hint. Raises SignatureError."""
    try:
        return TypeAdapter(hint).json_schema(mode="serialization")
    except PydanticUserError as error:
        raise SignatureError(f"the result cannot be written as JSON: {error}") from error


def without_titles(schema: Any) -> Any:
    """The schema without the titles pydantic makes up, which would only cost prompt tokens."""
    if isinstance(schema, list):
        return [without_titles(part) for part in schema]
    if not isinstance(schema, dict):
        return schema
    # A property may be called "title"; only a text under that key is a title.
    return {k: without_titles(v) for k, v in schema.items() if not (k == "title" and isinstance(v, str))}
