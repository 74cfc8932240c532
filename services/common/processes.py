"""Child processes that are kept running: logs to files, restarts with backoff, a clean end in reverse order.

Nothing is left behind, however we end. Each child shares a process group with a guard: a shell that waits for our end,
a SIGKILL included, and then ends the group. The kernel's parent-death signal would reach the child but not what the
child has started, and an engine is several processes.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import subprocess
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from services.common.lifecycle import cancel_and_wait

_FIRST_BACKOFF, _LAST_BACKOFF = 0.2, 10.0
_HEALTHY_SECONDS = 30.0

#: Its standard input is a pipe from us, so it ends when we do. $1 is the grace in seconds.
_GUARD = """
trap '' TERM
read -r _
kill -s TERM 0
sleep "$1"
kill -s KILL 0
"""


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
        self._process: subprocess.Popen[bytes] | None = None
        self._guard: subprocess.Popen[bytes] | None = None  #: leads the process group
        self._keeper: asyncio.Task[None] | None = None

    @property
    def pid(self) -> int | None:
        """Of the child, while there is one."""
        return self._process.pid if self._process else None

    async def start(self) -> None:
        """Starts it. Raises OSError if that is impossible."""
        self._spawn()
        self._keeper = asyncio.create_task(self._keep(), name=f"keep {self.spec.name}")

    async def stop(self) -> None:
        """Ends the child and everything in its process group."""
        await cancel_and_wait(self._keeper)
        if self._process is not None:
            self._signal(signal.SIGTERM)
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(self.spec.grace):
                    await _ended(self._process)
            await self._bury()

    def last_lines(self, count: int = 5) -> list[str]:
        """The end of its log."""
        if self.log is None:
            return []
        try:
            with self.log.open(errors="replace") as lines:
                return [line.rstrip("\n") for line in deque(lines, maxlen=count)]
        except OSError:
            return []

    async def _keep(self) -> None:
        backoff = _FIRST_BACKOFF
        loop = asyncio.get_running_loop()
        while True:
            started = loop.time()
            what = await self._watch()
            if loop.time() - started > _HEALTHY_SECONDS:
                backoff = _FIRST_BACKOFF
            self.restarts += 1
            where = f"; its log: {self.log}" if self.log else ""
            self._on_event(f"{self.spec.name} {what}, starting it again{where}")
            await asyncio.sleep(backoff)
            backoff = min(backoff * 2, _LAST_BACKOFF)
            with contextlib.suppress(OSError):  # told at the next turn
                self._spawn()

    async def _watch(self) -> str:
        """Waits for the end of the child; says what happened."""
        process = self._process
        if process is None:
            return "cannot be started"
        await _ended(process)
        await self._bury()
        return f"ended ({_describe(process.returncode)})"

    def _spawn(self) -> None:
        self._guard = _guard(self.spec)
        try:
            with contextlib.ExitStack() as stack:
                output = None
                if self.log is not None:
                    self.log.parent.mkdir(parents=True, exist_ok=True)
                    output = stack.enter_context(self.log.open("ab"))
                self._process = subprocess.Popen(
                    self.spec.command,
                    stdin=subprocess.DEVNULL,
                    stdout=output,
                    stderr=output,
                    env={**os.environ, **self.spec.environment},
                    process_group=self._guard.pid,
                )
        except BaseException:
            self._signal(signal.SIGKILL)
            self._reap()
            raise

    async def _bury(self) -> None:
        """Ends whatever is left of the group, and with it the group itself."""
        self._signal(signal.SIGKILL)
        if self._process is not None:
            await _ended(self._process)  # it may take a while to give its memory back
        self._reap()

    def _reap(self) -> None:
        for process in filter(None, [self._process, self._guard]):
            with process:  # waits, which is short now, and closes the guard's pipe
                pass
        self._process = self._guard = None

    def _signal(self, number: int) -> None:
        # The group is there for as long as its leader, the guard, has not been waited for.
        if self._guard is not None:
            os.killpg(self._guard.pid, number)


class Supervisor:
    """Several children, started in order and ended in reverse."""

    def __init__(self, directory: Path, on_event: Callable[[str], None]) -> None:
        """Logs go to `directory`/logs."""
        self._logs = directory / "logs"
        self._on_event = on_event
        self.children: dict[str, Supervised] = {}

    async def start(self, spec: ProcessSpec) -> Supervised:
        """Starts one more. Raises OSError if that is impossible."""
        child = Supervised(spec, log=self._logs / f"{spec.name}.log", on_event=self._on_event)
        self.children[spec.name] = child
        await child.start()
        return child

    async def stop(self) -> None:
        """Ends all of them."""
        for child in reversed(self.children.values()):
            await child.stop()


def _guard(spec: ProcessSpec) -> subprocess.Popen[bytes]:
    """Starts a guard, in a process group of its own."""
    return subprocess.Popen(
        ["/bin/sh", "-c", _GUARD, f"guard of {spec.name}", str(spec.grace)],
        stdin=subprocess.PIPE,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        process_group=0,
    )


async def _ended(process: subprocess.Popen[bytes]) -> None:
    """Returns when the process has ended, without a thread for each."""
    loop = asyncio.get_running_loop()
    ended = asyncio.Event()
    pidfd = os.pidfd_open(process.pid)
    loop.add_reader(pidfd, ended.set)
    try:
        await ended.wait()
    finally:
        loop.remove_reader(pidfd)
        os.close(pidfd)


def _describe(code: int) -> str:
    return f"signal {signal.Signals(-code).name}" if code < 0 else f"exit status {code}"
