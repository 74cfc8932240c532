"""Redis and Valkey servers for tests, alone, as a cluster and behind a sentinel."""

from __future__ import annotations

import shutil
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any, Self

import pytest
from redis import Redis
from redis.exceptions import ConnectionError as RedisConnectionError
from redis.exceptions import ResponseError

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
    port = free_port()
    with make_server(directory / "primary", port=port), _watched(directory, port) as sentinel_port:
        yield _sentinel_url(sentinel_port)


class SentinelGroup:
    """A primary, a replica, and a sentinel that makes the replica the primary when the other is away. Use `with`."""

    def __init__(self, directory: Path) -> None:
        self.ports = (free_port(), free_port())
        at_once = {"repl-diskless-sync-delay": "0"}
        replica = {**at_once, "replicaof": f"127.0.0.1 {self.ports[0]}"}
        self.primary = make_server(directory / "primary", port=self.ports[0], directives=at_once)
        self.replica = make_server(directory / "replica", port=self.ports[1], directives=replica)
        self._directory = directory
        self._stack = ExitStack()

    def __enter__(self) -> Self:
        with ExitStack() as stack:
            stack.enter_context(self.primary)
            stack.enter_context(self.replica)
            wait_until(lambda: self.replication(1)["master_link_status"] == "up")
            lines = ("down-after-milliseconds llmsched 500", "failover-timeout llmsched 3000")
            self._sentinel_port = stack.enter_context(_watched(self._directory, self.ports[0], *lines))
            wait_until(lambda: self._ask("SENTINEL", "REPLICAS", "llmsched"))
            self._stack = stack.pop_all()
        return self

    def __exit__(self, *_: object) -> None:
        self._stack.close()

    @property
    def url(self) -> str:
        return _sentinel_url(self._sentinel_port)

    def replication(self, index: int) -> dict[str, Any]:
        with Redis(port=self.ports[index], decode_responses=True) as client:
            return dict(client.info("replication"))

    def replicated(self) -> None:
        """Waits until the replica has all that the primary has."""
        wait_until(lambda: self.replication(1)["slave_repl_offset"] == self.replication(0)["master_repl_offset"])

    def cut_off(self) -> None:
        """Ends replication; the sentinel mends that after eight seconds."""
        with Redis(port=self.ports[1]) as client:
            client.replicaof("127.0.0.1", str(free_port()))

    def fail_over(self) -> None:
        """Makes the replica the primary while both run, as for maintenance; the old one becomes its replica."""

        def begun() -> bool:
            try:
                return bool(self._ask("SENTINEL", "FAILOVER", "llmsched"))
            except ResponseError:  # it has not heard yet that the replica is fit
                return False

        wait_until(begun)

    def _ask(self, *words: str) -> Any:
        with Redis(port=self._sentinel_port, decode_responses=True) as client:
            return client.execute_command(*words)


def _sentinel_url(port: int) -> str:
    return f"redis+sentinel://127.0.0.1:{port}/llmsched"


@contextmanager
def _watched(directory: Path, primary_port: int, *lines: str) -> Iterator[int]:
    """A sentinel of one primary, with further lines of configuration; gives its port."""
    port = free_port()
    configuration = directory / "sentinel.conf"
    configuration.write_text(
        f"port {port}\nbind 127.0.0.1\nsentinel monitor llmsched 127.0.0.1 {primary_port} 1\n"
        + "".join(f"sentinel {line}\n" for line in lines)
    )
    with (directory / "sentinel.log").open("wb") as log:
        process = subprocess.Popen([find_binary(), configuration, "--sentinel"], stdout=log, stderr=log)
    try:
        with Redis(port=port, decode_responses=True) as client:
            wait_until(lambda: _sees_primary(client))
        yield port
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
