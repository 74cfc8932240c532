"""Applications as YAML text. The kind of a stage is a key and its value is the name: `llm: draft`.

Errors name lines. Only what JSON has too is read from YAML: dates and `yes` or `on` stay texts.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Any

import yaml

from llmsched.application.model import ApplicationSpec, LoopStage, Stage
from llmsched.application.parse import build
from llmsched.application.violations import ApplicationError, Violation, path_text

__all__ = ["dump_yaml", "load_yaml", "parse_yaml"]

MAX_BYTES = 2**20
_MAX_NODES = 100_000  # aliases can make a short text very large
_MAX_DEPTH = 60
_TAGS = ("str", "null", "bool", "int", "float", "timestamp", "value")
_KINDS = ("llm", "tool", "loop", "dynamic", "plan")  # dynamic before plan: it has a field of that name


def load_yaml(path: str | Path, known_tools: Collection[str] | None = None) -> ApplicationSpec:
    """The application in a file. Raises OSError, and ApplicationError with everything that is wrong."""
    try:
        source = Path(path).read_text(encoding="utf-8")
    except UnicodeDecodeError as error:
        raise ApplicationError([Violation(path="", message=f"is no UTF-8 text: {error}")]) from error
    return parse_yaml(source, known_tools)


def parse_yaml(source: str, known_tools: Collection[str] | None = None) -> ApplicationSpec:
    """The application in a YAML text. Raises ApplicationError with everything that is wrong, by line."""
    reader = _Reader()
    data = reader.read(source)
    try:
        app = build(data, known_tools)
    except ApplicationError as error:
        found = [
            Violation(path=each.path, message=each.message, line=reader.line(each.path)) for each in error.violations
        ]
        raise ApplicationError(sorted([*reader.violations, *found], key=lambda each: each.line or 0)) from None
    if reader.violations:
        raise ApplicationError(reader.violations)
    return app


class _Reader:
    """Reads one text; remembers the line of every part, by path."""

    def __init__(self) -> None:
        self.violations: list[Violation] = []
        self._lines: dict[str, int] = {}
        self._nodes = 0
        self._loader = yaml.SafeLoader("")

    def read(self, source: str) -> dict[str, Any]:
        """The data, with stages as `ApplicationSpec` has them. Raises ApplicationError if it cannot be read at all."""
        if len(source) > MAX_BYTES:
            raise ApplicationError([Violation(path="", message=f"is longer than {MAX_BYTES} characters")])
        try:
            root = yaml.compose(source, Loader=yaml.SafeLoader)
            data = None if root is None else self._value(root, ())
        except yaml.MarkedYAMLError as error:
            line = None if error.problem_mark is None else error.problem_mark.line + 1
            raise ApplicationError([Violation(path="", message=f"is no YAML: {error.problem}", line=line)]) from None
        except (yaml.YAMLError, RecursionError) as error:
            message = str(error).splitlines()[0]
            raise ApplicationError([Violation(path="", message=f"is no YAML: {message}")]) from None
        if not isinstance(data, dict):
            raise ApplicationError([*self.violations, Violation(path="", message="an application is a mapping")])
        for part in _list(data.get("stages")):
            _name_kind(part)
        return data

    def line(self, path: str) -> int | None:
        """The line of a part, or of the nearest part around it."""
        while path and path not in self._lines:
            path = path[: max(path.rfind("."), path.rfind("["), 0)]
        return self._lines.get(path)

    def _value(self, node: yaml.Node, path: tuple[str | int, ...]) -> Any:
        self._nodes += 1
        self._lines.setdefault(path_text(path), node.start_mark.line + 1)
        if self._nodes > _MAX_NODES or len(path) > _MAX_DEPTH:
            raise yaml.YAMLError("it is too large or nested too deep once its aliases are followed")
        if isinstance(node, yaml.MappingNode):
            return self._mapping(node, path)
        if isinstance(node, yaml.SequenceNode):
            return [self._value(part, (*path, place)) for place, part in enumerate(node.value)]
        return self._scalar(node, path)

    def _scalar(self, node: yaml.Node, path: tuple[str | int, ...]) -> Any:
        kind = node.tag.removeprefix("tag:yaml.org,2002:")
        if kind not in _TAGS:
            self._refuse(node, path, f"the tag {kind} has no meaning here")
        if kind == "bool" and node.value.lower() not in ("true", "false"):
            return node.value  # YAML 1.1 takes yes, no, on and off for booleans
        if kind in ("int", "float") and ":" in node.value:
            return node.value  # and 1:30 for ninety
        return self._loader.construct_object(node) if kind in ("null", "bool", "int", "float") else node.value

    def _mapping(self, node: yaml.MappingNode, path: tuple[str | int, ...]) -> dict[str, Any]:
        values: dict[str, Any] = {}
        for key_node, value_node in node.value:
            if not isinstance(key_node, yaml.ScalarNode):
                self._refuse(key_node, path, 'put quotes around templates: "{{ … }}"')
                continue
            key = str(key_node.value)
            if key in values:
                self._refuse(key_node, (*path, key), "is given twice")
            values[key] = self._value(value_node, (*path, key))
            self._lines[path_text((*path, key))] = key_node.start_mark.line + 1
        # A stage's kind says its name, too.
        if (kind := _kind_of(values)) is not None:
            self._lines[path_text((*path, "name"))] = self._lines[path_text((*path, kind))]
        return values

    def _refuse(self, node: yaml.Node, path: tuple[str | int, ...], message: str) -> None:
        self.violations.append(Violation(path=path_text(path), message=message, line=node.start_mark.line + 1))


def _list(value: Any) -> list[Any]:
    return value if isinstance(value, list) else []


def _kind_of(stage: Mapping[str, Any]) -> str | None:
    return next((kind for kind in _KINDS if kind in stage), None)


def _name_kind(stage: Any) -> None:
    """Makes `llm: draft` into `kind: llm`, `name: draft`, in a stage and in those inside it."""
    if not isinstance(stage, dict):
        return
    kind = _kind_of(stage)
    if kind is not None and not {"kind", "name"} & stage.keys():
        stage["kind"], stage["name"] = kind, stage.pop(kind)
    for part in _list(stage.get("body")):
        _name_kind(part)
    _name_kind(stage.get("on_error"))


def dump_yaml(app: ApplicationSpec) -> str:
    """The YAML text of an application; `parse_yaml` reads it back to the same value."""
    data = app.model_dump(mode="json", exclude_defaults=True)
    data |= {"version": app.version, "input": app.input, "stages": [_stage_data(stage) for stage in app.stages]}
    order = ("application", "version", "description", "input", "stages", "output")
    ordered = {key: data[key] for key in order if key in data}
    return str(yaml.dump(ordered, Dumper=_Dumper, sort_keys=False, allow_unicode=True, width=100))


def _stage_data(stage: Stage) -> dict[str, Any]:
    inner = {"name", "kind", "body", "on_error"}
    data = stage.model_dump(mode="json", by_alias=True, exclude_defaults=True, exclude=inner)
    data = {stage.kind: stage.name, **data}
    if isinstance(stage, LoopStage):
        data["body"] = [_stage_data(part) for part in stage.body]
    if stage.on_error is not None:
        data["on_error"] = _stage_data(stage.on_error)
    return data


class _Dumper(yaml.SafeDumper):
    """Writes texts of several lines as blocks."""


def _write_text(dumper: yaml.SafeDumper, value: str) -> yaml.ScalarNode:
    return dumper.represent_scalar("tag:yaml.org,2002:str", value, style="|" if "\n" in value else None)


_Dumper.add_representer(str, _write_text)
