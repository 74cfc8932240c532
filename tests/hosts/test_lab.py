"""`python -m lab`, as people use it: from this machine's own network, and nothing is left of it."""

from __future__ import annotations

import asyncio
import os
import signal
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import psutil
import pytest

from lab import enter
from services.up.stack import free_port
from tests.support.live import until
from tests.support.processes import Offspring

pytestmark = [pytest.mark.full, pytest.mark.slow, pytest.mark.timeout(300)]
ROOT = Path(__file__).parents[2]
LAB = [sys.executable, "-m", "lab"]


class Lab:
    """One that runs in a folder of its own."""

    def __init__(self, folder: Path) -> None:
        self.environment = {**os.environ, "TMPDIR": str(folder), "LLMSCHED_PHOENIX": str(folder / "none")}
        self.process: asyncio.subprocess.Process

    async def __call__(self, *words: str, code: int = 0) -> str:
        process = await asyncio.create_subprocess_exec(
            *LAB,
            *words,
            cwd=ROOT,
            env=self.environment,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.STDOUT,
        )
        output, _ = await process.communicate()
        assert process.returncode == code, output.decode()
        return output.decode()

    async def start(self) -> None:
        self.process = await asyncio.create_subprocess_exec(
            *LAB, "up", "--page-port", str(free_port()), cwd=ROOT, env=self.environment, stdout=asyncio.subprocess.PIPE
        )
        assert self.process.stdout is not None
        while b"Ctrl-C ends" not in (line := await self.process.stdout.readline()):
            assert line, "it ended before it was ready"

    async def interrupt(self) -> int:
        self.process.send_signal(signal.SIGINT)
        return await self.process.wait()


@asynccontextmanager
async def lab_in(folder: Path) -> AsyncIterator[Lab]:
    lab = Lab(folder)
    await lab.start()
    try:
        yield lab
    finally:
        if lab.process.returncode is None:
            lab.process.kill()
            await lab.process.wait()


async def test_what_people_are_told_to_do(tmp_path: Path, offspring: Offspring) -> None:
    if reason := enter.missing():
        pytest.skip(reason)
    assert "nothing runs" in await Lab(tmp_path)("cut", "sched-0", code=1)
    async with lab_in(tmp_path) as lab:
        assert "runs already" in await lab("up", code=1)
        assert "llm-a" in await lab("exec", "control", "--", "llmsched", "executors")
        await lab("exec", "control", "--", "llmsched", "apps", "apply", "examples/hello.yaml")
        submit = ("exec", "control", "--", "llmsched", "submit", "hello", "-i", "topic=rivers", "--wait")
        assert "poem" in await lab(*submit)
        assert "no host nowhere" in await lab("cut", "nowhere", code=1)
        ping = ("exec", "exec-a", "--", "llmsched", "health", "planner", "--address", "control:7411")
        await lab(*ping)
        await lab("cut", "exec-a")
        assert "not serving" not in await lab(*ping, code=5)
        await lab("heal", "exec-a")
        assert "(ended)" in await lab("lose", "sched-0")
        assert "poem" in await lab(*submit)
        assert "(ended)" not in await lab("restore", "sched-0")
        assert "heal" in await lab("restore", "sched-0", code=1)
        await lab("restart", "control.llmsched-planner")
        assert "poem" in await lab(*submit)
        processes = offspring()
        assert len(processes) > 10
        assert await lab.interrupt() == 0
    assert not [each for each in processes if each.is_running() and each.status() != psutil.STATUS_ZOMBIE]


async def test_a_killed_one_leaves_nothing(tmp_path: Path, offspring: Offspring) -> None:
    if reason := enter.missing():
        pytest.skip(reason)
    async with lab_in(tmp_path) as lab:
        processes = offspring()
        lab.process.kill()
        await lab.process.wait()

        async def gone() -> bool:
            return not [each for each in processes if each.is_running() and each.status() != psutil.STATUS_ZOMBIE]

        await until(gone, limit=60, what="the end of all processes")
