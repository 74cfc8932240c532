from __future__ import annotations

from typing import Any

import pytest

from services.state.endpoints import Endpoint
from services.state.factory import open_state
from services.state.memory import MemoryState
from services.state.redis_store import RedisState
from services.state.settings import Limits, RedisSettings


def test_the_url_chooses_the_store() -> None:
    assert isinstance(open_state("memory://"), MemoryState)
    assert isinstance(open_state("redis://127.0.0.1:1"), RedisState)


@pytest.mark.parametrize("url", ["", "localhost:6379", "http://localhost", "redis+sentinel://localhost:26379"])
def test_what_cannot_be_a_url_of_a_store_is_refused(url: str) -> None:
    with pytest.raises(ValueError, match="URL"):
        open_state(url)


@pytest.mark.parametrize(
    ("url", "address"),
    [
        ("redis://localhost", "localhost:6379"),
        ("redis://user:secret@db.example:7000/2", "db.example:7000"),
        ("rediss://:secret@db.example", "db.example:6379"),
        ("redis://[::1]:7000", "::1:7000"),
        ("unix:///run/redis.sock?db=1", "/run/redis.sock"),
        ("redis+cluster://user:secret@node:7000", "node:7000"),
        ("redis+sentinel://:secret@a,b:7000/main", "a:26379,b:7000"),
    ],
)
def test_an_address_in_messages_has_no_login(url: str, address: str) -> None:
    assert Endpoint(RedisSettings(url=url)).address == address


def test_the_login_reaches_the_server_of_every_kind() -> None:
    for url in (
        "redis://user:s%40cret@localhost/1",
        "rediss://user:s%40cret@localhost/1",
        "redis+cluster://user:s%40cret@localhost",
        "rediss+sentinel://user:s%40cret@localhost/main",
    ):
        redis: Any = Endpoint(RedisSettings(url=url)).client(retries=0).redis
        options = redis.nodes_manager.connection_kwargs if "cluster" in url else redis.connection_pool.connection_kwargs
        assert (options["username"], options["password"]) == ("user", "s@cret")


@pytest.mark.parametrize("scheme", ["rediss", "rediss+cluster", "rediss+sentinel"])
def test_a_secure_url_uses_tls(scheme: str) -> None:
    redis: Any = Endpoint(RedisSettings(url=f"{scheme}://localhost/1?ssl_ca_certs=ca.pem")).client(retries=0).redis
    if "cluster" in scheme:
        options = redis.nodes_manager.connection_kwargs
        kind = options["connection_class"]
    else:
        options = redis.connection_pool.connection_kwargs
        kind = redis.connection_pool.connection_class
    assert "SSL" in kind.__name__
    assert options["ssl_ca_certs"] == "ca.pem"


@pytest.mark.parametrize("name", ["retention_seconds", "max_events", "max_observations"])
def test_limits_are_greater_than_zero(name: str) -> None:
    with pytest.raises(ValueError, match=name):
        Limits(**{name: 0})


@pytest.mark.parametrize("shard", ["", "a}b", "a:b", "a b"])
def test_a_shard_name_must_not_break_the_hash_tag(shard: str) -> None:
    with pytest.raises(ValueError, match="shard"):
        RedisSettings(shard=shard)
