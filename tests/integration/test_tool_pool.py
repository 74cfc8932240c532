"""The process pool against tools that misbehave: limits hold, nothing hangs, no process is left behind."""

import asyncio
import os
import signal
import sys
import time
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import psutil
import pytest

from llmsched.tools import ToolRegistry, tool
from services.executors.tool.pool import ProcessPool
from services.executors.tool.runner import (
    ToolCall,
    ToolCrashedError,
    ToolError,
    ToolMemoryError,
    ToolResult,
    ToolTimeoutError,
    ToolUnavailableError,
)
from tests.support.processes import Offspring
from tests.unit.services.executors.tool import sample_tools
from tests.unit.services.executors.tool.waiting import until, until_gone, until_written

ENVIRON = {"SAMPLE_KEY": "hunter2", "OTHER_KEY": "x", "REDIS_PASSWORD": "y", "PATH": os.environ["PATH"]}


@pytest.fixture
async def pool(offspring: Offspring) -> AsyncIterator[ProcessPool]:
    async with ProcessPool(sample_tools.registry(), workers=1, environ=ENVIRON) as pool:
        yield pool
    assert not offspring(), "the pool left processes behind"


async def run(pool: ProcessPool, tool: str, timeout: float | None = None, **args: Any) -> ToolResult:
    async with asyncio.timeout(30):
        return await pool.run(ToolCall(id="c1", tool=f"sample.{tool}", args=args, timeout=timeout))


async def failure(pool: ProcessPool, tool: str, timeout: float | None = None, **args: Any) -> ToolError:
    with pytest.raises(ToolError) as caught:
        await run(pool, tool, timeout, **args)
    return caught.value


@pytest.mark.parametrize(("how", "words"), [("kill", "SIGKILL"), ("segfault", "SIGSEGV"), ("exit", "exit status 7")])
async def test_a_crash_is_told_and_the_worker_replaced(pool: ProcessPool, how: str, words: str) -> None:
    error = await failure(pool, "crash", how=how)
    assert isinstance(error, ToolCrashedError)
    assert error.retryable
    assert words in error.message
    assert (await run(pool, "add", a=1)).value == 2


async def test_the_memory_limit_holds_and_ends_with_the_call(pool: ProcessPool) -> None:
    assert isinstance(await failure(pool, "hog", mebibytes=200), ToolMemoryError)
    assert (await run(pool, "hog", mebibytes=32)).value == 32 * 2**20
    # The limit belongs to the tool, not to the worker.
    assert (await run(pool, "echo", value="x")).value == "x"


async def test_a_worker_serves_many_calls_and_is_then_replaced() -> None:
    async with ProcessPool(sample_tools.registry(), workers=1, calls_per_worker=3) as pool:
        pids = [(await run(pool, "pid")).value for _ in range(6)]
    assert len(set(pids[:3])) == len(set(pids[3:])) == 1
    assert pids[0] != pids[3]


async def test_a_worker_with_a_thread_left_over_is_not_used_again(pool: ProcessPool) -> None:
    assert (await run(pool, "thread")).value != (await run(pool, "pid")).value


async def test_what_a_tool_leaves_running_is_ended_with_its_call(pool: ProcessPool) -> None:
    worker = pool.worker_pids
    await until_gone((await run(pool, "offspring")).value)
    assert not psutil.Process(worker[0]).children(recursive=True)
    assert pool.worker_pids == worker


async def test_a_timeout_ends_the_worker_and_all_it_started(pool: ProcessPool) -> None:
    worker = psutil.Process(pool.worker_pids[0])
    call = asyncio.create_task(failure(pool, "offspring", timeout=1.0, hang=True))
    await until(lambda: len(worker.children(recursive=True)) == 2)
    family = [worker.pid, *(process.pid for process in worker.children(recursive=True))]
    assert isinstance(await call, ToolTimeoutError)
    await until_gone(*family)


async def test_the_ends_of_what_was_printed_are_kept(pool: ProcessPool) -> None:
    result = await run(pool, "print", lines=100_000)
    assert result.stdout.endswith("line 99999\n")
    assert len(result.stdout) == 4096
    assert result.stderr == "careful\n"


async def test_a_tool_sees_the_variables_it_names_and_no_others(pool: ProcessPool) -> None:
    hidden = {"REDIS_PASSWORD": False, "PATH": True}
    assert (await run(pool, "environment")).value == {"SAMPLE_KEY": True, "OTHER_KEY": False, **hidden}
    assert (await run(pool, "other")).value == {"SAMPLE_KEY": False, "OTHER_KEY": True, **hidden}


async def test_a_worker_that_dies_idle_is_replaced(pool: ProcessPool) -> None:
    (pid,) = pool.worker_pids
    os.kill(pid, signal.SIGKILL)
    await until(lambda: pool.worker_pids not in ([pid], []))
    assert (await run(pool, "pid")).value != pid


async def test_the_pool_survives_the_loss_of_the_template_process(
    pool: ProcessPool, tmp_path: Path, offspring: Offspring
) -> None:
    started = tmp_path / "started"
    call = asyncio.create_task(failure(pool, "wait", started=str(started), go_on=str(tmp_path / "never")))
    worker = int(await until_written(started))
    (template,) = offspring(recursive=False)
    template.kill()
    assert isinstance(await call, ToolCrashedError)
    await until_gone(worker)
    assert (await run(pool, "add", a=1)).value == 2


async def test_closing_ends_calls_and_those_who_wait(tmp_path: Path) -> None:
    pool = ProcessPool(sample_tools.registry(), workers=1)
    await pool.start()
    started = tmp_path / "started"
    running = asyncio.create_task(failure(pool, "wait", started=str(started), go_on=str(tmp_path / "never")))
    worker = int(await until_written(started))
    waiting = [asyncio.create_task(failure(pool, "add", a=1)) for _ in range(3)]
    await asyncio.sleep(0)
    await pool.aclose()
    assert isinstance(await running, ToolCrashedError)
    assert [type(await call) for call in waiting] == [ToolUnavailableError] * 3
    await until_gone(worker)


async def test_a_closed_pool_can_be_started_again() -> None:
    pool = ProcessPool(sample_tools.registry(), workers=1)
    for _ in range(2):
        async with pool:
            assert (await run(pool, "add", a=1)).value == 2


async def test_a_hundred_cancelled_calls_leak_nothing(tmp_path: Path, offspring: Offspring) -> None:
    async with ProcessPool(sample_tools.registry(), workers=2) as pool:
        for number in range(100):
            args = {"started": str(tmp_path / "s"), "go_on": str(tmp_path / "never")}
            call = asyncio.create_task(run(pool, "wait", **args))
            await asyncio.sleep(0.001 * (number % 7))
            call.cancel()
            await asyncio.wait([call])
        assert (await run(pool, "add", a=1)).value == 2
        # the template and two workers
        await until(lambda: len(offspring()) == 3)
        descriptors = psutil.Process().num_fds()
        for _ in range(20):
            await failure(pool, "crash", how="exit")
        assert abs(psutil.Process().num_fds() - descriptors) <= 2


async def test_a_tool_that_cannot_be_imported_again_is_refused_at_start(offspring: Offspring) -> None:
    @tool(name="sample.local", description="lives in a function")
    def local() -> None: ...

    with pytest.raises(ToolUnavailableError, match="cannot be imported"):
        await ProcessPool(ToolRegistry([local]), workers=1).start()
    assert not offspring()


async def test_workers_die_with_an_executor_that_is_killed(tmp_path: Path) -> None:
    program = """
import asyncio, sys
from services.executors.tool.pool import ProcessPool
from services.executors.tool.runner import ToolCall
from tests.unit.services.executors.tool import sample_tools

async def main():
    async with ProcessPool(sample_tools.registry(), workers=3) as pool:
        args = {"started": sys.argv[1], "go_on": sys.argv[1] + "-never"}
        await pool.run(ToolCall(id="c", tool="sample.wait", args=args))

asyncio.run(main())
"""
    started = tmp_path / "started"
    executor = await asyncio.create_subprocess_exec(sys.executable, "-c", program, str(started))
    await until_written(started)
    family = psutil.Process(executor.pid).children(recursive=True)
    assert len(family) == 4
    executor.kill()
    await executor.wait()
    await until_gone(*(process.pid for process in family))


@pytest.mark.full  # a time: what runs beside it decides
async def test_a_call_costs_less_than_five_milliseconds(pool: ProcessPool) -> None:
    await run(pool, "add", a=1)
    costs = []
    for _ in range(50):
        began = time.perf_counter()
        await run(pool, "add", a=1)
        costs.append(time.perf_counter() - began)
    # The median: other programs on the machine must not decide.
    assert sorted(costs)[25] < 0.005
