"""Child processes that are kept running: logs to files, restarts with backoff, a clean end in reverse order.

Children end with their parent however it ends (the kernel signals them), so nothing is left behind by a SIGKILL.
"""

from __future__ import annotations

import asyncio
import contextlib
import ctypes
import os
import signal
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from services.common.lifecycle import cancel_and_wait

_PR_SET_PDEATHSIG = 1
_FIRST_BACKOFF, _LAST_BACKOFF = 0.2, 10.0
_HEALTHY_SECONDS = 30.0


@dataclass(frozen=True, slots=True, kw_only=True)
class ProcessSpec:
    """What to run."""

    name: str
    command: Sequence[str]
    environment: Mapping[str, str] = field(default_factory=dict)  #: added to ours
    grace: float = 10.0  #: seconds between SIGTERM and SIGKILL


class Supervised:
    """One child, restarted whenever it ends by itself."""

    def __init__(self, spec: ProcessSpec, *, log: Path | None, on_event: Callable[[str], None]) -> None:
        """`on_event` gets a line for people when something happens to the child; without `log` it shares our output."""
        self.spec = spec
        self.log = log
        self.restarts = 0
        self._on_event = on_event
        self._process: asyncio.subprocess.Process | None = None
        self._keeper: asyncio.Task[None] | None = None

    @property
    def pid(self) -> int | None:
        return self._process.pid if self._process and self._process.returncode is None else None

    async def start(self) -> None:
        await self._spawn()
        self._keeper = asyncio.create_task(self._keep(), name=f"keep {self.spec.name}")

    async def stop(self) -> None:
        await cancel_and_wait(self._keeper)
        process = self._process
        if process is None:
            return
        self.signal(signal.SIGTERM)
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(self.spec.grace):
                await process.wait()
        self.signal(signal.SIGKILL)  # also what it left behind in its group
        await process.wait()

    def signal(self, number: int) -> None:
        """Signals the child and everything in its process group."""
        if self._process is not None:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(self._process.pid, number)

    def last_lines(self, count: int = 5) -> list[str]:
        """The end of its log."""
        if self.log is None:
            return []
        try:
            return self.log.read_text(errors="replace").splitlines()[-count:]
        except OSError:
            return []

    async def _keep(self) -> None:
        backoff = _FIRST_BACKOFF
        loop = asyncio.get_running_loop()
        while True:
            assert self._process is not None
            started = loop.time()
            code = await self._process.wait()
            self.signal(signal.SIGKILL)
            backoff = _FIRST_BACKOFF if loop.time() - started > _HEALTHY_SECONDS else min(backoff * 2, _LAST_BACKOFF)
            self.restarts += 1
            self._on_event(
                f"{self.spec.name} ended ({_describe(code)}), starting it again"
                + (f"; its log: {self.log}" if self.log else "")
            )
            await asyncio.sleep(backoff)
            await self._spawn()

    async def _spawn(self) -> None:
        with contextlib.ExitStack() as stack:
            output = stack.enter_context(self.log.open("ab")) if self.log else None
            self._process = await asyncio.create_subprocess_exec(
                *self.spec.command,
                stdin=asyncio.subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                env={**os.environ, **self.spec.environment},
                start_new_session=True,
                preexec_fn=_die_with_parent,
            )


class Supervisor:
    """Several children, started in order and ended in reverse."""

    def __init__(self, directory: Path, on_event: Callable[[str], None]) -> None:
        """Logs go to `directory`/logs."""
        self._logs = directory / "logs"
        self._on_event = on_event
        self.children: dict[str, Supervised] = {}

    async def start(self, spec: ProcessSpec) -> Supervised:
        self._logs.mkdir(parents=True, exist_ok=True)
        child = Supervised(spec, log=self._logs / f"{spec.name}.log", on_event=self._on_event)
        self.children[spec.name] = child
        await child.start()
        return child

    async def stop(self) -> None:
        for child in reversed(self.children.values()):
            await child.stop()


def _die_with_parent() -> None:
    """Runs in the child before its program: the kernel ends it when its parent dies, however that happens."""
    ctypes.CDLL(None, use_errno=True).prctl(_PR_SET_PDEATHSIG, signal.SIGTERM, 0, 0, 0)


def _describe(code: int) -> str:
    return f"signal {signal.Signals(-code).name}" if code < 0 else f"exit status {code}"
