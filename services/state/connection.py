"""The one place that talks to Redis: runs commands and scripts, and turns errors into `StateError`s.

Scripts and single commands are all there is, and the keys of each lie in one slot. So a server, a Sentinel group and a
Redis Cluster serve equally.
"""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from typing import Any

from redis.exceptions import (
    AuthenticationError,
    BusyLoadingError,
    ClusterDownError,
    MasterDownError,
    NoScriptError,
    OutOfMemoryError,
    ReadOnlyError,
    RedisClusterException,
    RedisError,
    ResponseError,
    TryAgainError,
)
from redis.exceptions import ConnectionError as RedisConnectionError
from redis.exceptions import TimeoutError as RedisTimeoutError

from services.state.endpoints import Client, Endpoint
from services.state.port import StateError, StateUnavailable
from services.state.settings import RedisSettings

Argument = str | bytes | int | float

_TRANSPORT_ERRORS = (RedisError, RedisClusterException, OSError, TimeoutError)

#: Error answers that pass without a change to the program, by their first word, and what to do about them.
_ADVICE = {
    "LOADING": "it is still loading its data: try again shortly",
    "BUSY": "it is busy with a script: try again shortly",
    "OOM": "it is out of memory: raise its maxmemory, or shorten the retention time",
    "MISCONF": "it cannot write to its disk: look at its log and make room",
    "READONLY": "it is a replica: let the URL name the primary",
    "MASTERDOWN": "its primary is down: wait for the failover",
    "CLUSTERDOWN": "the cluster does not serve all slots: look at CLUSTER INFO",
    "NOREPLICAS": "too few replicas are attached to accept writes: look at INFO replication",
    "TRYAGAIN": "the slot is moving to another node: try again shortly",
}
#: Errors that redis-py has a class for lose their first word.
_WORDS = {
    BusyLoadingError: "LOADING",
    ClusterDownError: "CLUSTERDOWN",
    MasterDownError: "MASTERDOWN",
    OutOfMemoryError: "OOM",
    ReadOnlyError: "READONLY",
    TryAgainError: "TRYAGAIN",
}


@dataclass(frozen=True, slots=True)
class Script:
    """A Lua file of this package."""

    text: str
    sha: str


@cache
def load_script(name: str) -> Script:
    """Returns `lua/<name>.lua`."""
    text = files("services.state").joinpath(f"lua/{name}.lua").read_text(encoding="utf-8")
    return Script(text, hashlib.sha1(text.encode(), usedforsecurity=False).hexdigest())


def pending_cancellations() -> int:
    """Returns how often this task was asked to end.

    In Python 3.11 `asyncio.wait_for`, and so redis-py, loses a cancellation that comes together with the answer
    (https://github.com/python/cpython/issues/86296). The count tells.
    """
    task = asyncio.current_task()
    return task.cancelling() if task is not None else 0


class RedisConnection:
    """Connects when it is first used. Every call ends in time, by an answer or by StateUnavailable.

    What was sent is sent again when its answer is lost, so only what may be repeated may be sent.
    """

    def __init__(self, settings: RedisSettings) -> None:
        self._endpoint = Endpoint(settings)
        self._client = self._endpoint.client(retries=settings.retries)
        self._closed = False
        self._free = asyncio.Semaphore(settings.max_connections)
        # Each try may run into both of its timeouts. The wait for a free connection counts too.
        self._deadline = (settings.connect_timeout + settings.answer_timeout) * (settings.retries + 1)

    @property
    def address(self) -> str:
        """Where the store is, for messages: without the login."""
        return self._endpoint.address

    async def run(self, name: str, keys: Sequence[str], *arguments: Argument) -> Any:
        """Runs `lua/<name>.lua`. Raises StateUnavailable, StateError."""
        script = load_script(name)
        try:
            return await self._send("EVALSHA", script.sha, len(keys), *keys, *arguments)
        except NoScriptError:  # the server has not seen it since it started
            return await self.command("EVAL", script.text, len(keys), *keys, *arguments)
        except _TRANSPORT_ERRORS as error:
            raise self._translated(error) from error

    async def command(self, *words: Argument) -> Any:
        """Sends one command. Raises StateUnavailable, StateError."""
        try:
            return await self._send(*words)
        except _TRANSPORT_ERRORS as error:
            raise self._translated(error) from error

    async def listener(self) -> Client:
        """Returns a client for one subscription. Raises errors of redis-py."""
        return await self._endpoint.listener(self._client)

    async def aclose(self) -> None:
        self._closed = True
        await self._client.aclose()

    async def _send(self, *words: Argument) -> Any:
        if self._closed:
            raise StateUnavailable("the state is closed")
        cancellations = pending_cancellations()
        async with asyncio.timeout(self._deadline), self._free:
            await self._client.prepare()
            try:
                answer = await self._client.redis.execute_command(*words)
            except RuntimeError as error:
                # What uvloop says, and redis-py lets through, where a connection is written to that has just been lost.
                if "closed" not in str(error):
                    raise
                raise RedisConnectionError(f"the connection was lost: {error}") from error
        if pending_cancellations() > cancellations:
            raise asyncio.CancelledError
        return answer

    def _translated(self, error: Exception) -> StateError:
        where = f"Redis at {self.address}"
        word = _WORDS.get(type(error), str(error).split(" ", 1)[0])
        if isinstance(error, AuthenticationError):
            return StateUnavailable(f"{where} refused the login ({error}): check the user and password in the URL")
        # redis-py wraps a timeout within the handshake of a new connection as an ordinary connection error.
        if isinstance(error, RedisTimeoutError | TimeoutError) or word == "Timeout":
            return StateUnavailable(f"{where} did not answer in time: check its load and the network")
        if word in _ADVICE:
            return StateUnavailable(f"{where} cannot serve ({error}): {_ADVICE[word]}")
        if isinstance(error, ResponseError):
            return StateError(f"{where} refused a command: {error}")
        return StateUnavailable(f"cannot reach {where} ({error}): check that it runs and that the URL is right")
