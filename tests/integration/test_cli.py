"""The command line as a process of its own, against real services: what only a real process shows."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import sys
from asyncio.subprocess import PIPE, Process
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from llmsched import Client
from tests.integration.test_client import Cluster, real_services, two_steps


@pytest.fixture
async def cluster() -> AsyncIterator[Cluster]:
    async with real_services() as cluster, Client(options=cluster.options) as client:
        await client.register(two_steps())
        yield cluster


class Shell:
    """Starts `llmsched` as a shell would."""

    def __init__(self, cluster: Cluster, home: Path) -> None:
        self._environment = {
            "PATH": os.environ["PATH"],
            "HOME": str(home),
            "LLMSCHED_ADDRESS": cluster.options.address,
            "LLMSCHED_SCHEDULER": cluster.options.scheduler[0],
        }

    async def start(self, *args: str, **environment: str) -> Process:
        return await asyncio.create_subprocess_exec(
            sys.executable,
            "-m",
            "llmsched.cli",
            *args,
            env=self._environment | environment,
            stdin=PIPE,
            stdout=PIPE,
            stderr=PIPE,
        )

    async def run(self, *args: str, input: str = "", **environment: str) -> tuple[int | None, str, str]:
        """Exit code, standard output and standard error."""
        process = await self.start(*args, **environment)
        out, err = await asyncio.wait_for(process.communicate(input.encode()), 30)
        return process.returncode, out.decode(), err.decode()


@pytest.fixture
def shell(cluster: Cluster, tmp_path: Path) -> Shell:
    return Shell(cluster, tmp_path)


async def test_a_whole_session(shell: Shell, tmp_path: Path) -> None:
    file = tmp_path / "app.yaml"
    file.write_text("application: echo\nstages:\n  - {tool: say, call: test.any, args: {}}\noutput: '{{ say }}'\n")
    assert await shell.run("apps", "validate", str(file)) == (0, f"{file}: echo@1 is valid\n", "")
    assert (await shell.run("apps", "apply", str(file)))[:2] == (0, "echo@1 is registered\n")
    code, out, err = await shell.run("submit", "echo", "--label", "who=me")
    assert (code, err) == (0, "")
    job = out.strip()
    assert await shell.run("result", job, "--wait") == (0, '"ok"\n', "")
    code, out, _ = await shell.run("get", job)
    assert code == 0
    assert "say  tool  SUCCEEDED" in out
    code, out, _ = await shell.run("jobs", "--label", "who=me", "-o", "json")
    assert [each["name"] for each in json.loads(out)] == [f"jobs/{job}"]
    code, out, _ = await shell.run("submit", "echo", "--watch")
    assert (code, out.splitlines()[-1]) == (0, '"ok"')
    assert "say  SUCCEEDED" in out


async def test_violations_of_the_real_planner(shell: Shell) -> None:
    code, out, err = await shell.run("submit", "two-steps", "-i", "n=three")
    assert (code, out) == (4, "")
    assert "input.n: " in err


async def test_many_jobs_from_standard_input(shell: Shell) -> None:
    jobs = "".join(f'{{"input": {{"n": {number}}}}}\n' for number in range(20))
    code, out, err = await shell.run("submit", "two-steps", "--from", "-", "--wait", input=jobs)
    assert (code, err) == (0, "")
    assert [json.loads(line)["n"] for line in out.splitlines()] == list(range(20))


async def test_a_pipe_gets_no_colour_and_no_terminal_codes(shell: Shell) -> None:
    for args in (["jobs"], ["executors"], ["submit", "two-steps", "-i", "n:=1", "--watch"], ["--help"]):
        code, out, err = await shell.run(*args, TERM="xterm-256color")
        assert code == 0
        assert "\x1b" not in out + err


async def test_ctrl_c_while_waiting(shell: Shell, cluster: Cluster) -> None:
    cluster.executor.automatic = False
    process = await shell.start("submit", "two-steps", "-i", "n:=1", "--wait")
    await cluster.executor.assigned()
    process.send_signal(signal.SIGINT)
    out, err = await asyncio.wait_for(process.communicate(), 10)
    assert (process.returncode, out) == (130, b"")
    first, last = err.decode().splitlines()
    assert first.startswith("jobs/")
    assert "goes on; see it with: llmsched watch" in first
    assert last == "Interrupted."


async def test_ctrl_c_while_watching(shell: Shell, cluster: Cluster) -> None:
    cluster.executor.automatic = False
    _, out, _ = await shell.run("submit", "two-steps", "-i", "n:=1")
    process = await shell.start("watch", out.strip())
    assert process.stdout is not None
    # Lines come as things happen, although this is a pipe.
    assert b"two-steps@1" in await asyncio.wait_for(process.stdout.readline(), 20)
    process.send_signal(signal.SIGINT)
    _, err = await asyncio.wait_for(process.communicate(), 10)
    assert (process.returncode, err) == (130, b"Interrupted.\n")


async def test_a_reader_that_has_enough(shell: Shell, cluster: Cluster) -> None:
    cluster.executor.automatic = False
    _, out, _ = await shell.run("submit", "two-steps", "-i", "n:=1")
    process = await shell.start("watch", out.strip(), "-o", "json")
    assert process.stdout is not None
    await asyncio.wait_for(process.stdout.readline(), 20)
    process._transport.get_pipe_transport(1).close()  # type: ignore[attr-defined]
    attempt = (await cluster.executor.assigned()).attempt
    await cluster.executor.succeed(attempt)
    assert process.stderr is not None
    err = await asyncio.wait_for(process.stderr.read(), 10)
    assert (await process.wait(), err) == (141, b"")
