"""What a URL of the store means: one server, a Sentinel group or a Redis Cluster, with TLS and login.

* `redis://[user:password@]host:port/db`, `rediss://…` with TLS, `unix:///path/to/socket`;
* `redis+sentinel://[user:password@]host:port,host:port/service`, login for the server, not for the sentinels;
* `redis+cluster://[user:password@]host:port`, any node of it;
* `rediss+sentinel`, `rediss+cluster` with TLS. Options of redis-py may follow, such as `?ssl_ca_certs=ca.pem`.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit

from redis.asyncio import ConnectionPool, Redis, RedisCluster
from redis.asyncio.connection import SSLConnection, parse_url
from redis.asyncio.retry import Retry
from redis.asyncio.sentinel import Sentinel
from redis.backoff import ExponentialBackoff

from services.state.settings import RedisSettings

SCHEMES = ("redis", "rediss", "unix", "redis+sentinel", "rediss+sentinel", "redis+cluster", "rediss+cluster")

_DEFAULT_PORTS = {"": 6379, "cluster": 6379, "sentinel": 26379}


@dataclass(frozen=True, slots=True)
class Client:
    """A client with what has to be closed after it."""

    redis: Redis | RedisCluster
    sentinels: tuple[Redis, ...] = ()

    async def prepare(self) -> None:
        """Learns where the slots are. Until then redis-py would send commands to any node of a cluster."""
        if isinstance(self.redis, RedisCluster):
            await self.redis.initialize()

    async def aclose(self) -> None:
        await self.redis.aclose()
        for sentinel in self.sentinels:
            await sentinel.aclose()


class Endpoint:
    """A parsed URL. Raises ValueError if it cannot be one."""

    def __init__(self, settings: RedisSettings) -> None:
        parts = urlsplit(settings.url)
        if parts.scheme not in SCHEMES:
            raise ValueError(f"a URL of the store begins with one of {', '.join(SCHEMES)}, not {parts.scheme!r}")
        self._settings = settings
        self._secure, _, self._kind = parts.scheme.partition("+")
        login, _, hosts = parts.netloc.rpartition("@")
        self._hosts = [_host_and_port(host, _DEFAULT_PORTS[self._kind]) for host in hosts.split(",")]
        self._service = parts.path.strip("/")
        if self._kind == "sentinel" and not self._service:
            raise ValueError("a redis+sentinel:// URL ends with the name of the service: …/mymaster")
        #: for messages: without the login
        self.address = (
            parts.path if parts.scheme == "unix" else ",".join(f"{host}:{port}" for host, port in self._hosts)
        )
        # redis-py parses login and options; it does not know about many hosts, so it is given none.
        self._url = f"{self._secure}://{login}{'@' if login else ''}{'any' if self._kind else hosts}"
        self._url += f"{'' if self._kind else parts.path}?{parts.query}"
        parse_url(self._url)

    def client(self, *, retries: int) -> Client:
        """Returns a client that has not connected yet."""
        if not self._kind:
            return Client(Redis.from_pool(ConnectionPool.from_url(self._url, **self._options(retries))))
        options: dict[str, Any] = {**self._options(retries), **parse_url(self._url)}
        options.pop("host", None)
        secure = options.pop("connection_class", None) is SSLConnection
        if self._kind == "cluster":
            host, port = self._hosts[0]
            # A slot that moved is learnt from the error; redis-py's alternative closes connections that are in use.
            options |= {"host": host, "port": port, "ssl": secure, "reinitialize_steps": 0}
            return Client(RedisCluster(require_full_coverage=False, **options))
        sentinel = Sentinel(self._hosts, **options)
        master = sentinel.master_for(self._service, ssl=secure)
        return Client(master, tuple(sentinel.sentinels))

    async def listener(self, client: Client) -> Client:
        """Returns a client for one subscription, whose connection is not repaired silently."""
        if self._kind != "cluster":
            return self.client(retries=0)
        await client.prepare()
        assert isinstance(client.redis, RedisCluster)
        node = client.redis.get_random_node()  # each node hears what is published on any of them
        options: dict[str, Any] = {**self._options(retries=0), **parse_url(self._url)}
        options |= {"host": node.host, "port": node.port}
        return Client(Redis.from_pool(ConnectionPool(**options)))

    def _options(self, retries: int) -> dict[str, Any]:
        options: dict[str, Any] = {
            "socket_connect_timeout": self._settings.connect_timeout,
            "socket_timeout": self._settings.answer_timeout,
            "retry": Retry(ExponentialBackoff(cap=0.5, base=0.05), retries),
            "protocol": 2,  # the scripts answer with nothing else; RESP3 would only add a handshake
            "max_connections": self._settings.max_connections,
        }
        if self._secure != "unix":
            options["socket_keepalive"] = True
        return options


def _host_and_port(text: str, default_port: int) -> tuple[str, int]:
    parts = urlsplit(f"//{text}")
    return parts.hostname or "127.0.0.1", parts.port or default_port
