"""Gateways, and agents that attach to them."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator

import pytest

from tests.integration.executor_agent.running import Agents, Gateways, Running
from tests.unit.services.executors.gateway import ScriptedGateway


@pytest.fixture
async def gateways() -> AsyncIterator[Gateways]:
    """Starts gateways."""
    async with contextlib.AsyncExitStack() as stack:

        async def start() -> ScriptedGateway:
            gateway = await ScriptedGateway().start()
            stack.push_async_callback(gateway.stop)
            return gateway

        yield start


@pytest.fixture
async def gateway(gateways: Gateways) -> ScriptedGateway:
    return await gateways()


@pytest.fixture
async def agents(gateways: Gateways) -> AsyncIterator[Agents]:
    """Makes agents; they end before their gateways do."""
    async with contextlib.AsyncExitStack() as stack:

        def make(*schedulers: str) -> Running:
            running = Running(*schedulers)
            stack.push_async_callback(running.aclose)
            return running

        yield make


@pytest.fixture
def running(agents: Agents, gateway: ScriptedGateway) -> Running:
    return agents(gateway.address)
