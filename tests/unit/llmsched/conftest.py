"""A fake cluster and clients of it."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator

import pytest

from llmsched.client import Client
from llmsched.options import Options
from tests.unit.llmsched.fake_servers import FakePlanner, FakeProfiler, FakeScheduler, FakeServer


@pytest.fixture
def planner() -> FakePlanner:
    return FakePlanner()


@pytest.fixture
def scheduler() -> FakeScheduler:
    return FakeScheduler()


@pytest.fixture
def profiler() -> FakeProfiler:
    return FakeProfiler()


@pytest.fixture
def server(planner: FakePlanner, scheduler: FakeScheduler, profiler: FakeProfiler) -> Iterator[FakeServer]:
    server = FakeServer(planner, scheduler, profiler=profiler)
    yield server
    planner.let_watches_end.set()
    server.stop()


@pytest.fixture
def options(server: FakeServer) -> Options:
    return Options(address=server.address, scheduler=(server.address,), timeout=10)


@pytest.fixture
async def client(options: Options) -> AsyncIterator[Client]:
    async with Client(options=options) as client:
        yield client
