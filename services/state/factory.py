"""Opens the durable state that a URL names."""

from __future__ import annotations

from services.state.memory import MemoryState
from services.state.port import State
from services.state.redis_store import RedisState
from services.state.settings import Limits, RedisSettings


def open_state(url: str, *, shard: str = "main", limits: Limits | None = None) -> State:
    """Returns the state of a shard. Connects with the first call, so `ping` tells whether the store is there.

    `memory://` is a new MemoryState each time; all other URLs are Redis's (see `RedisSettings.url`).
    Raises ValueError for a URL that cannot be one.
    """
    if url == "memory://":
        return MemoryState(limits=limits)
    return RedisState(RedisSettings(url=url, shard=shard, limits=limits or Limits()))
