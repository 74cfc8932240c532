"""HTTP to an engine: JSON calls and server-sent events, with every failure told as an `EngineError`."""

from __future__ import annotations

import os
from collections.abc import AsyncGenerator, Iterator, Mapping
from contextlib import contextmanager
from typing import Any, TypeVar

import aiohttp
import msgspec

from services.executors.llm.engine import (
    EngineError,
    EngineProtocolError,
    EngineRejected,
    EngineUnavailable,
)

Answer = TypeVar("Answer")

_OVERLOADED_OR_LATE = frozenset({408, 425, 429})
_TOLD_AT_MOST = 500
"""Characters of an engine's own error text that we repeat."""


class HttpEngine:
    """The connection pool to one engine. Made and used inside one event loop."""

    def __init__(
        self,
        url: str,
        *,
        api_key_env: str | None = None,
        reuse_connections: bool = True,
        answer_seconds: float = 10.0,
    ) -> None:
        """`api_key_env` names the environment variable with the bearer token; `answer_seconds` limits short calls.

        Raises ValueError if that variable is not set.
        """
        self.url = url.rstrip("/")
        self._short = aiohttp.ClientTimeout(total=answer_seconds)
        # A stream is silent for as long as the engine queues the request: only connecting has a limit here, the
        # request's own timeout ends the rest.
        self._long = aiohttp.ClientTimeout(total=None, sock_connect=answer_seconds)
        headers = {"Authorization": f"Bearer {_secret(api_key_env)}"} if api_key_env else {}
        # limit=0: how many requests run at once is the scheduler's decision, not the pool's.
        connector = aiohttp.TCPConnector(limit=0, force_close=not reuse_connections)
        self._session = aiohttp.ClientSession(connector=connector, headers=headers)

    async def call(self, method: str, path: str, answer: type[Answer], body: Mapping[str, Any] | None = None) -> Answer:
        """One short request; the JSON in return, checked against the type `answer`. Raises EngineError."""
        with self._failures_told():
            async with self._session.request(method, self.url + path, json=body, timeout=self._short) as response:
                data = await response.read()
                self._check(response, data)
                return msgspec.json.decode(data, type=answer)

    async def status(self, method: str, path: str, body: Mapping[str, Any] | None = None) -> int:
        """One short request of which only the HTTP status matters. Raises EngineError if there is no answer."""
        with self._failures_told():
            async with self._session.request(method, self.url + path, json=body, timeout=self._short) as response:
                await response.read()
                return response.status

    async def events(
        self, path: str, body: Mapping[str, Any], headers: Mapping[str, str]
    ) -> AsyncGenerator[bytes, None]:
        """Posts `body` and yields the data of each server-sent event until `[DONE]`. Raises EngineError."""
        with self._failures_told():
            async with self._session.post(self.url + path, json=body, headers=headers, timeout=self._long) as response:
                if response.status != 200:
                    self._check(response, await response.read())
                async for line in _lines(response.content):
                    if line.startswith(b"data:"):
                        data = line[5:].strip()
                        if data == b"[DONE]":
                            return
                        yield data

    async def aclose(self) -> None:
        await self._session.close()

    def error(self, status: int, message: str) -> EngineError:
        """What an HTTP status means for whoever sent the request."""
        told = message.strip()[:_TOLD_AT_MOST] or "no reason given"
        if status in _OVERLOADED_OR_LATE or status >= 500:
            text = f"the engine at {self.url} cannot serve the request now (HTTP {status}): {told}"
            return EngineUnavailable(text, status=status)
        if status >= 400:
            text = f"the engine at {self.url} refused the request (HTTP {status}): {told}"
            return EngineRejected(text, status=status)
        return EngineProtocolError(f"unexpected answer of {self.url} (HTTP {status}): {told}", status=status)

    def _check(self, response: aiohttp.ClientResponse, data: bytes) -> None:
        if response.status != 200:
            raise self.error(response.status, _reason(data))

    @contextmanager
    def _failures_told(self) -> Iterator[None]:
        try:
            yield
        except aiohttp.ClientConnectorError as error:
            raise EngineUnavailable(f"cannot connect to the engine at {self.url}: is it running? ({error})") from error
        except TimeoutError as error:
            raise EngineUnavailable(f"the engine at {self.url} did not answer in time") from error
        except (aiohttp.ClientResponseError, aiohttp.InvalidURL, msgspec.MsgspecError) as error:
            raise EngineProtocolError(
                f"{self.url} does not answer like an engine: is it the address of another kind of server? ({error})"
            ) from error
        except (aiohttp.ClientError, OSError) as error:
            raise EngineUnavailable(f"the connection to the engine at {self.url} broke ({error!r})") from error


async def _lines(content: aiohttp.StreamReader) -> AsyncGenerator[bytes, None]:
    # Not StreamReader.readline: it refuses long lines, and a line carries the whole text so far.
    rest = b""
    async for data in content.iter_any():
        *lines, rest = (rest + data).split(b"\n")
        for line in lines:
            yield line


def _secret(name: str) -> str:
    value = os.environ.get(name, "")
    if not value:
        raise ValueError(f"the environment variable {name}, which should hold the engine's API key, is not set")
    return value


class _ErrorBody(msgspec.Struct):
    error: Any = None
    detail: Any = None
    message: Any = None


def _reason(data: bytes) -> str:
    """The human part of an error answer, whichever of the usual shapes it has."""
    try:
        body = msgspec.json.decode(data, type=_ErrorBody)
    except msgspec.MsgspecError:
        return data.decode(errors="replace")
    told = body.error or body.detail or body.message or ""
    return str(told.get("message", told)) if isinstance(told, dict) else str(told)
