"""Waiting for what another process does: the one place where tests of tools look again and again."""

import asyncio
from collections.abc import Callable
from pathlib import Path

import psutil


async def until(condition: Callable[[], bool], seconds: float = 20) -> None:
    """Return as soon as the condition holds. Raises TimeoutError when it does not come true in time."""
    async with asyncio.timeout(seconds):
        while not condition():  # noqa: ASYNC110  (no event can be set across a process that is being killed)
            await asyncio.sleep(0.002)


async def until_written(path: Path) -> str:
    """Wait until a file has content, and give it."""
    await until(lambda: bool(_text(path)))
    return _text(path)


async def until_gone(*pids: int) -> None:
    """Wait until all of these processes have ended."""
    await until(lambda: not any(map(is_alive, pids)))


def is_alive(pid: int) -> bool:
    """Whether a process runs; a zombie that nobody buries does not."""
    try:
        return psutil.Process(pid).status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


def _text(path: Path) -> str:
    return path.read_text() if path.exists() else ""
