"""Whether the templates of a stage can be rendered: their syntax, and what they name."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace

from llmsched.application.graph import is_template, templates_of
from llmsched.application.model import (
    DynamicStage,
    JsonValue,
    LlmStage,
    LoopStage,
    PlanStage,
    Stage,
)
from llmsched.application.templates import BAD_TEMPLATE, TEXT_METHODS, Template
from llmsched.application.violations import Violation

__all__ = ["Scope", "check_templates", "check_text"]

_SINGLE = ("when", "until", "foreach.items")  #: fields whose value decides something, so that text makes no sense


@dataclass(frozen=True, slots=True, kw_only=True)
class Scope:
    """What the templates of a stage may name."""

    schema: Mapping[str, JsonValue]  #: of the job's input
    stages: Mapping[str, Stage] = field(default_factory=dict)  #: of this scope and of those around it
    loops: Mapping[str, LoopStage] = field(default_factory=dict)  #: around the stage
    extra: frozenset[str] = frozenset()  #: further names: item, index, error, tools

    def within(self, stages: Sequence[Stage]) -> Scope:
        """The scope with these stages added."""
        return replace(self, stages={**self.stages, **{stage.name: stage for stage in stages}})

    def inside(self, loop: LoopStage) -> Scope:
        """The scope of a loop's body, without the body's own stages."""
        return replace(self, loops={**self.loops, loop.name: loop})

    def recovering(self) -> Scope:
        """The scope of a fallback."""
        return replace(self, extra=self.extra | {"error"})

    def knows(self, name: str) -> bool:
        """Whether a stage has this name."""
        return name in self.stages

    def with_names(self, *names: str) -> Scope:
        """The scope with further names."""
        return replace(self, extra=self.extra.union(names))


def check_templates(stage: Stage, path: str, scope: Scope) -> Iterator[Violation]:
    """Everything wrong with the templates of a stage, those of inner stages left out."""
    each = scope
    if stage.foreach is not None:
        yield from _check_element(stage.foreach.as_, f"{path}.foreach.as", scope)
        each = scope.with_names(stage.foreach.as_, "index")
    if isinstance(stage, PlanStage):
        each = each.with_names("tools")
    for where, source in templates_of(stage):
        if where == "until" and isinstance(stage, LoopStage):
            seen = scope.inside(stage).within(stage.body)
        else:
            seen = scope if where in _SINGLE else each
        yield from check_text(source, f"{path}.{where}", seen, single=where in _SINGLE)


def check_text(source: str, path: str, scope: Scope, *, single: bool = False) -> Iterator[Violation]:
    """Everything wrong with one text. A `single` one must be one expression."""
    if not is_template(source):
        if single:
            yield Violation(path=path, message=f"write an expression in braces: {{{{ {source} }}}}")
        return
    try:
        template = Template.of(source)
    except BAD_TEMPLATE as error:
        line = getattr(error, "lineno", None)
        what = "is nested too deep" if isinstance(error, RecursionError | MemoryError) else str(error).splitlines()[0]
        yield Violation(path=path, message=f"is no valid template: {what}" + (f" (its line {line})" if line else ""))
        return
    if single and not template.is_expression:
        yield Violation(path=path, message="must be one expression {{ … }} with nothing around it")
    for reference in dict.fromkeys((each.name, each.path) for each in template.references):
        problem = _problem(*reference, scope)
        if problem:
            yield Violation(path=path, message=problem)


def _check_element(name: str, path: str, scope: Scope) -> Iterator[Violation]:
    if not name.isidentifier() or name in ("input", "index", "error", "tools", "loop"):
        yield Violation(path=path, message=f"{name!r} cannot be the name of an element")
    elif scope.knows(name):
        yield Violation(path=path, message=f"{name!r} is the name of a stage; choose another")


def _problem(name: str, path: tuple[str, ...], scope: Scope) -> str | None:
    """What is wrong with a reference; None if nothing is."""
    if name in scope.extra:
        return None
    if name == "input":
        return _input_problem(path, scope.schema)
    if name in scope.loops:
        return _round_problem(scope.loops[name], path)
    if name in scope.stages:
        return _stage_problem(scope.stages[name], path)
    known = sorted({"input", *scope.extra, *scope.loops, *scope.stages})
    return f"there is no {name!r} here; known are {', '.join(known)}"


def _input_problem(path: tuple[str, ...], schema: Mapping[str, JsonValue]) -> str | None:
    properties = schema.get("properties", {})
    closed = schema.get("additionalProperties") is False and "patternProperties" not in schema
    if not path or not closed or not isinstance(properties, dict) or path[0] in properties:
        return None
    return f"the input has no {path[0]!r}; it has {', '.join(properties) or 'nothing'}"


def _round_problem(loop: LoopStage, path: tuple[str, ...]) -> str | None:
    """A loop seen from inside."""
    if not path or path[0] not in ("round", "previous", "rounds"):
        return f"inside the loop, {loop.name!r} has round, previous and rounds"
    return _body_problem(loop, path[1:]) if path[0] == "previous" else None


def _body_problem(loop: LoopStage, path: tuple[str, ...]) -> str | None:
    body = {stage.name: stage for stage in loop.body}
    if not path:
        return None
    if path[0] not in body:
        return f"the loop {loop.name!r} has no stage {path[0]!r}; it has {', '.join(body)}"
    return _stage_problem(body[path[0]], path[1:])


def _stage_problem(stage: Stage, path: tuple[str, ...]) -> str | None:
    if not path:
        return None
    if stage.foreach is not None:
        return f"{stage.name!r} is a list with one output for each element: use {stage.name}[0] or a for"
    if isinstance(stage, LoopStage):
        if path[0] == "last":
            return _body_problem(stage, path[1:])
        known: tuple[str, ...] = ("last", "rounds", "count")
    elif isinstance(stage, DynamicStage):
        known = ("steps", "results")
    elif isinstance(stage, LlmStage) and (stage.on_error is None or isinstance(stage.on_error, LlmStage)):
        if path[0] == "json" and stage.json_schema is None:
            return f"{stage.name!r} has no json: give the stage a json_schema"
        known = ("text", "json", "finish_reason", *TEXT_METHODS)
    else:
        return None
    return None if path[0] in known else f"{stage.name!r} has no {path[0]!r}; it has {', '.join(known[:3])}"
