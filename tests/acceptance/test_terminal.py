"""`top` in a terminal, as an operator has it open all day."""

from __future__ import annotations

import asyncio
import re
import shutil
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

import llmsched
from llmsched import Application
from tests.acceptance.cluster import LLMSCHED, Cli, until

pytestmark = [pytest.mark.slow, pytest.mark.full]


async def call(*words: str) -> tuple[int, str]:
    process = await asyncio.create_subprocess_exec(
        *words, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.STDOUT
    )
    output, _ = await process.communicate()
    return process.returncode or 0, output.decode()


class Terminal:
    """A terminal of its own in a tmux server of its own."""

    def __init__(self, socket: Path) -> None:
        self._tmux = ("tmux", "-S", str(socket), "-f", "/dev/null")

    async def __call__(self, *words: str) -> str:
        code, output = await call(*self._tmux, *words)
        assert code == 0, f"tmux {words}: {output}"
        return output

    async def shows(self, pattern: str) -> str:
        """Waits until the screen shows something like this; gives the screen."""
        screen = ""

        async def found() -> bool:
            nonlocal screen
            screen = await self("capture-pane", "-p")
            return re.search(pattern, screen) is not None

        try:
            await until(found, what=pattern)
        except AssertionError as error:
            raise AssertionError(f"{error}; the screen:\n{screen}") from error
        return screen


@asynccontextmanager
async def terminal(folder: Path, environment: Mapping[str, str]) -> AsyncIterator[Terminal]:
    if shutil.which("tmux") is None:
        pytest.skip("no tmux on this machine")
    made = Terminal(folder / "tmux")
    variables = [word for name, value in environment.items() for word in ("-e", f"{name}={value}")]
    await made("new-session", "-d", "-x", "120", "-y", "30", *variables, "env -u COLUMNS -u LINES PS1='$ ' sh")
    try:
        yield made
    finally:
        await made("kill-server")


async def test_top_shows_what_happens_until_it_is_left(
    client: llmsched.Client, cli: Cli, own_name: str, tmp_path: Path
) -> None:
    app = Application(own_name)
    # It waits for as long as anybody looks.
    app.llm("wait", prompt="x", model="acceptance/no-such-model", max_tokens=3)
    await client.register(app)
    environment = {name: cli.environment[name] for name in ("PYTHONPATH", "HOME", *cli.cluster.environment)}
    async with terminal(tmp_path, {**environment, "LANG": "C.UTF-8"}) as screen:
        await screen("send-keys", f"{' '.join(LLMSCHED)} top --interval 0.2; echo the end: $?", "Enter")
        shown = await screen.shows("EXECUTOR")
        assert "ATTACHED" in shown
        job = await client.submit(own_name)
        await screen.shows(own_name[:12])
        await job.cancel()
        assert re.search(r"ended .*jobs/min", await screen.shows("cancelled"))
        await screen("resize-window", "-x", "50", "-y", "12")
        assert "TOK/S" not in await screen.shows("EXECUTOR")
        await screen("send-keys", "q")
        await screen.shows("the end: 0")
        await screen("send-keys", f"clear; {' '.join(LLMSCHED)} top --interval 0.2; echo the end: $?", "Enter")
        await screen.shows("EXECUTOR")
        await screen("send-keys", "C-c")
        await screen.shows("the end: 130")
