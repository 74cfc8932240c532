"""An agent that runs against scripted gateways."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

import grpc

from services.common.errors import DomainError
from services.common.lifecycle import cancel_and_wait
from services.common.telemetry import Telemetry
from services.executors.agent import Agent
from tests.unit.services.executors.gateway import ScriptedGateway, Session
from tests.unit.services.executors.scripted import Call, ScriptedWorker

UNREACHABLE = DomainError(grpc.StatusCode.UNAVAILABLE, "RESTARTING", "come back")


class Running:
    """An agent that runs, its worker, and the gateway that it attaches to."""

    def __init__(self, *schedulers: str) -> None:
        self.worker = ScriptedWorker()
        self.agent = Agent(
            self.worker, executor_id="llm-0", schedulers=schedulers, labels={"gpu": "x"}, telemetry=Telemetry("test")
        )
        self.stop = asyncio.Event()
        self._run: asyncio.Task[None] | None = None

    def start(self, *, drain_seconds: float = 30.0) -> None:
        self._run = asyncio.create_task(self.agent.run(self.stop, drain_seconds=drain_seconds), name="agent")

    async def ended(self) -> None:
        """Returns when `run` does; raises what it raises."""
        assert self._run is not None
        async with asyncio.timeout(10):
            await asyncio.shield(self._run)

    async def call(self) -> Call:
        return await self.worker.calls.get()

    async def aclose(self) -> None:
        await self.worker.aclose()
        await cancel_and_wait(self._run)


Gateways = Callable[[], Awaitable[ScriptedGateway]]
Agents = Callable[..., Running]


async def begin(running: Running, gateway: ScriptedGateway, **answer: Any) -> Session:
    running.start()
    return await gateway.attached(**answer)
