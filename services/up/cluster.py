"""A running cluster on this machine: started, waited for, shown, ended."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from contextlib import aclosing, suppress
from pathlib import Path
from types import TracebackType
from typing import Self

import llmsched
from services.common.processes import Supervisor
from services.up.stack import Stack, StackError

_PROFILER = "profiler"


class LocalCluster:
    """The processes of a `Stack`, as an asynchronous context manager."""

    def __init__(self, stack: Stack, directory: Path, *, on_event: Callable[[str], None]) -> None:
        """`on_event` gets lines for people."""
        self.stack = stack
        self.supervisor = Supervisor(directory, on_event)
        self._on_event = on_event

    async def __aenter__(self) -> Self:
        try:
            for spec in self.stack.processes:
                await self.supervisor.start(spec)
        except BaseException:
            await self.supervisor.stop()
            raise
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.supervisor.stop()

    def client(self, *, timeout: float | None = None) -> llmsched.Client:
        """A client of this cluster; `timeout`: seconds for one call, where the usual ones are too few."""
        options = llmsched.Options.load(address=self.stack.planner)
        options = options.replace(scheduler=self.stack.schedulers, profiler=(self.stack.profiler,))
        return llmsched.Client(options=options if timeout is None else options.replace(timeout=timeout))

    async def wait_ready(self, limit: float, *, progress: Callable[[str], None] | None = None) -> None:
        """Returns when every executor is attached and the profiler answers. Raises StackError after `limit` seconds, or
        when a service keeps ending."""
        loop = asyncio.get_running_loop()
        give_up = loop.time() + limit
        missing = {*self.stack.executors, _PROFILER}
        async with self.client() as client:
            while missing:
                self._refuse_if_dying()
                if loop.time() > give_up:
                    raise StackError(f"not ready within {limit:g} s: {', '.join(sorted(missing))} did not come up")
                missing -= await _ready(client)
                if progress:
                    progress(", ".join(sorted(missing)))
                if missing:
                    await asyncio.sleep(0.25)

    def _refuse_if_dying(self) -> None:
        for child in self.supervisor.children.values():
            if child.restarts >= 4:
                lines = "\n  ".join(child.last_lines())
                raise StackError(f"{child.spec.name} keeps ending; the end of its log {child.log}:\n  {lines}")


async def _ready(client: llmsched.Client) -> set[str]:
    """Executors that are attached, and the profiler if it answers."""
    found: set[str] = set()
    # While the services are starting, they do not answer.
    with suppress(llmsched.LLMSchedError):
        found |= {each.executor_id for each in (await client.cluster()).executors}
        async with aclosing(client.profiles()) as profiles:
            await anext(profiles, None)
        found.add(_PROFILER)
    return found
