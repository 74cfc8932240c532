"""The chat model: every call is a stage, scheduled among everybody else's."""

from __future__ import annotations

import json
from collections.abc import Callable, Coroutine, Mapping, Sequence
from datetime import timedelta
from typing import Any, cast

from langchain_core.callbacks import AsyncCallbackManagerForLLMRun, CallbackManagerForLLMRun
from langchain_core.exceptions import OutputParserException
from langchain_core.language_models import BaseChatModel, LanguageModelInput
from langchain_core.messages import AIMessage, BaseMessage
from langchain_core.messages.ai import UsageMetadata
from langchain_core.output_parsers import BaseOutputParser
from langchain_core.outputs import ChatGeneration, ChatResult
from langchain_core.runnables import Runnable, RunnableMap, RunnablePassthrough
from langchain_core.tools import BaseTool
from langchain_core.utils.function_calling import convert_to_openai_tool
from pydantic import BaseModel, ConfigDict, Field, TypeAdapter
from typing_extensions import is_typeddict

from llmsched.errors import InvalidRequestError, Violation
from llmsched.langchain.calls import Done, Stage, work_of
from llmsched.langchain.connection import Connection, JobPort, Opener, StagePort
from llmsched.langchain.messages import answer_of, schema_for, to_chat, with_tools
from llmsched.langchain.runs import stage_name_of
from llmsched.open_jobs import StageResult

__all__ = ["ChatLLMSched"]

_SAMPLING = ("max_tokens", "temperature", "top_p", "top_k", "min_p", "seed", "ignore_eos")
_Tools = Sequence[Mapping[str, Any]]


class ChatLLMSched(BaseChatModel):
    """A model of an LLMSched cluster.

        model = ChatLLMSched(max_tokens=200)

    All calls of one run of a graph are stages of one open job, named after the graph's nodes; a call outside of any
    graph or chain is a job of one stage. All models of a process share one channel. Calls raise StageFailedError,
    JobCancelledError, InvalidRequestError and the other LLMSchedErrors.
    """

    model_config = ConfigDict(arbitrary_types_allowed=True, populate_by_name=True)

    model: str = ""
    """Which of the cluster's models; empty: any."""
    address: str | None = None
    """The planner's host:port; by itself as for `llmsched.Client`."""
    application: str = ""
    """What the jobs are jobs of; empty: the graph's name. What is learned of a graph is learned under it."""
    max_tokens: int | None = None
    temperature: float | None = None
    top_p: float | None = None
    top_k: int | None = None
    min_p: float | None = None
    stop: list[str] | None = None
    seed: int | None = None
    ignore_eos: bool | None = None
    timeout: timedelta | float | None = None
    """Seconds of one attempt."""
    max_attempts: int | None = None
    """Attempts in all; 3 unless set; 1 means at most once."""
    connection: Connection | None = Field(default=None, exclude=True, repr=False)
    """By itself, the process's connection to `address`."""

    @property
    def _llm_type(self) -> str:
        return "llmsched"

    @property
    def _identifying_params(self) -> Mapping[str, Any]:
        return {"model": self.model, **{name: getattr(self, name) for name in _SAMPLING}}

    def bind_tools(
        self,
        tools: Sequence[dict[str, Any] | type | Callable[..., Any] | BaseTool],
        *,
        tool_choice: str | bool | None = None,
        **kwargs: Any,
    ) -> Runnable[LanguageModelInput, AIMessage]:
        """The model with tools that it may call.

        `tool_choice`: `auto` (the model decides), `any` or `required` (it must call one), `none`, or a tool's name.
        Works with any model: the tools are described in the system prompt, and the answer is constrained by a schema.
        """
        described = [convert_to_openai_tool(each) for each in tools]
        return cast(
            "Runnable[LanguageModelInput, AIMessage]", self.bind(tools=described, tool_choice=tool_choice, **kwargs)
        )

    def with_structured_output(
        self, schema: dict[str, Any] | type, *, include_raw: bool = False, **kwargs: Any
    ) -> Runnable[LanguageModelInput, Any]:
        """The model, answering with a value of this schema: a pydantic model, a TypedDict, a dataclass, a JSON schema.

        The engine makes sure that the answer fits. A pydantic model gives its instances, all else dicts. Parsing raises
        OutputParserException, of an answer that was cut off for example; with `include_raw` the result is a dict with
        `raw`, `parsed` and `parsing_error`. `method` and `strict` change nothing.
        """
        unknown = kwargs.keys() - {"method", "strict"}  # the one method that there is gives what all of them promise
        if unknown:
            raise ValueError(f"with_structured_output has no {', '.join(sorted(unknown))}")
        parser = _Whole()
        if isinstance(schema, dict):
            wanted = schema.get("parameters", schema) if "name" in schema and "properties" not in schema else schema
        elif issubclass(schema, BaseModel):
            wanted, parser = schema.model_json_schema(), _Whole(wanted=schema)
        elif is_typeddict(schema):
            wanted = convert_to_openai_tool(schema)["function"]["parameters"]
        else:
            wanted = TypeAdapter(schema).json_schema()
        model = self.bind(json_schema=wanted)
        if not include_raw:
            return cast("Runnable[LanguageModelInput, Any]", model | parser)
        parsed = RunnablePassthrough.assign(parsed=(lambda found: found["raw"]) | parser, parsing_error=lambda _: None)
        failed = RunnablePassthrough.assign(parsed=lambda _: None)
        return RunnableMap(raw=model) | parsed.with_fallbacks([failed], exception_key="parsing_error")

    def _generate(
        self,
        messages: list[BaseMessage],
        stop: list[str] | None = None,
        run_manager: CallbackManagerForLLMRun | None = None,
        **kwargs: Any,
    ) -> ChatResult:
        connection, work, tools = self._prepare(messages, stop, run_manager, kwargs)
        return self._result(connection.run(work), tools)

    async def _agenerate(
        self,
        messages: list[BaseMessage],
        stop: list[str] | None = None,
        run_manager: AsyncCallbackManagerForLLMRun | None = None,
        **kwargs: Any,
    ) -> ChatResult:
        connection, work, tools = self._prepare(messages, stop, run_manager, kwargs)
        return self._result(await connection.do(work), tools)

    def _prepare(
        self,
        messages: Sequence[BaseMessage],
        stop: Sequence[str] | None,
        run_manager: CallbackManagerForLLMRun | AsyncCallbackManagerForLLMRun | None,
        options: Mapping[str, Any],
    ) -> tuple[Connection, Callable[[Opener], Coroutine[Any, Any, Done]], _Tools]:
        metadata = run_manager.metadata if run_manager else None
        asked, tools = self._asked(messages, stop, dict(options))
        name = stage_name_of(metadata, self.name or self.model or "llm")

        async def add(job: JobPort, after: list[str]) -> StagePort:
            return await job.start_llm(name, after=after, **asked)

        connection = self.connection or Connection.to(self.address)
        stage = Stage(
            name=name,
            application=self.application,
            run_id=run_manager.parent_run_id if run_manager else None,
            metadata=metadata,
            add=add,
            shown=lambda result: result.text,
        )
        return connection, work_of(stage, connection), tools

    def _asked(
        self, messages: Sequence[BaseMessage], stop: Sequence[str] | None, options: dict[str, Any]
    ) -> tuple[dict[str, Any], _Tools]:
        """The options of the stage, and the tools that its answer may call."""
        chat = to_chat(messages)
        tools, may_answer = _chosen(options.pop("tools", None) or (), options.pop("tool_choice", None))
        schema = options.pop("json_schema", None)
        if tools:
            chat = with_tools(chat, tools, may_answer=may_answer)
            several = options.pop("parallel_tool_calls", None) is not False
            schema = schema_for(tools, may_answer=may_answer, several=several)
        asked: dict[str, Any] = {
            "messages": chat,
            "model": options.pop("model", None) or self.model or None,
            "json_schema": schema,
            "stop": stop or self.stop,
            "timeout": options.pop("timeout", self.timeout),
            "max_attempts": options.pop("max_attempts", self.max_attempts),
            **{name: options.pop(name, getattr(self, name)) for name in _SAMPLING},
        }
        options.pop("strict", None)  # answers always are
        if options:
            # What is dropped without a word would be missed much later.
            raise InvalidRequestError(
                violations=[Violation(path=name, message="is no option of this model") for name in sorted(options)]
            )
        return {name: value for name, value in asked.items() if value is not None}, tools

    def _result(self, done: Done, tools: _Tools) -> ChatResult:
        result: StageResult = done.result
        text, calls = answer_of(result.text, tools) if tools else (result.text, [])
        usage = result.usage
        message = AIMessage(
            content=text,
            tool_calls=calls,
            usage_metadata=UsageMetadata(
                input_tokens=usage.prompt_tokens,
                output_tokens=usage.completion_tokens,
                total_tokens=usage.prompt_tokens + usage.completion_tokens,
            ),
            response_metadata={
                "finish_reason": result.finish_reason,
                "model_name": self.model,
                "job": done.job_id,
                "stage": done.stage_id,
            },
        )
        return ChatResult(generations=[ChatGeneration(message=message)])


class _Whole(BaseOutputParser[Any]):
    """Reads answers that are whole. LangChain's own parsers complete what was cut off, and nobody sees that it was."""

    wanted: type[BaseModel] | None = None

    def parse(self, text: str) -> Any:
        try:
            return self.wanted.model_validate_json(text) if self.wanted else json.loads(text)
        except (ValueError, RecursionError) as error:  # pydantic's ValidationError is a ValueError
            raise OutputParserException(f"the answer does not fit: {error}", llm_output=text) from error

    @property
    def _type(self) -> str:
        return "llmsched"


def _chosen(tools: Sequence[Mapping[str, Any]], choice: str | bool | Mapping[str, Any] | None) -> tuple[_Tools, bool]:
    """The tools that may be called, and whether the model may answer instead. Raises InvalidRequestError."""
    known = [each.get("function", each) for each in tools]
    if isinstance(choice, Mapping):  # {"type": "function", "function": {"name": …}}
        choice = str(choice.get("function", choice).get("name"))
    if choice in (None, False, "auto"):
        return known, True
    if choice == "none":
        return [], True
    if choice in (True, "any", "required"):
        return known, False
    wanted = [each for each in known if each["name"] == choice]
    if not wanted:
        names = ", ".join(str(each["name"]) for each in known)
        raise InvalidRequestError(
            violations=[Violation(path="tool_choice", message=f"there is no tool {choice!r}; there are {names}")]
        )
    return wanted, False
