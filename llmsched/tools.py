"""What a tool author imports: the `tool` decorator, and the registry executors serve tools from.

    from llmsched.tools import tool

    @tool(name="weather.today", timeout=5, env=("WEATHER_KEY",))
    def today(city: str, days: int = 1) -> dict[str, float]:
        \"\"\"The temperature forecast of a city.

        Args:
            city: Name of the city in English.
            days: How many days ahead.
        \"\"\"

Arguments and results of a tool are JSON values. A package offers its tools by naming the module in the
entry-point group `llmsched.tools`.
"""

from __future__ import annotations

import difflib
import functools
import importlib
import inspect
import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextvars import ContextVar
from dataclasses import dataclass, field
from importlib.metadata import entry_points
from types import FunctionType, ModuleType
from typing import Any, Protocol, TypeVar, cast

from jsonschema import Draft202012Validator, SchemaError
from pydantic import BaseModel, ValidationError

from llmsched.signatures import SignatureError, arguments_model, hints_of, value_schema, without_titles

__all__ = [
    "DuplicateToolError",
    "InvalidArgumentsError",
    "RetryableError",
    "ToolDefinitionError",
    "ToolLimits",
    "ToolRegistry",
    "ToolSpec",
    "UnknownToolError",
    "Violation",
    "spec_of",
    "tool",
]

ENTRY_POINT_GROUP = "llmsched.tools"
_NAME = re.compile(r"[a-z][a-z0-9_]*(\.[a-z][a-z0-9_]*)+")
_SECTION = re.compile(r"^\s*(Args|Arguments|Returns|Raises|Yields|Examples?):\s*$", re.MULTILINE)
_PARAMETER = re.compile(r"(?P<name>\w+)(?: \([^)]*\))?: (?P<text>.*)")
_Function = TypeVar("_Function", bound=Callable[..., Any])


class ToolDefinitionError(Exception):
    """A tool is declared in a way that cannot be served; the message says what to change."""


class DuplicateToolError(ToolDefinitionError):
    """Two functions claim the same tool name; the message names both places."""


class UnknownToolError(LookupError):
    """No tool of that name is registered."""


class RetryableError(Exception):
    """Raise this (or a subclass) in a tool to say that another try may succeed."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Violation:
    """One thing that is wrong with the arguments of a call."""

    #: Where, e.g. `numbers[2]`; empty when the arguments as a whole are meant.
    path: str
    message: str

    def __str__(self) -> str:
        return f"{self.path}: {self.message}" if self.path else self.message


class InvalidArgumentsError(ValueError):
    """The arguments of a call do not fit the tool; `violations` lists everything that is wrong."""

    def __init__(self, violations: Iterable[Violation]) -> None:
        self.violations = tuple(violations)
        super().__init__("; ".join(map(str, self.violations)))


@dataclass(frozen=True, slots=True, kw_only=True)
class ToolLimits:
    """What one call of a tool may use; an executor ends a call that takes more."""

    #: Seconds of wall-clock time.
    timeout: float = 30.0
    #: Bytes of address space a call may add to its worker process.
    memory_bytes: int = 512 * 2**20
    #: Bytes of the result, written as JSON.
    max_output_bytes: int = 2**20

    def __post_init__(self) -> None:
        for name in ("timeout", "memory_bytes", "max_output_bytes"):
            if getattr(self, name) <= 0:
                raise ToolDefinitionError(f"{name} must be positive, not {getattr(self, name)}")


@dataclass(frozen=True, slots=True, kw_only=True)
class ToolSpec:
    """A tool as the system knows it: its name, its contract and its limits."""

    name: str
    description: str
    #: JSON schema (draft 2020-12) of the arguments, always of type object.
    args_schema: Mapping[str, Any]
    #: JSON schema of the result; empty means any JSON value.
    returns_schema: Mapping[str, Any]
    limits: ToolLimits
    #: Names of the environment variables the tool reads. Their values stay in the executor.
    env: tuple[str, ...]
    function: Callable[..., Any] = field(repr=False)
    _model: type[BaseModel] | None = field(default=None, repr=False, compare=False)

    @property
    def location(self) -> str:
        """Where the tool is defined, as `module:qualified.name`; an executor imports it from there."""
        return f"{self.function.__module__}:{self.function.__qualname__}"

    @property
    def signature(self) -> str:
        """One line for people and prompts, e.g. `date.add(date: string, days?: integer) -> string`."""
        required = set(self.args_schema.get("required", ()))
        named = self.args_schema.get("$defs", {})
        parameters = ", ".join(
            f"{name}{'' if name in required else '?'}: {_type_word(part, named)}"
            for name, part in self.args_schema.get("properties", {}).items()
        )
        return f"{self.name}({parameters}) -> {_type_word(self.returns_schema)}"

    def describe(self) -> dict[str, Any]:
        """The tool as a JSON value, for catalogues and plan prompts."""
        return {
            "name": self.name,
            "description": self.description,
            "signature": self.signature,
            "args": dict(self.args_schema),
            "returns": dict(self.returns_schema),
        }

    def validate_args(self, args: Any) -> tuple[Violation, ...]:
        """Everything that is wrong with `args`; empty when a call would be accepted."""
        try:
            self._bind(args)
        except InvalidArgumentsError as error:
            return error.violations
        return ()

    def call(self, args: Any) -> Any:
        """Check `args` and call the function in this thread.

        Raises InvalidArgumentsError, or whatever the function raises.
        """
        return self.function(**self._bind(args))

    def _bind(self, args: Any) -> dict[str, Any]:
        if not isinstance(args, dict):
            found = type(args).__name__
            raise InvalidArgumentsError([Violation(path="", message=f"arguments must be an object, not {found}")])
        if self._model is None:
            errors = Draft202012Validator(dict(self.args_schema)).iter_errors(args)
            violations = [Violation(path=_path(e.absolute_path), message=e.message) for e in errors]
            if violations:
                raise InvalidArgumentsError(sorted(violations, key=str))
            return args
        try:
            # Lax on purpose: a template renders a number as text, "5" is then taken for 5.
            model = self._model.model_validate(args)
        except ValidationError as error:
            raise InvalidArgumentsError(
                Violation(path=_path(e["loc"]), message=e["msg"]) for e in error.errors()
            ) from None
        fields = self._model.model_fields
        # What was left out stays out, so that the function's own default applies.
        return {str(fields[name].alias): getattr(model, name) for name in model.model_fields_set}


class Writer(Protocol):
    """What an application is being written with: calls of tools become stages of it."""

    def add(self, function: Callable[..., Any], args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> Any:
        """A reference to what the stage will give."""
        ...


#: Set while the function of an application runs (`llmsched.decorators`): its calls of tools are written down, not run.
writer: ContextVar[Writer | None] = ContextVar("llmsched_writer", default=None)


def tool(
    name: str,
    *,
    description: str | None = None,
    timeout: float = 30.0,
    memory_bytes: int = 512 * 2**20,
    max_output_bytes: int = 2**20,
    env: tuple[str, ...] = (),
    schema: Mapping[str, Any] | None = None,
) -> Callable[[_Function], _Function]:
    """Declare a plain function as a tool. It can be called as before; in the function of an application
    (`llmsched.decorators`) a call adds a stage.

    The schemas come from the type hints, the descriptions from the docstring (its `Args:` section describes
    the parameters). `schema` replaces the derived schema of the arguments. Units are seconds and bytes.
    Raises ToolDefinitionError at import when the function cannot be served.
    """
    limits = ToolLimits(timeout=timeout, memory_bytes=memory_bytes, max_output_bytes=max_output_bytes)
    if not _NAME.fullmatch(name):
        raise ToolDefinitionError(f"{name!r} is no tool name: write <area>.<verb> in lower case, e.g. text.count")

    def declare(function: _Function) -> _Function:
        if inspect.iscoroutinefunction(function) or not isinstance(function, FunctionType):
            raise ToolDefinitionError(f"tool {name}: only plain functions can be tools, {function!r} is none")
        doc = inspect.getdoc(function) or ""
        text = description or _SECTION.split(doc)[0].strip()
        if not text:
            raise ToolDefinitionError(f"tool {name}: give it a description or a docstring; plans are made from it")
        try:
            hints = hints_of(function)
            docs = _parameter_docs(doc)
            model = arguments_model(function, hints, docs, otherwise=", or give schema=") if schema is None else None
            returns = without_titles(value_schema(hints["return"])) if "return" in hints else {}
        except SignatureError as error:
            raise ToolDefinitionError(f"tool {name}: {error}") from error

        @functools.wraps(function)
        def call(*args: Any, **kwargs: Any) -> Any:
            writing = writer.get()
            return function(*args, **kwargs) if writing is None else writing.add(call, args, kwargs)

        call.__tool__ = ToolSpec(  # type: ignore[attr-defined]
            name=name,
            description=" ".join(text.split()),
            args_schema=_checked(name, schema) if model is None else without_titles(model.model_json_schema()),
            returns_schema=returns,
            limits=limits,
            env=tuple(env),
            function=function,
            _model=model,
        )
        return cast("_Function", call)

    return declare


def spec_of(function: Any) -> ToolSpec | None:
    """The spec of a function that carries the `tool` decorator, else None."""
    spec = getattr(function, "__tool__", None) if isinstance(function, FunctionType) else None
    return spec if isinstance(spec, ToolSpec) else None


class ToolRegistry:
    """The tools an executor serves, by name."""

    def __init__(self, functions: Iterable[Callable[..., Any]] = ()) -> None:
        self._specs: dict[str, ToolSpec] = {}
        #: Entry points that could not be loaded for want of an optional package, with the reason.
        self.unavailable: dict[str, str] = {}
        for function in functions:
            self.register(function)

    @classmethod
    def from_entry_points(cls, group: str = ENTRY_POINT_GROUP) -> ToolRegistry:
        """All tools of all installed packages.

        An entry point that needs a package which is not installed is noted in `unavailable`. Raises
        DuplicateToolError, and ToolDefinitionError when a module fails in any other way.
        """
        registry = cls()
        for entry in sorted(entry_points(group=group), key=lambda e: e.name):
            try:
                module = importlib.import_module(entry.module)
            except ModuleNotFoundError as error:
                registry.unavailable[entry.name] = f"{entry.value}: {error}"
                continue
            except ImportError as error:
                raise ToolDefinitionError(f"entry point {entry.name} = {entry.value}: {error}") from error
            registry.register_module(module)
        return registry

    def register(self, function: Callable[..., Any]) -> ToolSpec:
        """Add one decorated function; adding the same one again changes nothing."""
        spec = spec_of(function)
        if spec is None:
            raise ToolDefinitionError(f"{function!r} does not carry the @tool decorator")
        known = self._specs.setdefault(spec.name, spec)
        if known is not spec:
            raise DuplicateToolError(f"tool {spec.name} is defined twice: {known.location} and {spec.location}")
        return spec

    def register_module(self, module: ModuleType) -> None:
        """Add every tool of a module, and of those modules of its own package that it imports as modules."""
        seen = set()
        pending = [module]
        package = f"{module.__package__}." if module.__package__ else None
        while pending:
            current = pending.pop()
            if current.__name__ in seen:
                continue
            seen.add(current.__name__)
            for value in list(vars(current).values()):
                if spec_of(value):
                    self.register(value)
                elif isinstance(value, ModuleType) and package and value.__name__.startswith(package):
                    pending.append(value)

    def get(self, name: str) -> ToolSpec:
        """The tool of that name. Raises UnknownToolError, whose message suggests names that look alike."""
        try:
            return self._specs[name]
        except KeyError:
            near = difflib.get_close_matches(name, self._specs, n=3)
            known = ", ".join(self.names()) or "none"
            hint = f"did you mean {' or '.join(near)}?" if near else f"known are: {known}"
            raise UnknownToolError(f"there is no tool {name!r}; {hint}") from None

    def names(self) -> tuple[str, ...]:
        """All tool names in alphabetical order."""
        return tuple(sorted(self._specs))

    def missing_env(self, environ: Mapping[str, str]) -> dict[str, tuple[str, ...]]:
        """For each tool that lacks environment variables: their names, never values."""
        missing = {spec.name: tuple(v for v in spec.env if v not in environ) for spec in self}
        return {name: variables for name, variables in missing.items() if variables}

    def __iter__(self) -> Iterator[ToolSpec]:
        return (self._specs[name] for name in self.names())

    def __len__(self) -> int:
        return len(self._specs)

    def __contains__(self, name: object) -> bool:
        return name in self._specs


def _checked(name: str, schema: Mapping[str, Any] | None) -> dict[str, Any]:
    try:
        Draft202012Validator.check_schema(dict(schema or {}))
    except SchemaError as error:
        raise ToolDefinitionError(f"tool {name}: schema= is no JSON schema: {error.message}") from error
    return {"type": "object", **(schema or {})}


def _parameter_docs(doc: str) -> dict[str, str]:
    """The descriptions in the `Args:` section of a docstring; a deeper line continues the one before."""
    sections = _SECTION.split(doc)
    docs: dict[str, str] = {}
    for title, body in zip(sections[1::2], sections[2::2], strict=True):
        if not title.startswith("Arg"):
            continue
        name = ""
        for line in filter(None, map(str.strip, body.splitlines())):
            if match := _PARAMETER.fullmatch(line):
                name, docs[match["name"]] = match["name"], match["text"]
            elif name:
                docs[name] += f" {line}"
    return docs


def _type_word(schema: Mapping[str, Any], named: Mapping[str, Any] | None = None) -> str:
    """The type of a value in a few characters; `named` are the schemas that `$ref` can mean."""
    named = schema.get("$defs", {}) if named is None else named
    if "$ref" in schema:
        name = str(schema["$ref"]).rsplit("/", 1)[-1]
        # Left out below itself: a type may contain its own kind.
        others = {key: value for key, value in named.items() if key != name}
        return _type_word(named[name], others) if name in named else name
    if "enum" in schema:
        return "|".join(map(repr, schema["enum"]))
    if "anyOf" in schema:
        return "|".join(_type_word(part, named) for part in schema["anyOf"])
    kind = schema.get("type", "any")
    if kind == "array" and "items" in schema:
        return f"[{_type_word(schema['items'], named)}]"
    if kind == "object" and "properties" in schema:
        return "{" + ", ".join(f"{k}: {_type_word(v, named)}" for k, v in schema["properties"].items()) + "}"
    return str(kind)


def _path(location: Iterable[str | int]) -> str:
    path = ""
    for step in location:
        path += f"[{step}]" if isinstance(step, int) else f".{step}" if path else step
    return path
