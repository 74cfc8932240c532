"""Whether an application makes sense. `check` finds everything that can be known before a job runs."""

from __future__ import annotations

import keyword
import re
from collections import Counter
from collections.abc import Collection, Iterator, Sequence
from datetime import timedelta
from typing import Any

from jsonschema import Draft202012Validator

from llmsched.application.graph import dependencies, extent, find_cycle, texts_in
from llmsched.application.model import (
    ApplicationSpec,
    DynamicStage,
    JsonValue,
    LlmStage,
    LoopStage,
    PlanStage,
    Stage,
    ToolStage,
)
from llmsched.application.references import Scope, check_templates, check_text
from llmsched.application.values import MAX_DEPTH, MAX_INTEGER
from llmsched.application.violations import ApplicationError, Violation, path_text

__all__ = ["check", "ensure_valid"]

MAX_BYTES = 2**20  #: of the whole application, as JSON
MAX_STAGES = 500  #: as written
MAX_EXTENT = 100_000  #: stages of a job with all rounds, retries and steps it could have
MAX_NESTING = 5  #: loops in each other
MAX_TIMEOUT = timedelta(days=7)

_NAME = re.compile(r"[A-Za-z][A-Za-z0-9_]{0,63}")
_TOOL = re.compile(r"[a-z][a-z0-9_]*(\.[a-z][a-z0-9_]*)+")
#: Words that mean something in templates.
_words = str.split
_RESERVED = frozenset(
    _words(
        "and context elif else endfor endif endset error false for if import in include index input is item loop none "
        "not or range recursive self set tools true with without"
    )
)


def check(app: ApplicationSpec, known_tools: Collection[str] | None = None) -> list[Violation]:
    """Everything that is wrong with an application, in the order of its parts; empty if it can be registered.

    With `known_tools`, tools that are not among them are wrong too.
    """
    found = list(_check_whole(app))
    if not any(each.path == "stages" for each in found):  # else the rest could take very long
        found += _check_scope(app.stages, "stages", Scope(schema=app.input), known_tools)
    top = Scope(schema=app.input).within(app.stages)
    for path, source in texts_in(app.output, "output"):
        found += check_text(source, path, top)
    found += _check_numbers(app.output, "output")
    return found


def ensure_valid(app: ApplicationSpec, known_tools: Collection[str] | None = None) -> ApplicationSpec:
    """The application itself. Raises ApplicationError."""
    if violations := check(app, known_tools):
        raise ApplicationError(violations)
    return app


def _wrong(path: str, message: str) -> Violation:
    return Violation(path=path, message=message)


def _check_whole(app: ApplicationSpec) -> Iterator[Violation]:
    size = len(app.model_dump_json())
    if size > MAX_BYTES:
        yield _wrong("stages", f"the application takes {size} bytes; {MAX_BYTES} are allowed")
    count = sum(map(_count, app.stages))
    if count > MAX_STAGES:
        yield _wrong("stages", f"there are {count} stages; {MAX_STAGES} are allowed")
    nesting = max(map(_nesting, app.stages))
    if nesting > MAX_NESTING:
        yield _wrong("stages", f"loops are nested {nesting} deep; {MAX_NESTING} are allowed")
    size = sum(extent(stage, app.stages) for stage in app.stages)
    if size > MAX_EXTENT:
        yield _wrong("stages", f"a job could have {size} stages with all rounds; {MAX_EXTENT} are allowed")
    yield from check_schema(app.input, "input")
    if app.input.get("type") != "object":
        yield _wrong("input", "the schema of an input must have type: object")


def _count(stage: Stage) -> int:
    inner = sum(map(_count, stage.body)) if isinstance(stage, LoopStage) else 0
    return 1 + inner + (0 if stage.on_error is None else _count(stage.on_error))


def _nesting(stage: Stage) -> int:
    return 1 + max(map(_nesting, stage.body)) if isinstance(stage, LoopStage) else 0


def check_schema(schema: dict[str, Any], path: str) -> Iterator[Violation]:
    """What is wrong with a JSON schema."""
    for error in Draft202012Validator(Draft202012Validator.META_SCHEMA).iter_errors(schema):
        yield _wrong(path_text([path, *error.absolute_path]), f"is no JSON schema: {error.message}")
    for key, value in _members(schema):
        if key == "$ref" and not _resolves(value, schema):
            yield _wrong(path, f"$ref {value!r} points to nothing in the schema")
        if key == "pattern" and not _is_regex(value):
            yield _wrong(path, f"{value!r} is no regular expression")
    yield from _check_numbers(schema, path)


def _members(value: JsonValue) -> Iterator[tuple[str, str]]:
    """All members of objects, at any depth, that are texts."""
    if isinstance(value, dict):
        yield from ((key, part) for key, part in value.items() if isinstance(part, str))
    if isinstance(value, dict | list):
        for part in value.values() if isinstance(value, dict) else value:
            yield from _members(part)


def _resolves(ref: str, schema: JsonValue) -> bool:
    """Whether a $ref such as `#/$defs/item` leads somewhere; none may lead out of the schema."""
    start, *steps = ref.split("/")
    for step in steps:
        if not isinstance(schema, dict) or step not in schema:
            return False
        schema = schema[step]
    return start == "#"


def _is_regex(pattern: str) -> bool:
    try:
        re.compile(pattern)
    except re.error:
        return False
    return True


def _check_numbers(value: JsonValue, path: str, depth: int = 0) -> Iterator[Violation]:
    """What JSON on the wire cannot carry."""
    if depth > MAX_DEPTH:
        yield _wrong(path, f"is nested more than {MAX_DEPTH} deep")
    elif isinstance(value, dict):
        for key, part in value.items():
            yield from _check_numbers(part, f"{path}.{key}", depth + 1)
    elif isinstance(value, list):
        for place, part in enumerate(value):
            yield from _check_numbers(part, f"{path}[{place}]", depth + 1)
    elif isinstance(value, int) and abs(value) > MAX_INTEGER:
        yield _wrong(path, f"{value} is beyond 2^53, which JSON numbers cannot hold: write it as text")


def _check_scope(
    stages: Sequence[Stage], path: str, outer: Scope, known_tools: Collection[str] | None
) -> Iterator[Violation]:
    """One scope: the top, or the body of a loop."""
    scope = outer.within(stages)
    names = Counter(stage.name for stage in stages)
    for place, stage in enumerate(stages):
        here = f"{path}[{place}]"
        yield from _check_name(stage, here, names, outer)
        yield from _check_after(stage, here, stages)
        yield from _check_stage(stage, here, scope, known_tools)
        if isinstance(stage, DynamicStage):
            yield from _check_dynamic(stage, here, stages)
        if isinstance(stage, PlanStage):
            yield from _check_plan(stage, here, stages)
    if cycle := find_cycle(stages):
        shown = " → ".join([*cycle, cycle[0]])
        yield _wrong(path, f"stages wait for each other: {shown}" if len(cycle) > 1 else f"{cycle[0]} waits for itself")


def _check_name(stage: Stage, path: str, names: Counter[str], outer: Scope) -> Iterator[Violation]:
    name = stage.name
    if not _NAME.fullmatch(name):
        yield _wrong(f"{path}.name", f"{name!r} is no stage name: letters, digits and _, a letter first, at most 64")
    elif keyword.iskeyword(name) or name in _RESERVED:
        yield _wrong(f"{path}.name", f"{name!r} means something else in templates; choose another name")
    if names[name] > 1:
        yield _wrong(f"{path}.name", f"{names[name]} stages of this scope are called {name!r}")
    if outer.knows(name):
        yield _wrong(f"{path}.name", f"{name!r} is the name of a stage outside the loop; choose another")


def _check_after(stage: Stage, path: str, stages: Sequence[Stage]) -> Iterator[Violation]:
    scope = {other.name: other for other in stages}
    for place, name in enumerate(stage.after):
        if name not in scope:
            yield _wrong(f"{path}.after[{place}]", f"there is no stage {name!r} in this scope")
        elif isinstance(scope[name], PlanStage):
            yield _wrong(f"{path}.after[{place}]", f"wait for the stage that runs the plan, not for {name!r}")


def _check_stage(stage: Stage, path: str, scope: Scope, known_tools: Collection[str] | None) -> Iterator[Violation]:
    """What concerns a stage alone, and its fallback."""
    yield from check_templates(stage, path, scope)
    yield from _check_options(stage, path)
    if isinstance(stage, LlmStage | PlanStage) and (stage.prompt is None) == (not stage.messages):
        yield _wrong(path, f"{stage.name}: give either prompt or messages")
    if isinstance(stage, LlmStage) and stage.json_schema is not None:
        yield from check_schema(stage.json_schema, f"{path}.json_schema")
    if isinstance(stage, ToolStage):
        yield from _check_tool(stage.call, f"{path}.call", known_tools)
        yield from _check_numbers(stage.args, f"{path}.args")
    if isinstance(stage, PlanStage):
        for place, tool in enumerate(stage.tools):
            yield from _check_tool(tool, f"{path}.tools[{place}]", known_tools)
        if len(set(stage.tools)) < len(stage.tools):
            yield _wrong(f"{path}.tools", "a tool is named twice")
    if isinstance(stage, LoopStage):
        yield from _check_scope(stage.body, f"{path}.body", scope.inside(stage), known_tools)
    if stage.on_error is not None:
        yield from _check_fallback(stage, stage.on_error, f"{path}.on_error")
        yield from _check_stage(stage.on_error, f"{path}.on_error", scope.recovering(), known_tools)


def _check_options(stage: Stage, path: str) -> Iterator[Violation]:
    if stage.timeout is not None and not timedelta(0) < stage.timeout <= MAX_TIMEOUT:
        yield _wrong(f"{path}.timeout", "must be more than 0 and at most 7 days")
    if stage.retry is not None and not timedelta(0) <= stage.retry.backoff <= timedelta(hours=1):
        yield _wrong(f"{path}.retry.backoff", "must be from 0 to 1 hour")
    runs_tasks = isinstance(stage, LlmStage | ToolStage)
    if isinstance(stage, LoopStage) and (stage.retry is not None or stage.timeout is not None):
        yield _wrong(path, f"{stage.name}: retry and timeout belong to the stages of the loop's body")
    if stage.foreach is not None and not runs_tasks:
        yield _wrong(f"{path}.foreach", "only llm and tool stages can be spread over a list")
    if stage.on_error is not None and not runs_tasks:
        yield _wrong(f"{path}.on_error", "only llm and tool stages can have a fallback")


def _check_tool(name: str, path: str, known_tools: Collection[str] | None) -> Iterator[Violation]:
    if not _TOOL.fullmatch(name):
        yield _wrong(path, f"{name!r} is no tool name: <area>.<verb> in lower case, for example python.run_tests")
    elif known_tools is not None and name not in known_tools:
        yield _wrong(path, f"no executor offers the tool {name!r}")


def _check_fallback(stage: Stage, fallback: Stage, path: str) -> Iterator[Violation]:
    if not isinstance(fallback, LlmStage | ToolStage):
        yield _wrong(path, "a fallback is an llm or a tool stage")
    if fallback.after:
        yield _wrong(f"{path}.after", "a fallback runs when its stage has failed, and waits for nothing else")
    if (fallback.foreach is None) != (stage.foreach is None):
        what = (
            "is spread over a list, so its fallback must be" if stage.foreach else "has one task, so must its fallback"
        )
        yield _wrong(f"{path}.foreach", f"{stage.name} {what}: consumers must see the same shape")


def _check_dynamic(stage: DynamicStage, path: str, stages: Sequence[Stage]) -> Iterator[Violation]:
    if not any(isinstance(other, PlanStage) and other.name == stage.plan for other in stages):
        yield _wrong(f"{path}.plan", f"there is no plan stage {stage.plan!r} in this scope")


def _check_plan(stage: PlanStage, path: str, stages: Sequence[Stage]) -> Iterator[Violation]:
    runners = [other.name for other in stages if isinstance(other, DynamicStage) and other.plan == stage.name]
    if len(runners) != 1:
        shown = " and ".join(runners) or "no stage"
        yield _wrong(path, f"{stage.name}: exactly one dynamic stage must run the plan; {shown} would")
    for name, parents in dependencies(stages).items():
        if stage.name in parents and name not in runners:
            yield _wrong(
                path, f"{name} uses {stage.name}; use the stage that runs the plan instead, as in execute.steps"
            )
