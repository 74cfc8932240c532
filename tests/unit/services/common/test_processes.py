"""Children that are kept running, and that never outlive us: with real processes, since nothing else dies like them."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
from collections.abc import AsyncIterator
from pathlib import Path

import psutil
import pytest

from services.common import processes as module
from services.common.processes import ProcessSpec, Supervised, Supervisor
from tests.support.processes import Offspring
from tests.unit.services.executors.tool.waiting import is_alive, until, until_gone, until_written

#: Starts a grandchild that ignores SIGTERM, tells both pids, and waits; ends on SIGTERM itself.
PARENT = """
sh -c 'trap "" TERM; echo $$ >> "$0"; while :; do sleep 100; done' "$1" &
echo $$ >> "$1"
wait
"""


class Keeper:
    """Makes children, and hears what is told about them."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.told: asyncio.Queue[str] = asyncio.Queue()
        self.children: list[Supervised] = []

    def child(self, *command: str, grace: float = 10.0, **environment: str) -> Supervised:
        spec = ProcessSpec(name="child", command=command, environment=environment, grace=grace)
        log = self.directory / "logs" / "child.log"
        self.children.append(Supervised(spec, log=log, on_event=self.told.put_nowait))
        return self.children[-1]

    async def family(self, *, grace: float = 10.0) -> tuple[Supervised, int, int]:
        """A child that has started a grandchild, and both pids."""
        pids = self.directory / "pids"
        child = self.child("sh", "-c", PARENT, "sh", str(pids), grace=grace)
        await child.start()
        return (child, *await family_pids(pids))


async def family_pids(path: Path) -> tuple[int, int]:
    def told() -> list[int]:
        return [int(line) for line in path.read_text().splitlines()] if path.exists() else []

    await until(lambda: len(told()) == 2)
    first, second = told()
    return (first, second) if psutil.Process(second).ppid() == first else (second, first)


@pytest.fixture
async def keeper(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, offspring: Offspring) -> AsyncIterator[Keeper]:
    monkeypatch.setattr(module, "_FIRST_BACKOFF", 0.01)
    keeper = Keeper(tmp_path)
    yield keeper
    for child in keeper.children:
        await child.stop()
    assert not offspring(), "something was left behind"


class TestOneChild:
    async def test_it_gets_its_environment_and_a_log(self, keeper: Keeper) -> None:
        child = keeper.child("sh", "-c", "echo $GREETING; echo $HOME; echo oops >&2; sleep 100", GREETING="hello")
        await child.start()

        await until(lambda: "oops" in child.last_lines())
        assert child.last_lines(3) == ["hello", os.environ["HOME"], "oops"]
        assert child.last_lines(1) == ["oops"]

    async def test_it_is_started_again_when_it_ends(self, keeper: Keeper) -> None:
        child = keeper.child("sleep", "100")
        await child.start()
        first = child.pid
        assert first is not None
        os.kill(first, signal.SIGKILL)

        told = await keeper.told.get()

        assert told.startswith("child ended (signal SIGKILL), starting it again; its log: ")
        await until(lambda: child.pid not in (None, first))
        assert child.restarts == 1
        assert is_alive(child.pid or 0)

    async def test_it_is_started_again_and_again(self, keeper: Keeper) -> None:
        child = keeper.child("sh", "-c", "exit 3")
        await child.start()

        for _ in range(4):
            assert (await keeper.told.get()).startswith("child ended (exit status 3)")

        assert child.restarts >= 4

    async def test_it_is_started_less_and_less_often(self, keeper: Keeper, monkeypatch: pytest.MonkeyPatch) -> None:
        pauses: list[float] = []
        sleep = asyncio.sleep

        async def noted(seconds: float) -> None:
            pauses.append(seconds)
            await sleep(0)

        monkeypatch.setattr(module, "_LAST_BACKOFF", 0.05)
        child = keeper.child("false")
        await child.start()
        monkeypatch.setattr(module.asyncio, "sleep", noted)
        for _ in range(6):
            await keeper.told.get()
        monkeypatch.undo()

        assert pauses[:5] == [0.01, 0.02, 0.04, 0.05, 0.05]

    async def test_the_pause_is_short_again_after_a_long_life(
        self, keeper: Keeper, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(module, "_HEALTHY_SECONDS", 0.0)
        monkeypatch.setattr(module, "_LAST_BACKOFF", 3600.0)
        child = keeper.child("true")
        await child.start()

        for _ in range(12):  # the twelfth doubling would be 40 s
            async with asyncio.timeout(10):
                await keeper.told.get()

    async def test_a_program_that_is_not_there_is_told_at_once(self, keeper: Keeper) -> None:
        child = keeper.child("/no/such/program")

        with pytest.raises(FileNotFoundError):
            await child.start()

        assert child.pid is None

    async def test_a_program_that_vanishes_is_tried_again(self, keeper: Keeper, tmp_path: Path) -> None:
        program = tmp_path / "program"
        program.write_text("#!/bin/sh\nsleep 100\n")
        program.chmod(0o755)
        child = keeper.child(str(program))
        await child.start()
        program.unlink()
        assert child.pid is not None
        os.kill(child.pid, signal.SIGKILL)
        assert "signal SIGKILL" in await keeper.told.get()
        assert "cannot be started" in await keeper.told.get()

        program.write_text("#!/bin/sh\nsleep 100\n")
        program.chmod(0o755)

        await until(lambda: child.pid is not None)

    async def test_what_a_dead_child_started_is_ended_before_it_is_started_again(self, keeper: Keeper) -> None:
        child, first, grandchild = await keeper.family()
        (keeper.directory / "pids").unlink()
        os.kill(first, signal.SIGKILL)

        await family_pids(keeper.directory / "pids")

        assert not is_alive(grandchild)
        assert child.restarts == 1


class TestStop:
    async def test_it_ends_the_child_and_what_it_started(self, keeper: Keeper) -> None:
        child, first, grandchild = await keeper.family()

        await child.stop()

        assert child.pid is None
        assert not is_alive(first)
        await until_gone(grandchild)
        assert keeper.told.empty()

    async def test_a_child_may_end_in_its_own_way(self, keeper: Keeper, tmp_path: Path) -> None:
        ready, farewell = tmp_path / "ready", tmp_path / "farewell"
        script = f"trap 'echo bye > {farewell}; exit' TERM; echo > {ready}; while :; do sleep 0.01; done"
        child = keeper.child("sh", "-c", script)
        await child.start()
        await until(ready.exists)

        await child.stop()

        assert farewell.read_text() == "bye\n"

    async def test_a_child_that_does_not_listen_is_killed(self, keeper: Keeper, tmp_path: Path) -> None:
        ready = tmp_path / "ready"
        child = keeper.child("sh", "-c", f"trap '' TERM; echo > {ready}; while :; do sleep 100; done", grace=0.05)
        await child.start()
        await until(ready.exists)
        pid = child.pid or 0

        await child.stop()

        assert not is_alive(pid)

    async def test_during_the_pause_before_a_restart(self, keeper: Keeper, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(module, "_FIRST_BACKOFF", 3600.0)
        child = keeper.child("false")
        await child.start()
        await keeper.told.get()

        await child.stop()

        assert child.pid is None

    async def test_twice_and_before_the_start(self, keeper: Keeper) -> None:
        child = keeper.child("sleep", "100")
        await child.stop()
        await child.start()
        await child.stop()
        await child.stop()

        assert child.pid is None


class TestSupervisor:
    async def test_children_end_in_reverse(self, tmp_path: Path) -> None:
        supervisor = Supervisor(tmp_path, print)
        ends = tmp_path / "ends"
        for name in ("first", "second"):
            ready = tmp_path / name
            script = f"trap 'echo {name} >> {ends}; exit' TERM; echo > {ready}; while :; do sleep 0.01; done"
            child = await supervisor.start(ProcessSpec(name=name, command=["sh", "-c", script]))
            await until(ready.exists)
            assert child.log == tmp_path / "logs" / f"{name}.log"

        await supervisor.stop()

        assert ends.read_text().split() == ["second", "first"]


class TestKilledParent:
    """A supervisor that is killed has no say any more; its children end all the same."""

    PROGRAM = """
import asyncio, sys
from services.common.processes import ProcessSpec, Supervised

async def main():
    spec = ProcessSpec(name="child", command=["sh", "-c", sys.argv[1], "sh", sys.argv[2]], grace=float(sys.argv[3]))
    child = Supervised(spec, log=None, on_event=print)
    await child.start()
    await asyncio.Event().wait()

asyncio.run(main())
"""

    async def start(self, script: str, file: Path, grace: float) -> subprocess.Popen[bytes]:
        command = [sys.executable, "-c", self.PROGRAM, script, str(file), str(grace)]
        return await asyncio.to_thread(subprocess.Popen, command)

    async def test_child_and_grandchild_end(self, tmp_path: Path) -> None:
        parent = await self.start(PARENT, tmp_path / "pids", 0.1)
        child, grandchild = await family_pids(tmp_path / "pids")

        parent.kill()
        parent.wait()

        await until_gone(child, grandchild)

    async def test_the_child_may_end_in_its_own_way(self, tmp_path: Path) -> None:
        farewell = tmp_path / "farewell"
        script = """trap 'echo bye > "$1"; exit' TERM; while :; do sleep 0.01; done"""
        parent = await self.start(script, farewell, 10.0)
        await until(lambda: "sleep" in [each.name() for each in psutil.Process(parent.pid).children(recursive=True)])

        parent.kill()
        parent.wait()

        assert await until_written(farewell) == "bye\n"
