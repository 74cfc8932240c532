"""deploy/compose with its observability, as processes: services that tell, a collector for spans, a Prometheus."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import llmsched
from lab.compose import Running, load
from lab.network import CALLER
from llmsched.types import ExecutorState
from tests.support.live import until
from tests.support.otlp import Receiver, otlp_receiver
from tests.support.prometheus import Prometheus

FILES = ("compose.yaml", "compose.observability.yaml")
SCHEDULERS = ("scheduler-0", "scheduler-1")


@dataclass(frozen=True)
class Observed:
    """A cluster, and what it tells."""

    running: Running
    receiver: Receiver
    prometheus: Prometheus

    def client(self) -> llmsched.Client:
        hosts = self.running.hosts
        schedulers = tuple(f"{hosts[name]}:7412" for name in SCHEDULERS)
        options = llmsched.Options(
            address=f"{hosts['planner']}:7411", scheduler=schedulers, profiler=(f"{hosts['profiler']}:7413",)
        )
        return llmsched.Client(options=options)

    async def ready(self) -> None:
        """Waits until everybody answers Prometheus (a health check in a process of its own would cost more) and the
        executors are attached."""

        async def answer() -> bool:
            ended = [name for name, process in self.running.processes.items() if process.returncode is not None]
            assert not ended, f"ended: {ended}"
            return await self.prometheus.now("count(up == 1)") == [len(self.running.services) - 1]  # Redis has no page

        await until(answer, limit=180, what="an answer of every service")
        async with self.client() as client:

            async def attached() -> bool:
                executors = (await client.cluster()).executors
                return [executor.state for executor in executors] == [ExecutorState.ATTACHED] * 2

            await until(attached, limit=60, what="two executors that are ready")

    async def leader(self) -> str:
        """The scheduler that leads, as its own metrics have it."""
        found: list[str] = []

        async def one() -> bool:
            data = await self.prometheus.get("query", query="llmsched_scheduler_leader == 1")
            hosts = [series["metric"]["instance"].partition(":")[0] for series in data["result"]]
            found[:] = [name for name in SCHEDULERS if self.running.hosts[name] in hosts]
            return len(found) == 1

        await until(one, limit=30, what="one leader")
        return found[0]

    async def alerts(self, state: str) -> set[str]:
        """Names of those that are in this state now."""
        groups = (await self.prometheus.get("rules"))["groups"]
        return {rule["name"] for group in groups for rule in group["rules"] if rule["state"] == state}

    def log(self, service: str) -> list[dict[str, Any]]:
        """What a service has written; every line must be JSON."""
        text = (self.running.folder / f"{service}.log").read_text()
        return [json.loads(line) for line in text.splitlines()]


@asynccontextmanager
async def observed(folder: Path) -> AsyncIterator[Observed]:
    """Inside, everything is healthy."""
    async with otlp_receiver(CALLER) as receiver:
        services = told(load(*FILES)["services"], receiver.endpoint)
        running = Running(services, folder)
        async with running, Prometheus(running.hosts, folder / "prometheus") as prometheus:
            run = Observed(running, receiver, prometheus)
            await run.ready()
            yield run


def told(services: dict[str, dict[str, Any]], endpoint: str) -> dict[str, dict[str, Any]]:
    """The core's services, with the collector's address; the test has its own collector and Prometheus."""
    collector = "http://otel-collector:4317"
    for name in [name for name in services if name not in load(FILES[0])["services"]]:
        del services[name]
    for settings in services.values():
        environment = settings.get("environment", {})
        for key, value in environment.items():
            if value == collector:
                environment[key] = endpoint
    return services
