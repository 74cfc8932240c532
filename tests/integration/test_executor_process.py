"""`python -m services.executors llm|tool` as an operator starts, stops and kills it."""

from __future__ import annotations

import asyncio
import json
import os
import shlex
import signal
import sys
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack, suppress
from pathlib import Path
from typing import Any

import psutil
import pytest

from llmsched.api.executor.v1 import executor_pb2
from llmsched.values import from_value, to_struct
from services.executors.engine_sim.cli import serving
from services.executors.engine_sim.server import SimSettings
from services.up.stack import free_port
from tests.unit.services.executors.gateway import ScriptedGateway, Session
from tests.unit.services.executors.scripted import assign, ref
from tests.unit.services.executors.tool.waiting import is_alive, until, until_gone

pytestmark = pytest.mark.timeout(90)


class Executor:
    """An executor process whose log is read as it is written."""

    def __init__(self, process: asyncio.subprocess.Process) -> None:
        self.process = process
        self.errors = ""  #: everything it has written so far
        self._written = asyncio.Event()
        self._reading = asyncio.create_task(self._read())

    async def _read(self) -> None:
        assert self.process.stderr is not None
        async for line in self.process.stderr:
            self.errors += line.decode()
            self._written.set()

    async def logged(self, action: str) -> dict[str, Any]:
        """The first log entry with this action."""
        while True:
            for line in self.errors.splitlines():
                if f'"action": "{action}"' in line:
                    entry: dict[str, Any] = json.loads(line)
                    return entry
            self._written.clear()
            await self._written.wait()

    async def code(self) -> int:
        """Waits for its end."""
        code = await self.process.wait()
        await self._reading
        return code


Start = Callable[..., Awaitable[Executor]]


@pytest.fixture
async def gateway() -> AsyncIterator[ScriptedGateway]:
    gateway = await ScriptedGateway().start()
    yield gateway
    await gateway.stop()


@pytest.fixture
async def start(gateway: ScriptedGateway) -> AsyncIterator[Start]:
    """Starts an executor of the given kind, with LLMSCHED_EXECUTOR_* settings."""
    executors: list[Executor] = []

    async def start(kind: str, **settings: str) -> Executor:
        environment = {f"LLMSCHED_EXECUTOR_{name}": value for name, value in settings.items()}
        process = await asyncio.create_subprocess_exec(
            sys.executable,
            *("-m", "services.executors", kind),
            env={**os.environ, "LLMSCHED_SCHEDULERS": gateway.address, **environment},
            stderr=asyncio.subprocess.PIPE,
        )
        executors.append(Executor(process))
        return executors[-1]

    yield start
    for executor in executors:
        with suppress(ProcessLookupError):
            executor.process.kill()
        await executor.code()


async def test_every_wrong_setting_is_named(start: Start) -> None:
    executor = await start("llm", SLOTS="none", ENGINE="steam", ENGINE_URL="somewhere", LABELS="x")

    assert await executor.code() == 1
    for name in ("SLOTS", "ENGINE", "ENGINE_URL", "LABELS"):
        assert f"LLMSCHED_EXECUTOR_{name}:" in executor.errors
    assert "Traceback" not in executor.errors


@pytest.mark.parametrize(
    ("kind", "settings", "told"),
    [
        ("tool", {"TOOLS": "no.such,python.run_tests"}, "no such tools: no.such"),
        ("llm", {"LAUNCH": "/no/such/engine"}, "cannot start the engine with '/no/such/engine'"),
        ("llm", {"ENGINE_URL": "http://127.0.0.1:1", "START_TIMEOUT": "0.1"}, "the engine was not ready within 0.1 s"),
        ("steam", {}, "usage: python -m services.executors llm|tool"),
    ],
)
async def test_what_only_people_can_mend(start: Start, kind: str, settings: dict[str, str], told: str) -> None:
    executor = await start(kind, **settings)

    assert await executor.code() == 1
    assert told in executor.errors
    assert "Traceback" not in executor.errors


async def test_a_tool_executor_works_and_ends_cleanly(start: Start, gateway: ScriptedGateway) -> None:
    executor = await start("tool", ID="tool-0", TOOLS="text.statistics", SLOTS="1", LABELS="zone=eu")
    session = await gateway.attached()
    said = session.register
    assert (said.executor_id, said.kind, list(said.tools)) == (
        "tool-0",
        executor_pb2.Register.KIND_TOOL,
        ["text.statistics"],
    )
    assert (said.slots, dict(said.labels)) == (1, {"zone": "eu"})
    children = psutil.Process(executor.process.pid).children(recursive=True)
    message = executor_pb2.Assign(attempt=ref())
    message.payload.tool.tool = "text.statistics"
    message.payload.tool.args.CopyFrom(to_struct({"text": "one two three"}))
    session.assign(message)
    assert from_value((await session.heard("finished")).result.tool)["words"] == 3
    session.stored(ref())

    executor.process.send_signal(signal.SIGTERM)

    assert await executor.code() == 0
    assert session.kinds.count("leaving") == 1
    assert children
    await until_gone(*(child.pid for child in children))


async def test_an_llm_executor_hands_over_what_runs_when_it_is_stopped(start: Start, gateway: ScriptedGateway) -> None:
    async with serving(SimSettings(time_scale=0.01)) as url:
        executor = await start("llm", ID="llm-0", ENGINE_URL=url, MODEL="alias")
        session = await gateway.attached()
        assert list(session.register.models) == ["alias", "engine-sim"]
        message = assign(prompt="[[tokens: 3000]]", stream_output=True)
        message.payload.llm.sampling.max_tokens = 3000
        session.assign(message)
        await session.heard("progress")
        executor.process.send_signal(signal.SIGTERM)
        await session.heard("leaving")

        assert (await session.heard("finished")).result.usage.completion_tokens == 3000
        session.stored(ref())
        assert await executor.code() == 0


async def test_a_stop_while_the_engine_loads(start: Start) -> None:
    executor = await start("llm", ENGINE_URL=f"http://127.0.0.1:{free_port()}")
    await executor.logged("engine_awaited")

    executor.process.send_signal(signal.SIGTERM)

    assert await executor.code() == 0


class TestLaunchedEngine:
    """An executor that has its engine as a child."""

    @pytest.fixture
    async def launched(
        self, start: Start, gateway: ScriptedGateway, tmp_path: Path
    ) -> AsyncIterator[tuple[Executor, Session, int]]:
        """The executor, its stream, and the pid of its engine."""
        port = free_port()
        # By a shell, so that the engine has a process above it, as real ones have.
        engine = f"{sys.executable} -m services.executors.engine_sim.cli --port {port} --time-scale 0.01"
        wait = f"while [ -e {tmp_path}/hold ]; do sleep 0.01; done"
        launch = shlex.join(["sh", "-c", f"{wait}; {engine} & echo $! > {tmp_path}/pid; wait"])
        async with AsyncExitStack() as stack:
            executor = await start(
                "llm",
                ENGINE_URL=f"http://127.0.0.1:{port}",
                LAUNCH=launch,
                LAUNCH_LOG=str(tmp_path / "logs" / "engine.log"),
            )
            session = await gateway.attached()
            pid = int((tmp_path / "pid").read_text())
            stack.push_async_callback(until_gone, pid)
            yield executor, session, pid
            with suppress(ProcessLookupError):
                executor.process.kill()

    @staticmethod
    async def answers(session: Session) -> None:
        """The engine does what it is asked; an attempt on a connection to its predecessor may be told to try again."""
        for attempt in range(1, 6):
            session.assign(assign(attempt=attempt, prompt='[[reply: "hello"]]'))
            finished = await session.heard("finished")
            session.stored(ref(attempt=attempt))
            if not finished.failure.retryable:
                break
        assert finished.result.llm.text == "hello", finished

    async def test_it_is_started_and_ends_with_the_executor(
        self, launched: tuple[Executor, Session, int], tmp_path: Path
    ) -> None:
        executor, session, engine = launched
        await self.answers(session)
        assert "http://" in (tmp_path / "logs" / "engine.log").read_text()

        executor.process.send_signal(signal.SIGTERM)

        assert await executor.code() == 0
        await until_gone(engine)

    async def test_it_is_started_again_and_the_scheduler_told_of_both(
        self, launched: tuple[Executor, Session, int], tmp_path: Path
    ) -> None:
        executor, session, engine = launched
        await session.heartbeat(healthy=True)
        hold = tmp_path / "hold"
        hold.touch()
        os.kill(psutil.Process(engine).ppid(), signal.SIGKILL)

        await session.heartbeat(healthy=False)
        hold.unlink()
        await session.heartbeat(healthy=True)

        assert not is_alive(engine)
        told = await executor.logged("engine_event")
        assert "engine ended (signal SIGKILL), starting it again" in told["event"]
        await self.answers(session)

    async def test_it_is_gone_after_the_executor_was_killed(self, launched: tuple[Executor, Session, int]) -> None:
        executor, _, engine = launched

        executor.process.kill()

        await until_gone(engine)

    async def test_an_executor_that_is_killed_while_its_engine_starts(self, start: Start, tmp_path: Path) -> None:
        pid = tmp_path / "pid"
        script = f"sh -c 'echo $$ > {pid}; exec sleep 1000' & wait"
        executor = await start("llm", LAUNCH=shlex.join(["sh", "-c", script]))
        await until(lambda: pid.exists() and bool(pid.read_text()))

        executor.process.kill()

        await until_gone(int(pid.read_text()))
