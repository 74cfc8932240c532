"""Runs tool attempts on a `ToolRunner`."""

from __future__ import annotations

import time
from collections.abc import Sequence

from llmsched.api.common.v1 import task_pb2
from llmsched.api.executor.v1 import executor_pb2
from llmsched.values import from_struct, to_value
from services.executors.tool.runner import ToolCall, ToolError, ToolRunner, ToolUnavailableError
from services.executors.work import AttemptError, Condition, ExecutorError, Offer, OnText


class ToolWorker:
    """A slot runs one tool call."""

    def __init__(self, runner: ToolRunner, *, tools: Sequence[str]) -> None:
        self._runner = runner
        self._tools = tuple(tools)

    async def start(self) -> Offer:
        try:
            await self._runner.start()
        except ToolUnavailableError as error:
            raise ExecutorError(error.message) from error
        return Offer(kind=executor_pb2.Register.KIND_TOOL, slots=self._runner.capacity, tools=self._tools)

    async def run(
        self, payload: task_pb2.TaskPayload, *, rid: str, priority: int, traceparent: str, on_text: OnText | None
    ) -> task_pb2.TaskResult:
        began = time.monotonic()
        try:
            answer = await self._runner.run(
                ToolCall(id=rid, tool=payload.tool.tool, args=from_struct(payload.tool.args))
            )
        except ToolError as error:
            raise AttemptError(error.reason, error.message, retryable=error.retryable) from error
        try:
            result = task_pb2.TaskResult(tool=to_value(answer.value))
        except ValueError as error:
            message = f"{payload.tool.tool} returned a value that cannot be sent: {error}"
            raise AttemptError("NOT_SERIALISABLE", message, retryable=False) from error
        total = time.monotonic() - began
        result.timings.queue.FromMicroseconds(max(0, round((total - answer.seconds) * 1e6)))
        result.timings.total.FromMicroseconds(round(total * 1e6))
        return result

    def steps(self) -> executor_pb2.EngineSteps | None:
        return None

    async def condition(self) -> Condition:
        return Condition(healthy=True)

    async def count_tokens(self, calls: Sequence[task_pb2.LlmCall]) -> list[int]:
        return [-1] * len(calls)

    async def aclose(self) -> None:
        await self._runner.aclose()
