"""From untyped data (YAML, Python, the wire) to a valid application, with everything wrong named."""

from __future__ import annotations

import copy
import difflib
from collections.abc import Collection, Mapping, Sequence
from typing import Any

from pydantic import BaseModel, ValidationError
from pydantic_core import ErrorDetails

from llmsched.application.model import (
    ApplicationSpec,
    DynamicStage,
    ForEach,
    LlmStage,
    LoopStage,
    Message,
    PlanStage,
    Retry,
    Sampling,
    ToolStage,
)
from llmsched.application.validate import check
from llmsched.application.violations import ApplicationError, Violation, path_text

__all__ = ["build", "build_unchecked"]

_STAGES: dict[str, type[BaseModel]] = {
    "llm": LlmStage,
    "tool": ToolStage,
    "loop": LoopStage,
    "plan": PlanStage,
    "dynamic": DynamicStage,
}
_NO_STAGE = f"is no stage: it starts with its kind and its name, as in `llm: draft`; kinds are {', '.join(_STAGES)}"
_PARTS: dict[str, type[BaseModel]] = {"foreach": ForEach, "retry": Retry, "messages": Message}
#: Fields that nothing else depends on: if one is wrong, the rest can be checked without it.
_HARMLESS = frozenset({*Sampling.model_fields, *Retry.model_fields, "timeout", "max_stages", "max_retries", "version"})
_MESSAGES = {
    "missing": "is missing",
    "too_short": "must not be empty",
    "string_too_short": "must not be empty",
    "string_pattern_mismatch": "must be lower-case letters, digits and hyphens, with a letter first",
    "union_tag_not_found": _NO_STAGE,
    "union_tag_invalid": _NO_STAGE,
}
_Location = tuple[str | int, ...]


def build(data: Mapping[str, Any], known_tools: Collection[str] | None = None) -> ApplicationSpec:
    """The application that the data describes. Raises ApplicationError with everything that is wrong."""
    app = build_unchecked(data, known_tools)
    if violations := check(app, known_tools):
        raise ApplicationError(violations)
    return app


def build_unchecked(data: Mapping[str, Any], known_tools: Collection[str] | None = None) -> ApplicationSpec:
    """The application that the data describes: well-formed, but perhaps senseless. Raises ApplicationError."""
    try:
        return ApplicationSpec.model_validate(data)
    except ValidationError as error:
        errors = _real_errors(error)
    violations = [_violation(each["loc"], each["type"], each["msg"]) for each in errors]
    if all(each["type"] == "extra_forbidden" or each["loc"][-1] in _HARMLESS for each in errors):
        pruned = _without(data, [_untagged(each["loc"]) for each in errors])
        violations += check(ApplicationSpec.model_validate(pruned), known_tools)
    raise ApplicationError(violations)


def _real_errors(error: ValidationError) -> list[ErrorDetails]:
    """The errors, without the claim that a list is too short when it is so only for want of its wrong elements."""
    errors = error.errors()
    inside = {each["loc"][:end] for each in errors for end in range(len(each["loc"]))}
    return [each for each in errors if not (each["type"] == "too_short" and each["loc"] in inside)]


def _violation(location: _Location, kind: str, message: str) -> Violation:
    path = path_text(_untagged(location))
    if kind == "extra_forbidden":
        near = difflib.get_close_matches(str(location[-1]), _fields(location), n=1)
        message = "there is no such field" + (f"; did you mean {near[0]}?" if near else "")
    else:
        message = _MESSAGES.get(kind, message.removeprefix("Value error, ").removeprefix("Input "))
    return Violation(path=path, message=message)


def _untagged(location: _Location) -> _Location:
    """The location without the kinds of stages, which pydantic puts in after the place of each stage."""
    return tuple(
        step
        for before, step in zip((None, *location), location, strict=False)
        if not (step in _STAGES and (isinstance(before, int) or before == "on_error"))
    )


def _fields(location: _Location) -> Sequence[str]:
    """Names of the fields that are known where an unknown one was found."""
    for step in reversed(location[:-1]):
        owner = _STAGES.get(str(step)) or _PARTS.get(str(step))
        if owner is not None:
            break
    else:
        owner = ApplicationSpec
    return [field.serialization_alias or name for name, field in owner.model_fields.items()]


def _without(data: Mapping[str, Any], locations: Sequence[_Location]) -> Any:
    pruned: Any = copy.deepcopy(dict(data))
    for *way, last in locations:
        part = pruned
        for step in way:
            part = part[step]
        del part[last]
    return pruned
