"""What every ToolRunner promises, checked on each of them."""

import asyncio
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import pytest

from services.executors.tool.inline import InlineRunner
from services.executors.tool.pool import ProcessPool
from services.executors.tool.runner import (
    ToolArgumentsError,
    ToolCall,
    ToolCrashedError,
    ToolError,
    ToolMemoryError,
    ToolOutputError,
    ToolRaisedError,
    ToolResultError,
    ToolRunner,
    ToolTimeoutError,
    ToolUnavailableError,
    ToolUnknownError,
)
from tests.unit.services.executors.tool import sample_tools
from tests.unit.services.executors.tool.waiting import until_written

ENVIRON = {"SAMPLE_KEY": "hunter2", "PATH": "/usr/bin:/bin"}
MAKERS: dict[str, Callable[[], ToolRunner]] = {
    "inline": lambda: InlineRunner(sample_tools.registry(), capacity=2, environ=ENVIRON),
    "pool": lambda: ProcessPool(sample_tools.registry(), workers=2, environ=ENVIRON),
}


@pytest.fixture(params=MAKERS)
async def runner(request: pytest.FixtureRequest) -> AsyncIterator[ToolRunner]:
    async with MAKERS[request.param]() as runner:
        yield runner


def call(tool: str, timeout: float | None = None, **args: Any) -> ToolCall:
    return ToolCall(id="c1", tool=f"sample.{tool}", args=args, timeout=timeout)


async def failure(runner: ToolRunner, tool: str, **args: Any) -> ToolError:
    with pytest.raises(ToolError) as caught:
        await runner.run(call(tool, **args))
    return caught.value


async def test_gives_the_value_and_the_time(runner: ToolRunner) -> None:
    result = await runner.run(call("add", a=2, b=3))
    assert result.value == 5
    assert 0 <= result.seconds < 1


async def test_defaults_and_models_work_as_in_a_plain_call(runner: ToolRunner) -> None:
    assert (await runner.run(call("add", a=2))).value == 3
    assert (await runner.run(call("mirror", point={"x": 1, "y": 2}))).value == {"x": 2, "y": 1}


@pytest.mark.parametrize("value", [None, "ü\n\0", [1, 2.5, {"a": []}], True, ""])
async def test_json_values_come_back_unchanged(runner: ToolRunner, value: object) -> None:
    assert (await runner.run(call("echo", value=value))).value == value


async def test_an_unknown_tool_is_named_with_a_suggestion(runner: ToolRunner) -> None:
    error = await failure(runner, "ad")
    assert isinstance(error, ToolUnknownError)
    assert "did you mean sample.add" in error.message


async def test_all_violations_are_named_at_once(runner: ToolRunner) -> None:
    error = await failure(runner, "add", b="x", c=1)
    assert isinstance(error, ToolArgumentsError)
    assert not error.retryable
    assert [name in error.message for name in ("a: ", "b: ", "c: ")] == [True] * 3


async def test_an_exception_tells_type_message_and_line(runner: ToolRunner) -> None:
    error = await failure(runner, "fail", kind="plain")
    assert isinstance(error, ToolRaisedError)
    assert (error.reason, error.retryable) == ("TOOL_RAISED", False)
    assert "ValueError: no such thing" in error.message
    assert "in fail: raise ValueError" in error.message


async def test_a_tool_can_say_that_another_try_may_help(runner: ToolRunner) -> None:
    assert (await failure(runner, "fail", kind="retryable")).retryable


async def test_the_value_of_a_secret_stays_out_of_messages(runner: ToolRunner, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SAMPLE_KEY", "hunter2")  # inline, a tool sees this process's own variables
    error = await failure(runner, "fail", kind="secret")
    assert "hunter2" not in str(error)
    assert "refused key <SAMPLE_KEY>" in error.message


async def test_sys_exit_is_a_crash_of_the_call_only(runner: ToolRunner) -> None:
    error = await failure(runner, "leave")
    assert isinstance(error, ToolCrashedError)
    assert "sys.exit(3)" in error.message
    assert (await runner.run(call("add", a=1))).value == 2


async def test_a_memory_error_has_its_own_reason(runner: ToolRunner) -> None:
    error = await failure(runner, "out_of_memory")
    assert isinstance(error, ToolMemoryError)
    assert "512 MiB" in error.message


@pytest.mark.parametrize("what", ["nan", "object", "lock"])
async def test_results_that_are_no_json_are_refused(runner: ToolRunner, what: str) -> None:
    assert isinstance(await failure(runner, "unserialisable", what=what), ToolResultError)


async def test_a_large_result_is_refused_with_both_sizes(runner: ToolRunner) -> None:
    error = await failure(runner, "echo", value="x" * 10_000)
    assert isinstance(error, ToolOutputError)
    assert "10002 bytes" in error.message
    assert "10000" in error.message
    assert (await runner.run(call("echo", value="x" * 9_998))).value == "x" * 9_998


async def test_a_call_that_takes_too_long_is_ended(runner: ToolRunner, tmp_path: Path) -> None:
    never = tmp_path / "never"
    error = await failure(runner, "wait", started=str(tmp_path / "s"), go_on=str(never), timeout=0.1)
    assert isinstance(error, ToolTimeoutError)
    assert error.retryable
    assert "sample.wait did not finish within 0.1 s" in error.message
    never.touch()  # lets the inline runner's thread end


async def test_capacity_many_calls_run_side_by_side_and_others_wait(runner: ToolRunner, tmp_path: Path) -> None:
    started = [tmp_path / f"started{i}" for i in range(3)]
    go_on = [tmp_path / f"go_on{i}" for i in range(3)]
    async with asyncio.TaskGroup() as group:
        tasks = [
            group.create_task(runner.run(call("wait", started=str(s), go_on=str(g))))
            for s, g in zip(started, go_on, strict=True)
        ]
        await until_written(started[0])
        await until_written(started[1])
        assert not started[2].exists()
        go_on[1].touch()
        await until_written(started[2])
        go_on[0].touch()
        go_on[2].touch()
    assert [task.result().value for task in tasks] == ["went on"] * 3


async def test_cancelling_frees_the_slot_at_once(runner: ToolRunner, tmp_path: Path) -> None:
    never = tmp_path / "never"
    for number in range(runner.capacity + 1):
        started = tmp_path / f"started{number}"
        task = asyncio.create_task(runner.run(call("wait", started=str(started), go_on=str(never))))
        await until_written(started)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
    assert (await runner.run(call("add", a=1))).value == 2
    never.touch()


async def test_a_closed_runner_refuses_calls(runner: ToolRunner) -> None:
    await runner.aclose()
    await runner.aclose()
    assert isinstance(await failure(runner, "add", a=1), ToolUnavailableError)
