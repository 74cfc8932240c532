"""The cluster that is tested: one that is given, or `llmsched up` in a folder of its own."""

from __future__ import annotations

import asyncio
import json
import os
import subprocess
import sys
import time
from collections.abc import Awaitable, Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import llmsched

ROOT = Path(__file__).parents[2]
LLMSCHED = (sys.executable, "-m", "llmsched.cli")
START_SECONDS = 120.0


@dataclass(frozen=True, slots=True)
class Cluster:
    """Where it listens, as clients are told."""

    address: str
    scheduler: str  #: several with commas
    profiler: str
    event_log: Path | None = None  #: if it is on this machine

    @property
    def environment(self) -> dict[str, str]:
        """For programs that are to find it."""
        told = {"ADDRESS": self.address, "SCHEDULER": self.scheduler, "PROFILER": self.profiler}
        return {f"LLMSCHED_{name}": value for name, value in told.items()}

    @property
    def options(self) -> llmsched.Options:
        # Of a busy machine or a cluster between two leaders nothing else is asked than of a quick one.
        return llmsched.Options.load(environ=self.environment, connect_timeout=30.0)


def given(environ: Mapping[str, str]) -> Cluster | None:
    """The cluster that the environment names, if it does."""
    if not (address := environ.get("LLMSCHED_ADDRESS")):
        return None
    defaults = llmsched.Options()
    return Cluster(
        address,
        environ.get("LLMSCHED_SCHEDULER") or ",".join(defaults.scheduler),
        environ.get("LLMSCHED_PROFILER") or ",".join(defaults.profiler),
        Path(log) if (log := environ.get("LLMSCHED_SCHEDULER_EVENT_LOG")) else None,
    )


@contextmanager
def started(folder: Path) -> Iterator[Cluster]:
    """`llmsched up` as a person would start it, but on free ports and with a quick engine."""
    log, events = folder / "up.log", folder / "events.jsonl"
    words = [*LLMSCHED, "up", "--directory", str(folder / "cluster"), "--event-log", str(events)]
    for service in ("--planner", "--scheduler", "--profiler"):
        words += [service, "127.0.0.1:0"]
    words += ["--engine-arg=--time-scale", "--engine-arg=0.2"]
    with (folder / "ready").open("wb") as output, log.open("wb") as errors:
        process = subprocess.Popen(words, cwd=ROOT, stdin=subprocess.DEVNULL, stdout=output, stderr=errors)
    try:
        yield _told(_ready_line(process, folder / "ready", log), events)
    finally:
        process.terminate()
        code = process.wait(60)
    assert code == 0, f"llmsched up ended with {code}:\n{log.read_text()[-3000:]}"


def _ready_line(process: subprocess.Popen[bytes], output: Path, log: Path) -> str:
    give_up = time.monotonic() + START_SECONDS
    while not (text := output.read_text()).endswith("\n"):
        assert process.poll() is None, f"llmsched up has ended with {process.returncode}:\n{log.read_text()[-3000:]}"
        assert time.monotonic() < give_up, f"not ready in {START_SECONDS:g} s:\n{log.read_text()[-3000:]}"
        time.sleep(0.1)
    return text


def _told(line: str, events: Path) -> Cluster:
    word, *pairs = line.split()
    assert word == "ready", line
    told = dict(pair.split("=", 1) for pair in pairs)
    return Cluster(told["planner"], told["scheduler"], told["profiler"], events)


@dataclass(frozen=True, slots=True)
class Cli:
    """The command line, as a process."""

    cluster: Cluster
    home: Path

    @property
    def environment(self) -> dict[str, str]:
        # What a person has set for other clusters must not count.
        kept = {key: value for key, value in os.environ.items() if not key.startswith(("LLMSCHED_", "OTEL_"))}
        return {**kept, **self.cluster.environment, "HOME": str(self.home), "COLUMNS": "200", "PYTHONPATH": str(ROOT)}

    async def run(self, *words: str, text: str = "") -> tuple[int, str, str]:
        """A command of `llmsched`: exit code, output, errors."""
        return await self.program(*LLMSCHED, *words, text=text)

    async def program(self, *words: str, text: str = "") -> tuple[int, str, str]:
        process = await asyncio.create_subprocess_exec(
            *words,
            cwd=self.home,
            env=self.environment,
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
        )
        output, errors = await process.communicate(text.encode())
        assert b"Traceback" not in errors, errors.decode()
        return process.returncode or 0, output.decode(), errors.decode()

    async def __call__(self, *words: str, text: str = "") -> str:
        """The output of a command that must work."""
        code, output, errors = await self.run(*words, text=text)
        assert code == 0, f"{' '.join(words)}: {code}\n{output}\n{errors}"
        return output

    async def json(self, *words: str) -> Any:
        return json.loads(await self(*words, "--output", "json"))

    async def refused(self, code: int, *words: str, text: str = "") -> str:
        """The errors of a command that must end with this code, and with nothing on its output."""
        found, output, errors = await self.run(*words, text=text)
        assert (found, output) == (code, ""), f"{' '.join(words)}: {found}\n{output}\n{errors}"
        return errors


async def until(condition: Callable[[], Awaitable[bool]], *, what: str, limit: float = 60.0) -> None:
    """Waits for a condition, not for a time."""
    loop = asyncio.get_running_loop()
    give_up = loop.time() + limit
    while not await condition():
        assert loop.time() < give_up, f"{what} did not come to be within {limit:g} s"
        await asyncio.sleep(0.1)
