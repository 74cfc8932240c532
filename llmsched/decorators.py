"""Applications written as plain functions.

    from llmsched.decorators import application, llm_stage, tool

    @llm_stage(max_tokens=40)
    def idea(topic: str) -> str:
        \"\"\"One idea about {{ topic }}:\"\"\"

    @tool("text.count")
    def count(text: str) -> int:
        \"\"\"How many words a text has.\"\"\"
        return len(text.split())

    @application("hello")
    def hello(topic: str) -> dict:
        first = idea(topic)
        return {"idea": first, "words": count(first)}

The function of an application runs once, when it is decorated, and writes the application down: a call of a stage or
tool gives a reference to what it will give, and what a stage is given says what it waits for. So `if` and `for` over
references are refused: `stage(…, when=…)`, `foreach` and `loop` say the same. The result is an
`llmsched.Application`, the builder's own: register it, submit jobs of it, or add to it what decorators have no word
for (`plan`, `dynamic`). Nothing but types is checked until `spec()`, which names everything that is wrong.
"""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from types import FunctionType
from typing import Any, TypedDict, TypeVar, Unpack, cast

from llmsched.application.builder import Application, Loop, SamplingOptions
from llmsched.application.expressions import Reference, filled, template
from llmsched.application.model import Retry
from llmsched.signatures import arguments_model, hints_of, value_schema, without_titles
from llmsched.tools import spec_of, tool, writer

__all__ = ["Reference", "application", "foreach", "llm_stage", "loop", "stage", "tool"]

_Function = TypeVar("_Function", bound=Callable[..., Any])


class LlmStageOptions(SamplingOptions, total=False):
    """Options of `llm_stage`."""

    retry: Retry | Mapping[str, Any]
    timeout: timedelta | str


class StageOptions(TypedDict, total=False):
    """Options of one use of a stage or tool in an application."""

    name: str  #: of the stage; by itself the function's, then `name_2`, `name_3`, …
    after: Iterable[Any]  #: references or names of further stages that must be done first
    when: Any  #: a reference, or one expression in braces; the stage is skipped when it is false
    retry: Retry | Mapping[str, Any]
    timeout: timedelta | str


@dataclass(frozen=True, slots=True, kw_only=True)
class _LlmStage:
    """What `llm_stage` has made of a function."""

    prompt: str
    system: str | None
    chat: bool
    json_schema: dict[str, Any] | None
    options: LlmStageOptions


def llm_stage(
    *, system: str | None = None, chat: bool = False, **options: Unpack[LlmStageOptions]
) -> Callable[[_Function], _Function]:
    """Declare a call of a language model. The function is never run.

    Its docstring is the template of the prompt, in which the parameters are names. `-> str` gives the text; any other
    type (a dataclass, a TypedDict, a pydantic model, a list, …) is what the answer must be, as JSON. With `system`, a
    template too, or `chat` the model is given a chat, else the raw text. Raises TypeError.
    """

    def declare(function: _Function) -> _Function:
        name = _plain(function, "llm_stage")
        prompt = inspect.getdoc(function)
        if not prompt:
            raise TypeError(f"{name}: the docstring of an llm_stage is its prompt, and there is none")
        returned = hints_of(function).get("return", str)

        @functools.wraps(function)
        def call(*args: Any, **kwargs: Any) -> Any:
            return _current(name).add(call, args, kwargs)

        call.__llm_stage__ = _LlmStage(  # type: ignore[attr-defined]
            prompt=prompt,
            system=system,
            chat=chat or system is not None,
            json_schema=None if returned is str else value_schema(returned),
            options=options,
        )
        return cast("_Function", call)

    return declare


def application(
    name: str, *, version: int = 1, description: str | None = None
) -> Callable[[Callable[..., Any]], Application]:
    """Write an application down by running its function once, on references to a job's input.

    The parameters are the input: their type hints give its schema, those with a default may be absent. What the
    function returns is the job's output. `description` is by itself the docstring. Raises TypeError.
    """

    def declare(function: Callable[..., Any]) -> Application:
        _plain(function, "application")
        model = arguments_model(cast("FunctionType", function), hints_of(function), {})
        schema = without_titles(model.model_json_schema())
        about = description if description is not None else " ".join((inspect.getdoc(function) or "").split())
        # A JSON schema of an object always has these two, even of one without fields.
        app = Application(name, version=version, description=about, input={"type": "object", "properties": {}} | schema)
        token = writer.set(_Writer(app))
        try:
            parameters = inspect.signature(function).parameters.values()
            given = function(**{each.name: _input(each) for each in parameters})
        finally:
            writer.reset(token)
        app.output = template(given)
        return app

    return declare


def stage(function: _Function, **options: Unpack[StageOptions]) -> _Function:
    """A stage or tool with options for one place: `stage(count, name="again", when=first.good)(text)`."""

    @functools.wraps(function)
    def call(*args: Any, **kwargs: Any) -> Any:
        return _current(function.__name__).add(call, args, kwargs)

    call.__stage_options__ = {**getattr(function, "__stage_options__", {}), **options}  # type: ignore[attr-defined]
    return cast("_Function", call)


def foreach(function: Callable[..., Any], items: Any, *args: Any, **kwargs: Any) -> Any:
    """Call a stage or tool once for each element of a list, which becomes its first argument.

    Gives a reference to the list of what the calls give.
    """
    return _current(function.__name__).add(function, (Reference("item"), *args), kwargs, items=items)


@contextmanager
def loop(
    name: str,
    *,
    max_rounds: int,
    until: str,
    after: Iterable[Any] = (),
    when: Any = None,
) -> Iterator[Any]:
    """Repeat what is called within the block until a condition holds.

        with loop("refine", max_rounds=10, until="{{ test.passed }}") as refine:
            code = draft(problem, refine.previous.test.report)
            test(code)
        return {"code": refine.last.draft, "rounds": refine.count}

    `until` is an expression over the names of the block's stages. The loop itself is a reference: within the block it
    has `round`, `previous` and `rounds`, after it `last`, `rounds` and `count`.
    """
    writing = _current(name)
    common = _common({"after": after, "when": when})
    with writing.inside(writing.scope.loop(writing.take(name), max_rounds=max_rounds, until=until, **common)):
        yield Reference(name, stage=name)


class _Writer:
    """An application while its function runs."""

    def __init__(self, app: Application) -> None:
        self.scope: Application | Loop = app
        self._names: set[str] = set()

    @contextmanager
    def inside(self, scope: Loop) -> Iterator[None]:
        """Stages belong to the loop meanwhile."""
        around, self.scope = self.scope, scope
        try:
            yield
        finally:
            self.scope = around

    def take(self, wanted: str) -> str:
        """Keeps a name from being chosen again; one that is taken twice is for `spec()` to refuse."""
        self._names.add(wanted)
        return wanted

    def add(
        self, function: Callable[..., Any], args: tuple[Any, ...], kwargs: Mapping[str, Any], items: Any = None
    ) -> Reference:
        """Adds the stage that a call means."""
        options: Mapping[str, Any] = getattr(function, "__stage_options__", {})
        name = self.take(options.get("name") or self._free(function.__name__))
        common = _common(options)
        if items is not None:
            common["foreach"] = template(items)
        called: _LlmStage | None = getattr(function, "__llm_stage__", None)
        bound = inspect.signature(function).bind(*args, **kwargs)
        if called is None:
            spec = spec_of(function)
            if spec is None:
                raise TypeError(f"{function.__name__} is neither an llm_stage nor a tool")
            self.scope.tool(name, call=spec.name, args=template(bound.arguments), **common)
            part = ""
        else:
            bound.apply_defaults()
            self._add_llm(name, called, bound.arguments, common)
            part = "text" if called.json_schema is None else "json"
        return Reference(name, stage=name, part=part, many=items is not None)

    def _add_llm(self, name: str, called: _LlmStage, values: Mapping[str, Any], common: dict[str, Any]) -> None:
        prompt = filled(called.prompt, values)
        asked: dict[str, Any] = {"prompt": prompt}
        if called.chat:
            system = [{"system": filled(called.system, values)}] if called.system else []
            asked = {"messages": [*system, {"user": prompt}]}
        if called.json_schema is not None:
            asked["json_schema"] = called.json_schema
        self.scope.llm(name, **asked, **{**called.options, **common})

    def _free(self, wanted: str) -> str:
        number = 1
        name = wanted
        while name in self._names:
            number += 1
            name = f"{wanted}_{number}"
        return name


def _current(name: str) -> _Writer:
    writing = writer.get()
    if not isinstance(writing, _Writer):
        raise TypeError(f"{name} is a stage: call it in the function of an application")
    return writing


def _plain(function: Callable[..., Any], what: str) -> str:
    if not isinstance(function, FunctionType) or inspect.iscoroutinefunction(function):
        raise TypeError(f"only plain functions can be an {what}, {function!r} is none")
    return function.__name__


def _common(options: Mapping[str, Any]) -> dict[str, Any]:
    common = {key: value for key, value in options.items() if key in ("retry", "timeout")}
    after = [each.stage_of() if isinstance(each, Reference) else str(each) for each in options.get("after", ())]
    if after:
        common["after"] = after
    if options.get("when") is not None:
        common["when"] = template(options["when"])
    return common


def _input(parameter: inspect.Parameter) -> Reference:
    path = f"input.{parameter.name}"
    if parameter.default in (parameter.empty, None):
        return Reference(path)
    return Reference(path).or_else(parameter.default)
