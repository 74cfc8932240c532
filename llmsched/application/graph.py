"""The shape of an application: which templates a stage has, and which stages it must wait for.

A stage depends on the stages of its scope that its templates name, and on those in `after`. What the body of a loop
uses from outside, the loop depends on.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import networkx

from llmsched.application.model import DynamicStage, JsonValue, LoopStage, PlanStage, Stage, ToolStage
from llmsched.application.templates import BAD_TEMPLATE, Template

__all__ = ["dependencies", "extent", "find_cycle", "in_order", "is_template", "sinks", "templates_of", "texts_in"]


def is_template(source: str) -> bool:
    """Whether there is anything to render in a text."""
    return "{{" in source or "{%" in source or "{#" in source


def texts_in(value: JsonValue, path: str) -> Iterator[tuple[str, str]]:
    """Path and text of each string in a value, at any depth; keys of objects are not templates."""
    if isinstance(value, str):
        yield path, value
    elif isinstance(value, list):
        for place, part in enumerate(value):
            yield from texts_in(part, f"{path}[{place}]")
    elif isinstance(value, dict):
        for key, part in value.items():
            yield from texts_in(part, f"{path}.{key}")


def templates_of(stage: Stage) -> Iterator[tuple[str, str]]:
    """Path and text of each template of a stage, those of inner stages left out."""
    if stage.when is not None:
        yield "when", stage.when
    if stage.foreach is not None:
        yield "foreach.items", stage.foreach.items
    if isinstance(stage, LoopStage):
        yield "until", stage.until
    elif isinstance(stage, ToolStage):
        yield from texts_in(stage.args, "args")
    elif not isinstance(stage, DynamicStage):
        if stage.prompt is not None:
            yield "prompt", stage.prompt
        for place, message in enumerate(stage.messages):
            yield f"messages[{place}].content", message.content


def dependencies(stages: Sequence[Stage]) -> dict[str, tuple[str, ...]]:
    """For each stage of a scope, by name: the stages of the scope that must be done first, as declared."""
    place = {stage.name: number for number, stage in enumerate(stages)}
    return {stage.name: tuple(sorted(_needs(stage) & place.keys(), key=place.__getitem__)) for stage in stages}


def _needs(stage: Stage) -> frozenset[str]:
    """Names that a stage waits for, whether they are stages or not."""
    needs = _names_used(stage) | set(stage.after)
    return frozenset(needs | {stage.plan} if isinstance(stage, DynamicStage) else needs)


def _names_used(stage: Stage) -> frozenset[str]:
    own: set[str] = set()
    inner: set[str] = set()
    for path, source in templates_of(stage):
        (inner if path == "until" else own).update(_names_in(source))
    if isinstance(stage, LoopStage):
        inner.update(*map(_names_used, stage.body))
        own |= inner - {part.name for part in stage.body} - {stage.name}
    if stage.on_error is not None:
        own |= _names_used(stage.on_error)
    return frozenset(own)


def _names_in(source: str) -> frozenset[str]:
    try:
        return Template.of(source).names if is_template(source) else frozenset()
    except BAD_TEMPLATE:
        return frozenset()  # reported by validation


def _digraph(stages: Sequence[Stage]) -> networkx.DiGraph[str]:
    graph: networkx.DiGraph[str] = networkx.DiGraph()
    graph.add_nodes_from(stage.name for stage in stages)
    graph.add_edges_from((parent, name) for name, parents in dependencies(stages).items() for parent in parents)
    return graph


def find_cycle(stages: Sequence[Stage]) -> list[str]:
    """Names of stages that wait for each other, each for the next and the last for the first; empty if none do."""
    try:
        return [child for _, child in reversed(networkx.find_cycle(_digraph(stages)))]
    except networkx.NetworkXNoCycle:
        return []


def in_order(stages: Sequence[Stage]) -> tuple[Stage, ...]:
    """The stages of a scope, parents first, otherwise as declared. There must be no cycle."""
    place = {stage.name: number for number, stage in enumerate(stages)}
    order = networkx.lexicographical_topological_sort(_digraph(stages), key=place.__getitem__)
    return tuple(stages[place[name]] for name in order)


def sinks(stages: Sequence[Stage]) -> tuple[Stage, ...]:
    """The stages of a scope that no other stage waits for, as declared."""
    waited_for = {parent for parents in dependencies(stages).values() for parent in parents}
    return tuple(stage for stage in stages if stage.name not in waited_for)


def extent(stage: Stage, siblings: Sequence[Stage]) -> int:
    """How many stages of a job this one could become at most: all rounds, retries, steps and fallbacks."""
    size = 1
    if isinstance(stage, LoopStage):
        size += stage.max_rounds * sum(extent(part, stage.body) for part in stage.body)
    elif isinstance(stage, PlanStage):
        size += stage.max_retries
    elif isinstance(stage, DynamicStage):
        size += sum(other.max_stages for other in siblings if isinstance(other, PlanStage) and other.name == stage.plan)
    return size if stage.on_error is None else size + extent(stage.on_error, siblings)
