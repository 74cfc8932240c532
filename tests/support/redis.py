"""Redis and Valkey servers for tests, alone, as a cluster and behind a sentinel."""

from __future__ import annotations

import shutil
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import pytest
from redis import Redis
from redis.exceptions import ConnectionError as RedisConnectionError

from services.state.embedded import EmbeddedServer, EmbeddedSettings, find_binary, free_port


def redis_server_binary() -> Path:
    """Returns the distribution's redis-server, or skips."""
    if found := shutil.which("redis-server"):
        return Path(found)
    pytest.skip("redis-server not installed")


def make_server(data_dir: Path, **settings: Any) -> EmbeddedServer:
    """Returns a server that has not started, with short timeouts."""
    known: dict[str, Any] = {"start_timeout": 20.0, "stop_timeout": 5.0}
    return EmbeddedServer(EmbeddedSettings(data_dir=data_dir, **(known | settings)))


@contextmanager
def cluster(directory: Path) -> Iterator[str]:
    """Two nodes with half of the slots each; gives the URL."""
    halves = ((0, 8191), (8192, 16383))
    with ExitStack() as stack:
        nodes = []
        for index, (first, last) in enumerate(halves):
            port, bus_port = free_port(), free_port()
            directives = {"cluster-enabled": "yes", "cluster-port": str(bus_port)}
            stack.enter_context(make_server(directory / str(index), port=port, directives=directives))
            node = stack.enter_context(Redis(port=port, decode_responses=True))
            node.execute_command("CLUSTER", "ADDSLOTSRANGE", first, last)
            nodes.append((node, port, bus_port))
        nodes[0][0].execute_command("CLUSTER", "MEET", "127.0.0.1", nodes[1][1], nodes[1][2])
        for node, _, _ in nodes:
            wait_until(lambda node=node: _cluster_is_complete(node))
        yield f"redis+cluster://127.0.0.1:{nodes[0][1]}"


@contextmanager
def sentinel(directory: Path) -> Iterator[str]:
    """A primary that one sentinel watches; gives the URL."""
    primary_port, sentinel_port = free_port(), free_port()
    configuration = directory / "sentinel.conf"
    with make_server(directory / "primary", port=primary_port):
        configuration.write_text(
            f"port {sentinel_port}\nbind 127.0.0.1\nsentinel monitor llmsched 127.0.0.1 {primary_port} 1\n"
        )
        with (directory / "sentinel.log").open("wb") as log:
            process = subprocess.Popen([find_binary(), configuration, "--sentinel"], stdout=log, stderr=log)
        try:
            with Redis(port=sentinel_port, decode_responses=True) as client:
                wait_until(lambda: _sees_primary(client))
            yield f"redis+sentinel://127.0.0.1:{sentinel_port}/llmsched"
        finally:
            process.terminate()
            process.wait()


def _cluster_is_complete(node: Redis) -> bool:
    answer = node.execute_command("CLUSTER INFO")
    return answer["cluster_state"] == "ok" and answer["cluster_known_nodes"] == "2"


def _sees_primary(client: Redis) -> bool:
    try:
        found = client.sentinel_get_master_addr_by_name("llmsched")
    except RedisConnectionError:
        return False
    return bool(found)


def wait_until(condition: Callable[[], bool], *, seconds: float = 20.0) -> None:
    """Waits for what another process does."""
    limit = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < limit, "the servers did not come up"
        time.sleep(0.02)
