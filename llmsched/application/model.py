"""An application as a value: one schema for Python, YAML and the wire.

The classes here say what a well-formed application looks like; `validate.check` says whether it makes sense. Texts
called *template* are Jinja2, see `templates`. Every value is frozen. A stage's options are flat, as in YAML:
`LlmStage(name="draft", prompt="…", max_tokens=40)`.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from datetime import timedelta
from typing import Annotated, Any, ClassVar, Literal

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, JsonValue, PlainSerializer

__all__ = [
    "ApplicationSpec",
    "DynamicStage",
    "ForEach",
    "JsonValue",
    "LlmStage",
    "LoopStage",
    "Message",
    "PlanStage",
    "Retry",
    "Sampling",
    "Stage",
    "ToolStage",
    "expand_schema",
    "format_duration",
    "parse_duration",
]

_UNITS = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0}
_DURATION = re.compile(r"(\d+(?:\.\d+)?)(ms|s|m|h)")
_OPTIONAL = "optional "
_TYPES = frozenset({"string", "integer", "number", "boolean", "object", "array", "any"})


def parse_duration(value: object) -> timedelta:
    """A `timedelta` from one, or from text such as `500ms`, `30s`, `2m`, `1.5h`. Raises ValueError."""
    if isinstance(value, timedelta):
        return value
    match = _DURATION.fullmatch(value) if isinstance(value, str) else None
    if match is None:
        raise ValueError(f"{value!r} is no duration: write a number and a unit, as in 500ms, 30s, 2m or 1h")
    return timedelta(seconds=float(match[1]) * _UNITS[match[2]])


def format_duration(value: timedelta) -> str:
    """The text that `parse_duration` reads, in the largest unit that gives a whole number."""
    milliseconds = value / timedelta(milliseconds=1)
    for unit, size in (("h", 3_600_000), ("m", 60_000), ("s", 1000)):
        if milliseconds >= size and milliseconds % size == 0:
            return f"{milliseconds // size:.0f}{unit}"
    return f"{milliseconds:g}ms"


def expand_schema(value: object) -> object:
    """A JSON schema of an object, from one or the short form `{text: string, tags: [string], n: optional integer}`.

    A field is a type word (`any` means any value, `optional` before it that the field may be absent), a list with the
    type of its elements, or a JSON schema. Other fields than those named are refused. Raises ValueError.
    """
    if not isinstance(value, Mapping):
        return value
    if value.get("type") == "object" or isinstance(value.get("properties"), Mapping):
        return dict(value)
    optional = [name for name, kind in value.items() if isinstance(kind, str) and kind.startswith(_OPTIONAL)]
    return {
        "type": "object",
        "properties": {name: _field_schema(name, kind) for name, kind in value.items()},
        "required": [name for name in value if name not in optional],
        "additionalProperties": False,
    }


def _field_schema(name: object, kind: object) -> dict[str, Any]:
    if isinstance(kind, Mapping):
        return dict(kind)
    if isinstance(kind, list) and len(kind) == 1:
        return {"type": "array", "items": _field_schema(name, kind[0])}
    word = kind.removeprefix(_OPTIONAL) if isinstance(kind, str) else ""
    if word not in _TYPES:
        raise ValueError(f"{name}: {kind!r} is no type; use one of {', '.join(sorted(_TYPES))}, or a JSON schema")
    return {} if word == "any" else {"type": word}


def _expand_message(value: object) -> object:
    """Takes `{user: "…"}` for `{role: user, content: "…"}`."""
    if isinstance(value, Mapping) and len(value) == 1:
        (role, content), *_ = value.items()
        return {"role": role, "content": content}
    return value


def _expand_foreach(value: object) -> object:
    """Takes a text for the `items` of a fan-out."""
    return {"items": value} if isinstance(value, str) else value


Text = Annotated[str, Field(min_length=1)]  #: absent is None, never ""
Duration = Annotated[timedelta, BeforeValidator(parse_duration), PlainSerializer(format_duration, when_used="json")]


class Model(BaseModel):
    """What all parts share: frozen, and strict about unknown fields and about types (no "5" for 5)."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True, allow_inf_nan=False)


class ForEach(Model):
    """Fan-out: one task for each element of a list."""

    model_config = ConfigDict(populate_by_name=True)

    items: Text  #: template: one expression that yields a list
    #: Name of the element in templates; its place is `index`, from 0.
    as_: Text = Field(default="item", validation_alias="as", serialization_alias="as")


class Retry(Model):
    """What to do about failed attempts of a task."""

    max_attempts: int = Field(default=3, ge=1, le=100)  #: 1 means at most once
    backoff: Duration = timedelta(seconds=1)  #: before the second attempt; doubles with each further one


class Message(Model):
    """One message of a chat."""

    role: Literal["system", "user", "assistant"]
    content: Text  #: template in a stage, plain text in a rendered call


class Sampling(Model):
    """How an engine picks tokens; None leaves it to the engine."""

    max_tokens: int | None = Field(default=None, ge=1, le=2**31 - 1)
    temperature: float | None = Field(default=None, ge=0)  #: 0 is greedy
    top_p: float | None = Field(default=None, gt=0, le=1)
    top_k: int | None = Field(default=None, ge=1, le=2**31 - 1)
    min_p: float | None = Field(default=None, ge=0, le=1)
    stop: tuple[Text, ...] = Field(default=(), strict=False)  #: texts that end the answer
    seed: int | None = Field(default=None, ge=-(2**63), le=2**63 - 1)
    ignore_eos: bool | None = None  #: go on after the end-of-sequence token up to `max_tokens`


class _Common(Model):
    """What every stage has."""

    name: Text  #: a Python identifier, unique in its scope
    after: tuple[Text, ...] = Field(default=(), strict=False)  #: further stages of the scope that must be done first
    when: Text | None = None  #: template: one expression; the stage is skipped when it is false
    foreach: Annotated[ForEach, BeforeValidator(_expand_foreach)] | None = None
    retry: Retry | None = None
    timeout: Duration | None = None  #: of one attempt
    on_error: Stage | None = None  #: runs when this stage failed for good; its output stands in for this one's


class _ModelCall(_Common, Sampling):
    """What stages that call a model have."""

    prompt: Text | None = None  #: template of raw text; either this or `messages`
    messages: tuple[Annotated[Message, BeforeValidator(_expand_message)], ...] = Field(default=(), strict=False)
    model: Text | None = None  #: None: any

    @property
    def sampling(self) -> Sampling:
        """The sampling options alone."""
        return Sampling.model_construct(**{name: getattr(self, name) for name in Sampling.model_fields})


class LlmStage(_ModelCall):
    """Calls a language model."""

    kind: Literal["llm"] = "llm"
    json_schema: dict[str, JsonValue] | None = None  #: the answer must be JSON of this schema


class ToolStage(_Common):
    """Calls a tool."""

    kind: Literal["tool"] = "tool"
    call: Text  #: name of the tool
    args: dict[str, JsonValue] = Field(default_factory=dict)  #: strings at any depth are templates


class LoopStage(_Common):
    """Repeats its body until a condition holds."""

    kind: Literal["loop"] = "loop"
    max_rounds: int = Field(ge=1)
    until: Text  #: template: one expression, evaluated after each round; true ends the loop
    body: tuple[Stage, ...] = Field(min_length=1, strict=False)


class PlanStage(_ModelCall):
    """Asks a model for a plan: tool calls with dependencies, as JSON of a schema made from `tools`."""

    kind: Literal["plan"] = "plan"
    tools: tuple[Text, ...] = Field(min_length=1, strict=False)  #: tools that the plan may name
    max_stages: int = Field(default=20, ge=1, le=1000)  #: steps of a plan at most
    max_retries: int = Field(default=2, ge=0, le=20)  #: how often a bad plan is sent back with its errors


class DynamicStage(_Common):
    """Runs the stages of a plan. `retry` and `timeout` hold for each of them."""

    kind: Literal["dynamic"] = "dynamic"
    plan: Text  #: name of the plan stage, in the same scope
    #: A step that fails for good, or a plan that stays bad, does not fail the job: `steps` tells what became of it.
    keep_going: bool = False


Stage = Annotated[LlmStage | ToolStage | LoopStage | PlanStage | DynamicStage, Field(discriminator="kind")]

for _class in (LlmStage, ToolStage, LoopStage, PlanStage, DynamicStage):
    _class.model_rebuild()


class ApplicationSpec(Model):
    """A template of a compound LLM program: a DAG of stages."""

    model_config = ConfigDict(populate_by_name=True)

    KINDS: ClassVar[tuple[str, ...]] = ("llm", "tool", "loop", "plan", "dynamic")

    application: str = Field(pattern=r"^[a-z][a-z0-9]*(-[a-z0-9]+)*$", max_length=63)
    version: int = Field(default=1, ge=1, le=2**31 - 1)  #: a registered version never changes
    description: str = ""
    #: JSON schema (draft 2020-12) of a job's input; the short form of `expand_schema` is taken too.
    input: Annotated[dict[str, JsonValue], BeforeValidator(expand_schema)] = Field(default={}, validate_default=True)
    stages: tuple[Stage, ...] = Field(min_length=1, strict=False)  #: in any order
    output: JsonValue = None  #: strings at any depth are templates; None: the outputs of all sinks by name
