"""The stores that must keep the promises of `services.state.port`, as fixtures.

`open_state()` gives a further connection to the test's own shard: for the MemoryState, the same object.
"""

from __future__ import annotations

import itertools
from collections.abc import AsyncIterator, Callable, Iterator

import pytest

from services.state.factory import open_state as open_by_url
from services.state.port import State
from services.state.settings import Limits
from tests.support.redis import cluster, make_server, redis_server_binary, sentinel

BACKENDS = ("memory", "valkey", "redis-server", "cluster", "sentinel")

OpenState = Callable[..., State]

_shards = itertools.count(1)


@pytest.fixture(scope="session")
def valkey_url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    with make_server(tmp_path_factory.mktemp("valkey")) as server:
        yield server.url


@pytest.fixture(scope="session")
def redis_server_url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    with make_server(tmp_path_factory.mktemp("redis"), binary=redis_server_binary()) as server:
        yield server.url


@pytest.fixture(scope="session")
def cluster_url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    with cluster(tmp_path_factory.mktemp("cluster")) as url:
        yield url


@pytest.fixture(scope="session")
def sentinel_url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    with sentinel(tmp_path_factory.mktemp("sentinel")) as url:
        yield url


@pytest.fixture(params=BACKENDS)
def state_url(request: pytest.FixtureRequest) -> str:
    if request.param == "memory":
        return "memory://"
    url: str = request.getfixturevalue(request.param.replace("-", "_") + "_url")
    return url


@pytest.fixture
async def open_state(state_url: str) -> AsyncIterator[OpenState]:
    shard = f"test-{next(_shards)}"
    opened: list[State] = []

    def connect(**limits: float) -> State:
        if state_url == "memory://" and opened:
            return opened[0]
        opened.append(open_by_url(state_url, shard=shard, limits=Limits(**limits)))
        return opened[-1]

    yield connect
    for connection in opened:
        await connection.aclose()


@pytest.fixture
def state(open_state: OpenState) -> State:
    return open_state()
