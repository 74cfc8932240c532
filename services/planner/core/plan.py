"""Plans that models write: their schema, their parsing, and the values that steps take from each other.

A plan is `{"steps": [{"id": "s1", "tool": "web.search", "args": {"query": "…"}, "after": []}, …]}`. In the arguments,
`<s1>` stands for the output of step `s1` and `<s1.title>` for a part of it; alone in a text it keeps its type. What a
model wrote is data: it is searched for these marks and never rendered as a template.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, cast

import networkx
from jsonschema import Draft202012Validator

from llmsched.application import JsonValue, PlanStage
from llmsched.application.graph import texts_in
from llmsched.application.values import read_json, text
from llmsched.application.violations import path_text
from services.planner.core.model import LlmOutput, ToolInfo

_ID = r"[A-Za-z][A-Za-z0-9_]{0,31}"
_MARK = re.compile(rf"<({_ID})((?:\.[A-Za-z0-9_]+)*)>")
_MARK_ALONE = rf"^<{_ID}(\.[A-Za-z0-9_]+)*>$"
_Schema = Mapping[str, Any]


class BadPlan(Exception):
    """The plan cannot be run; `problems` names everything that is wrong with it."""

    def __init__(self, problems: Iterable[str]) -> None:
        self.problems = tuple(problems)
        super().__init__("; ".join(self.problems))


class BadReference(Exception):
    """A step takes a part of an output that the output does not have."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Step:
    """One call that a plan wants."""

    id: str
    tool: str
    args: Mapping[str, JsonValue]  #: with marks in them
    parents: tuple[str, ...]  #: ids of steps that must be done first, in the plan's order


def tools_text(tools: Sequence[str], catalogue: Mapping[str, ToolInfo]) -> str:
    """What a planning prompt says of the tools."""
    lines = []
    for tool in tools:
        info = catalogue.get(tool, ToolInfo())
        name = info.signature or tool
        lines.append(f"- {name}: {info.description}" if info.description else f"- {name}")
        if not info.signature:
            lines.append(f"  arguments: {text(dict(info.args_schema))}")
    return "\n".join(lines)


def plan_schema(stage: PlanStage, catalogue: Mapping[str, ToolInfo]) -> dict[str, JsonValue]:
    """The JSON schema that constrains the planning model; narrower than what `parse_plan` takes.

    A short plan gets a schema for each place, in which ids are fixed and `after` can only name earlier steps: even a
    small model then cannot write one that waits for itself. For a long plan such a schema would be too large.
    """
    definitions: dict[str, Any] = {}
    for tool in stage.tools:
        schema: Mapping[str, Any] = catalogue.get(tool, ToolInfo()).args_schema
        definitions[tool] = _args_schema(tool, schema)
        for name, definition in schema.get("$defs", {}).items():
            definitions[f"{tool}.{name}"] = _moved(definition, tool)
    steps: dict[str, Any] = {"type": "array", "maxItems": stage.max_stages}
    if stage.max_stages <= _PLACED_STEPS:
        ids = [f"s{number}" for number in range(1, stage.max_stages + 1)]
        steps["prefixItems"] = [
            _any_step(stage, {"enum": [step]}, _after({"enum": ids[:place]}, place)) for place, step in enumerate(ids)
        ]
    else:
        step_id = {"type": "string", "pattern": f"^{_ID}$"}
        steps["items"] = _any_step(stage, step_id, _after(step_id, stage.max_stages - 1))
    return {
        "type": "object",
        "properties": {"steps": cast("JsonValue", steps)},
        "required": ["steps"],
        "additionalProperties": False,
        "$defs": definitions,
    }


#: Steps of a plan that are described one by one.
_PLACED_STEPS = 8


def _any_step(stage: PlanStage, step_id: dict[str, Any], after: dict[str, Any]) -> dict[str, Any]:
    """A call of one of the tools."""
    return {
        "anyOf": [
            {
                "type": "object",
                "properties": {
                    "id": step_id,
                    "tool": {"type": "string", "enum": [tool]},
                    "args": {"$ref": f"#/$defs/{tool}"},
                    "after": after,
                },
                "required": ["id", "tool", "args", "after"],
                "additionalProperties": False,
            }
            for tool in stage.tools
        ]
    }


def _after(step_id: dict[str, Any], count: int) -> dict[str, Any]:
    """A list of at most so many steps."""
    return {"type": "array", "maxItems": count, **({"items": step_id} if count else {})}


def _args_schema(tool: str, schema: _Schema) -> dict[str, Any]:
    args = {key: _moved(value, tool) for key, value in schema.items() if key != "$defs"}
    if "properties" in args:
        args["properties"] = {name: _or_mark(part) for name, part in args["properties"].items()}
    return args


def _moved(schema: Any, tool: str) -> Any:
    """The schema with references to its definitions led to where `plan_schema` puts them."""
    if isinstance(schema, list):
        return [_moved(part, tool) for part in schema]
    if not isinstance(schema, Mapping):
        return schema
    moved = {key: _moved(part, tool) for key, part in schema.items()}
    reference = moved.get("$ref")
    if isinstance(reference, str):
        moved["$ref"] = re.sub(r"^#/\$defs/", f"#/$defs/{tool}.", reference)
    return moved


def _or_mark(schema: Any) -> Any:
    """Lets an argument be the output of another step."""
    if schema == {"type": "string"}:
        return schema
    return {"anyOf": [schema, {"type": "string", "pattern": _MARK_ALONE}]}


def parse_plan(stage: PlanStage, answer: LlmOutput, catalogue: Mapping[str, ToolInfo]) -> tuple[Step, ...]:
    """The steps of a plan, parents first. Raises BadPlan. Arguments of tools not in the catalogue are not checked."""
    entries = _entries(stage, answer)
    problems = list(_problems(stage, entries, catalogue))
    if problems:
        raise BadPlan(problems)
    by_id = {entry["id"]: entry for entry in entries}
    needs = {step: {*entry["after"], *_marks(entry["args"], list(by_id))} for step, entry in by_id.items()}
    return tuple(
        Step(
            id=step,
            tool=by_id[step]["tool"],
            args=by_id[step]["args"],
            parents=tuple(other for other in by_id if other in needs[step]),
        )
        for step in _in_order(needs)
    )


def _in_order(needs: Mapping[str, set[str]]) -> list[str]:
    """The steps with parents first, otherwise as planned. Raises BadPlan."""
    planned = list(needs)
    graph: networkx.DiGraph[str] = networkx.DiGraph()
    graph.add_nodes_from(planned)
    graph.add_edges_from((parent, step) for step, parents in needs.items() for parent in sorted(parents))
    try:
        cycle = [child for _, child in reversed(networkx.find_cycle(graph))]
    except networkx.NetworkXNoCycle:
        return list(networkx.lexicographical_topological_sort(graph, key=planned.index))
    raise BadPlan([f"steps wait for each other: {' → '.join([*cycle, cycle[0]])}"])


def _entries(stage: PlanStage, answer: LlmOutput) -> list[dict[str, Any]]:
    """The entries of a plan, of the right types. Raises BadPlan."""
    try:
        plan: Any = read_json(answer.text)
    except (ValueError, RecursionError) as error:
        cut = " (it was cut off at max_tokens: allow more)" if answer.finish_reason == "length" else ""
        raise BadPlan([f"the answer is no JSON{cut}: {error}"]) from error
    shape = {
        "type": "object",
        "properties": {"steps": {"type": "array", "maxItems": stage.max_stages, "items": _ENTRY}},
        "required": ["steps"],
    }
    errors = sorted(Draft202012Validator(shape).iter_errors(plan), key=lambda error: error.json_path)
    if errors:
        raise BadPlan(f"{path_text(error.absolute_path) or 'the plan'}: {error.message[:300]}" for error in errors)
    return [{"after": [], "args": {}, **entry} for entry in plan["steps"]]


_ENTRY = {
    "type": "object",
    "properties": {
        "id": {"type": "string", "pattern": f"^{_ID}$"},
        "tool": {"type": "string"},
        "args": {"type": "object"},
        "after": {"type": "array", "items": {"type": "string"}},
    },
    "required": ["id", "tool"],
    "additionalProperties": False,
}


def _problems(
    stage: PlanStage, entries: Sequence[Mapping[str, Any]], catalogue: Mapping[str, ToolInfo]
) -> Iterator[str]:
    counts = Counter(entry["id"] for entry in entries)
    yield from (f"{count} steps have the id {step!r}" for step, count in counts.items() if count > 1)
    for entry in entries:
        step, tool = entry["id"], entry["tool"]
        for parent in entry["after"]:
            if parent not in counts:
                yield f"step {step}: after names {parent!r}, which is no step"
        if tool not in stage.tools:
            yield f"step {step}: there is no tool {tool!r}; there are {', '.join(stage.tools)}"
        elif tool in catalogue:
            for problem in _args_problems(entry["args"], catalogue[tool].args_schema, tuple(counts)):
                yield f"step {step}, tool {tool}: {problem}"


def _args_problems(args: JsonValue, schema: _Schema, ids: Sequence[str]) -> Iterator[str]:
    errors = Draft202012Validator(dict(schema)).iter_errors(args)
    for error in sorted(errors, key=lambda error: error.json_path):
        # What another step will put here is not known yet; the executor checks it.
        if not _marks(error.instance if isinstance(error.instance, str) else None, ids):
            yield f"{path_text(['args', *error.absolute_path])}: {error.message[:300]}"


def _marks(args: JsonValue, ids: Sequence[str]) -> set[str]:
    """Ids of the steps whose outputs are used. A mark that names no step is ordinary text, such as `<b>`."""
    found = (match[1] for _, part in texts_in(args, "") for match in _MARK.finditer(part))
    return {step for step in found if step in ids}


def fill_in(args: JsonValue, results: Mapping[str, JsonValue]) -> JsonValue:
    """The arguments with the outputs of other steps put in. Raises BadReference."""
    if isinstance(args, dict):
        return {key: fill_in(part, results) for key, part in args.items()}
    if isinstance(args, list):
        return [fill_in(part, results) for part in args]
    if not isinstance(args, str):
        return args
    alone = _MARK.fullmatch(args)
    if alone and alone[1] in results:
        return _part(results[alone[1]], alone)
    return _MARK.sub(lambda mark: text(_part(results[mark[1]], mark)) if mark[1] in results else mark[0], args)


def _part(value: JsonValue, mark: re.Match[str]) -> JsonValue:
    for key in filter(None, mark[2].split(".")):
        if isinstance(value, dict) and key in value:
            value = value[key]
        elif isinstance(value, list) and key.isdecimal() and int(key) < len(value):
            value = value[int(key)]
        else:
            raise BadReference(f"{mark[0]}: the output has no {key!r}")
    return value


def correction(problems: Iterable[str]) -> str:
    """What a model is told about its bad plan."""
    listed = "\n".join(f"- {problem}" for problem in problems)
    return f"This plan cannot be run:\n{listed}\nAnswer with a corrected plan, and nothing else."
