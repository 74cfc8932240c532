"""Tools of the cluster as LangChain tools: every call is a stage."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from langchain_core.callbacks import AsyncCallbackManagerForToolRun, CallbackManagerForToolRun
from langchain_core.tools import BaseTool, ToolException
from pydantic import ConfigDict, Field

from llmsched.errors import StageFailedError
from llmsched.langchain.calls import Stage, work_of
from llmsched.langchain.connection import Connection, JobPort, StagePort
from llmsched.tools import ToolRegistry, ToolSpec, spec_of

__all__ = ["ClusterTool", "llmsched_tool"]


def llmsched_tool(
    tool: str | Callable[..., Any],
    *,
    name: str | None = None,
    description: str | None = None,
    args_schema: Mapping[str, Any] | None = None,
    **options: Any,
) -> ClusterTool:
    """A tool of the cluster for graphs and agents: `ToolNode([llmsched_tool("search.lookup")])`.

    `tool` is a function with the `llmsched.tools.tool` decorator, or the name of a tool: of an installed package, else
    give its `description` and `args_schema` too. Its name for models is `name`, else the tool's with `_` for dots.
    `options` are those of `ClusterTool`. A call that fails for good raises ToolException: `handle_tool_error=True`
    tells the model instead. Raises UnknownToolError.
    """
    spec = _spec(tool) if args_schema is None or description is None else None
    called = tool if isinstance(tool, str) else spec.name if spec else _spec(tool).name
    return ClusterTool(
        name=name or called.replace(".", "_"),
        description=description or (spec.description if spec else ""),
        args_schema=dict(args_schema if args_schema is not None else spec.args_schema if spec else {}),
        tool=called,
        **options,
    )


class ClusterTool(BaseTool):
    """Runs on a tool executor of the cluster, as a stage of the job that its graph is."""

    model_config = ConfigDict(arbitrary_types_allowed=True)

    tool: str
    """Its name in the cluster."""
    address: str | None = None
    """The planner's host:port; by itself as for `llmsched.Client`."""
    application: str = ""
    """As of `ChatLLMSched`; both must be alike to share a job."""
    timeout: float | None = None
    """Seconds of one attempt."""
    max_attempts: int | None = None
    """Attempts in all; 3 unless set; 1 means at most once."""
    connection: Connection | None = Field(default=None, exclude=True, repr=False)
    """By itself, the process's connection to `address`."""

    def _run(self, *, run_manager: CallbackManagerForToolRun | None = None, **kwargs: Any) -> Any:
        connection = self.connection or Connection.to(self.address)
        try:
            return connection.run(work_of(self._stage(kwargs, run_manager), connection)).result.value
        except StageFailedError as error:
            raise ToolException(str(error)) from error

    async def _arun(self, *, run_manager: AsyncCallbackManagerForToolRun | None = None, **kwargs: Any) -> Any:
        connection = self.connection or Connection.to(self.address)
        try:
            return (await connection.do(work_of(self._stage(kwargs, run_manager), connection))).result.value
        except StageFailedError as error:
            raise ToolException(str(error)) from error

    def _stage(
        self,
        args: Mapping[str, Any],
        run_manager: CallbackManagerForToolRun | AsyncCallbackManagerForToolRun | None,
    ) -> Stage:
        options = {"timeout": self.timeout, "max_attempts": self.max_attempts}

        async def add(job: JobPort, after: list[str]) -> StagePort:
            given = {name: value for name, value in options.items() if value is not None}
            return await job.start_tool(self.tool, self.tool, args, after=after, **given)

        return Stage(
            name=self.tool,
            application=self.application,
            run_id=run_manager.run_id if run_manager else None,
            metadata=run_manager.metadata if run_manager else None,
            add=add,
            shown=lambda result: result.value,
        )


def _spec(tool: str | Callable[..., Any]) -> ToolSpec:
    if isinstance(tool, str):
        return ToolRegistry.from_entry_points().get(tool)
    spec = spec_of(tool)
    if spec is None:
        raise TypeError(f"{tool!r} is no tool: give its name, or a function with the tool decorator")
    return spec
