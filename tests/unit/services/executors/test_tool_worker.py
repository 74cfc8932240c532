"""The tool worker on a runner without processes."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

import pytest

from llmsched.api.common.v1 import task_pb2
from llmsched.api.executor.v1 import executor_pb2
from llmsched.tools import tool
from llmsched.values import from_value, to_struct
from services.executors.tool.inline import InlineRunner
from services.executors.tool.runner import ToolUnavailableError
from services.executors.tool_worker import ToolWorker
from services.executors.work import AttemptError, Condition, ExecutorError
from tests.unit.services.executors.tool import sample_tools


@tool(name="sample.big", description="returns a number that JSON numbers cannot hold")
def big() -> int:
    return 2**53 + 1


@pytest.fixture
async def worker() -> AsyncIterator[ToolWorker]:
    registry = sample_tools.registry()
    registry.register(big)
    worker = ToolWorker(InlineRunner(registry, capacity=3, environ={}), tools=["sample.add", "sample.echo"])
    yield worker
    await worker.aclose()


async def run(worker: ToolWorker, name: str, **args: Any) -> task_pb2.TaskResult:
    payload = task_pb2.TaskPayload(tool=task_pb2.ToolCall(tool=name, args=to_struct(args)))
    return await worker.run(payload, rid="r", priority=0, traceparent="", on_text=None)


async def failure(worker: ToolWorker, name: str, **args: Any) -> tuple[str, bool]:
    with pytest.raises(AttemptError) as caught:
        await run(worker, name, **args)
    return caught.value.failure.reason, caught.value.failure.retryable


async def test_it_offers_its_slots_and_tools(worker: ToolWorker) -> None:
    offer = await worker.start()

    assert (offer.kind, offer.slots) == (executor_pb2.Register.KIND_TOOL, 3)
    assert offer.tools == ("sample.add", "sample.echo")
    assert not offer.counts_tokens


@pytest.mark.parametrize("value", [None, "", [], {}, {"a": [1, 2.5, True]}])
async def test_a_result_is_the_value(worker: ToolWorker, value: Any) -> None:
    await worker.start()

    result = await run(worker, "sample.echo", value=value)

    assert result.HasField("tool")
    assert from_value(result.tool) == value
    assert result.timings.total.ToMicroseconds() >= result.timings.queue.ToMicroseconds() >= 0


async def test_failures(worker: ToolWorker) -> None:
    await worker.start()

    assert await failure(worker, "sample.fail", kind="final") == ("TOOL_RAISED", False)
    assert await failure(worker, "sample.fail", kind="retryable") == ("TOOL_RAISED", True)
    assert await failure(worker, "sample.add", a="one") == ("INVALID_ARGUMENTS", False)
    assert await failure(worker, "sample.nothing") == ("UNKNOWN_TOOL", False)
    assert await failure(worker, "sample.big") == ("NOT_SERIALISABLE", False)


async def test_tools_that_cannot_be_started_are_the_operators_business(
    worker: ToolWorker, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def start(self: InlineRunner) -> None:
        raise ToolUnavailableError("the tools cannot be imported: No module named 'x'")

    monkeypatch.setattr(InlineRunner, "start", start)
    with pytest.raises(ExecutorError, match="No module named 'x'"):
        await worker.start()


async def test_it_has_no_engine_to_speak_of(worker: ToolWorker) -> None:
    assert await worker.condition() == Condition(healthy=True)
    assert await worker.count_tokens([task_pb2.LlmCall(), task_pb2.LlmCall()]) == [-1, -1]
