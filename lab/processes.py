"""Services as processes on the hosts of a network: started, asked for health, stopped, killed, lost with their host."""

from __future__ import annotations

import asyncio
import os
import signal
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import Self

from lab.enter import INSIDE
from lab.network import Network

_ROOT = Path(__file__).parents[1]
_LOOK_SECONDS = 0.2  #: between two questions whether a service is well


@dataclass(frozen=True, slots=True, kw_only=True)
class Service:
    """What runs where. Addresses in the command and environment name hosts."""

    name: str
    host: str
    command: Sequence[str]
    environment: Mapping[str, str] = field(default_factory=dict)
    health: Sequence[str] = ()  #: a command on the same host, with the same environment, that ends with 0 if it is well
    stop_seconds: float = 40.0  #: from being asked to end until it is killed


class ServiceEnded(Exception):
    """A service that should run has ended; the message has the end of its log."""


class Processes:
    """The services of a network; all that still run are asked to end with the `async with` block."""

    def __init__(self, network: Network, services: Sequence[Service], folder: Path) -> None:
        """`folder` gets a log of each service."""
        self.services = {service.name: service for service in services}
        self._network = network
        self._folder = folder
        self.processes: dict[str, asyncio.subprocess.Process] = {}  #: those that were started, also if they have ended

    async def __aenter__(self) -> Self:
        for name in self.services:
            await self.start(name)
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        # Backwards: who asks others ends before them.
        late = [name for name in reversed(self.processes) if not await self._end(name)]
        if late and error is None:
            raise TimeoutError(f"did not end when asked to, and were killed: {', '.join(late)}")

    def running(self, name: str) -> bool:
        process = self.processes.get(name)
        return process is not None and process.returncode is None

    def on(self, host: str) -> list[str]:
        """The services of that host."""
        return [service.name for service in self.services.values() if service.host == host]

    def log(self, name: str) -> str:
        """All that the service has printed."""
        return (self._folder / f"{name}.log").read_text(errors="replace")

    async def start(self, name: str) -> None:
        service = self.services[name]
        with (self._folder / f"{name}.log").open("ab") as log:
            self.processes[name] = await asyncio.create_subprocess_exec(
                *self._network.inside(service.host, service.command),
                env=_environment(service.environment),
                cwd=_ROOT,
                stdin=asyncio.subprocess.DEVNULL,
                stdout=log,
                stderr=log,
            )

    async def stop(self, name: str) -> None:
        """Asks it to end, and waits. Raises TimeoutError if it must be killed."""
        if not await self._end(name):
            raise TimeoutError(f"{name} did not end when asked to, and was killed")

    async def kill(self, *names: str) -> None:
        """kill -9, at once for all of them."""
        for name in names:
            if self.running(name):
                self.processes[name].send_signal(signal.SIGKILL)
        for name in names:
            await self.processes[name].wait()

    async def lose(self, host: str) -> None:
        """The host is gone without a word, and all that ran there."""
        self._network.cut(host)
        await self.kill(*self.on(host))

    async def restore(self, host: str) -> None:
        """A lost host is back, its services started anew."""
        self._network.heal(host)
        for name in self.on(host):
            await self.start(name)

    async def run(
        self, host: str, words: Sequence[str], environment: Mapping[str, str] | None = None
    ) -> tuple[int, str, str]:
        """Runs a command on a host to its end: exit status, output, errors."""
        process = await asyncio.create_subprocess_exec(
            *self._network.inside(host, words),
            env=_environment(environment or {}),
            cwd=_ROOT,
            stdin=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
        )
        output, errors = await process.communicate()
        return process.returncode or 0, output.decode(errors="replace"), errors.decode(errors="replace")

    async def healthy(self, name: str) -> bool:
        """What its health check says now. Raises ServiceEnded."""
        if not self.running(name):
            raise ServiceEnded(f"{name} has ended:\n{self.log(name)[-3000:]}")
        service = self.services[name]
        code, _, _ = await self.run(service.host, service.health, service.environment)
        return code == 0

    async def ready(self, *names: str, seconds: float = 120.0) -> None:
        """Waits until they are well, one after the other: checks must not take the processor from who is starting.

        All services by default. Raises TimeoutError and ServiceEnded.
        """
        async with asyncio.timeout(seconds):
            for name in names or [name for name, service in self.services.items() if service.health]:
                while not await self.healthy(name):  # noqa: ASYNC110 - another process's state
                    await asyncio.sleep(_LOOK_SECONDS)

    async def _end(self, name: str) -> bool:
        """SIGTERM, and SIGKILL if that takes too long; whether it was not needed."""
        process = self.processes[name]
        if process.returncode is None:
            process.terminate()
        try:
            await asyncio.wait_for(process.wait(), self.services[name].stop_seconds)
        except TimeoutError:
            process.kill()
            await process.wait()
            return False
        return True


def _environment(told: Mapping[str, str]) -> dict[str, str]:
    """This process's own environment without what configures LLMSched, and with what is told."""
    kept = {
        key: value for key, value in os.environ.items() if not key.startswith(("LLMSCHED_", "OTEL_")) or key == INSIDE
    }
    return {**kept, "GRPC_ENABLE_FORK_SUPPORT": "0", **told}
