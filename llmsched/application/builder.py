"""Applications written in Python.

    app = Application("hello", input={"topic": "string"})
    idea = app.llm("idea", prompt="One idea about {{ input.topic }}", max_tokens=40)
    app.llm("poem", prompt="A poem about {{ idea.text }}", max_tokens=80)
    app.output = {"poem": "{{ poem.text }}"}

A loop is a block:

    with app.loop("refine", max_rounds=10, until="{{ test.passed }}") as refine:
        refine.llm("draft", prompt="…{{ refine.previous.test.report }}", max_tokens=512)
        refine.tool("test", call="python.run_tests", args={"code": "{{ draft.text }}"})

Options are those of the stages in `model`, where durations may be texts such as "30s". Nothing is checked until
`spec()`, which then names everything that is wrong.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import timedelta
from types import TracebackType
from typing import Any, TypedDict, Unpack

from pydantic import BaseModel

from llmsched.application.model import (
    ApplicationSpec,
    ForEach,
    LlmStage,
    Message,
    Retry,
    ToolStage,
)
from llmsched.application.parse import build
from llmsched.tools import spec_of

__all__ = ["Application", "Loop", "StageHandle"]

Tool = str | Callable[..., Any]  #: the name of a tool, or a function with the `tool` decorator


@dataclass(frozen=True, slots=True)
class StageHandle:
    """A stage that was added; give it to `after`."""

    name: str

    def __str__(self) -> str:
        return self.name


class _StageOptions(TypedDict, total=False):
    after: Sequence[str | StageHandle]
    when: str
    timeout: timedelta | str


class _TaskOptions(_StageOptions, total=False):
    foreach: ForEach | Mapping[str, str] | str
    retry: Retry | Mapping[str, Any]
    on_error: LlmStage | ToolStage


class SamplingOptions(TypedDict, total=False):
    """Which model answers, and how."""

    model: str
    max_tokens: int
    temperature: float
    top_p: float
    top_k: int
    min_p: float
    stop: Sequence[str]
    seed: int
    ignore_eos: bool


class _CallOptions(SamplingOptions, total=False):
    prompt: str
    messages: Sequence[Message | Mapping[str, str]]


class LlmOptions(_TaskOptions, _CallOptions, total=False):
    """Options of `llm`."""

    json_schema: Mapping[str, Any] | type[BaseModel]


class PlanOptions(_StageOptions, _CallOptions, total=False):
    """Options of `plan`."""

    retry: Retry | Mapping[str, Any]
    max_stages: int
    max_retries: int


class DynamicOptions(_StageOptions, total=False):
    """Options of `dynamic`."""

    retry: Retry | Mapping[str, Any]
    keep_going: bool


class _Scope:
    """Collects the stages of an application or of a loop."""

    def __init__(self) -> None:
        self._stages: list[dict[str, Any]] = []

    def llm(self, name: str, **options: Unpack[LlmOptions]) -> StageHandle:
        """Add a call of a language model. `json_schema` may be a pydantic model."""
        schema = options.get("json_schema")
        extra = {}
        if isinstance(schema, type):
            extra["json_schema"] = schema.model_json_schema()
        return self._add("llm", name, {**options, **extra})

    def tool(
        self, name: str, *, call: Tool, args: Mapping[str, Any] | None = None, **options: Unpack[_TaskOptions]
    ) -> StageHandle:
        """Add a call of a tool."""
        return self._add("tool", name, {"call": _tool_name(call), "args": dict(args or {}), **options})

    def plan(self, name: str, *, tools: Iterable[Tool], **options: Unpack[PlanOptions]) -> StageHandle:
        """Add a call of a model that plans calls of these tools; `dynamic` runs the plan."""
        return self._add("plan", name, {"tools": [_tool_name(each) for each in tools], **options})

    def dynamic(self, name: str, *, plan: str | StageHandle, **options: Unpack[DynamicOptions]) -> StageHandle:
        """Add the stages of a plan."""
        return self._add("dynamic", name, {"plan": str(plan), **options})

    def loop(self, name: str, *, max_rounds: int, until: str, **options: Unpack[_StageOptions]) -> Loop:
        """Add a loop; its body is what is added to the returned block."""
        loop = Loop(name)
        self._add("loop", name, {"max_rounds": max_rounds, "until": until, "body": loop._stages, **options})
        return loop

    def _add(self, kind: str, name: str, options: Mapping[str, Any]) -> StageHandle:
        stage = {"kind": kind, "name": name, **options}
        if "after" in stage:
            stage["after"] = [str(each) for each in stage["after"]]
        self._stages.append(stage)
        return StageHandle(name)


class Loop(_Scope):
    """The body of a loop, used as a block."""

    def __init__(self, name: str) -> None:
        super().__init__()
        self.name = name

    def __str__(self) -> str:
        return self.name

    def __enter__(self) -> Loop:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        pass


class Application(_Scope):
    """An application that is being written. `spec()` gives the value that is registered."""

    def __init__(
        self, name: str, *, version: int = 1, description: str = "", input: Mapping[str, Any] | None = None
    ) -> None:
        """`input` is a JSON schema or its short form, as in `{"topic": "string", "limit": "optional integer"}`."""
        super().__init__()
        self.name = name
        self.version = version
        self.description = description
        self.input = dict(input or {})
        #: The job's result, with templates in it; None: the outputs of all stages that no other stage uses.
        self.output: Any = None

    def spec(self) -> ApplicationSpec:
        """The finished value. Raises ApplicationError with everything that is wrong."""
        return build(
            {
                "application": self.name,
                "version": self.version,
                "description": self.description,
                "input": self.input,
                "stages": self._stages,
                "output": self.output,
            }
        )


def _tool_name(tool: Tool) -> str:
    if isinstance(tool, str):
        return tool
    spec = spec_of(tool)
    if spec is None:
        raise TypeError(f"{tool!r} is no tool: give its name, or a function with the tool decorator")
    return spec.name
