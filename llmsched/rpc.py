"""Calls of one gRPC service: where to send them, how long to try, and whom to try next."""

from __future__ import annotations

import asyncio
import random
from collections.abc import AsyncGenerator, Awaitable, Callable, Iterable, Sequence
from contextlib import aclosing
from datetime import timedelta
from typing import Any, TypeVar

import grpc
import grpc.aio
from google.protobuf.message import Message

from llmsched.errors import (
    ConflictError,
    DeadlineExceededError,
    LLMSchedError,
    OptionsError,
    OverloadedError,
    TransientError,
    UnavailableError,
    Violation,
    from_rpc_error,
)
from llmsched.options import Options
from llmsched.tracing import trace_context

_Reply = TypeVar("_Reply", bound=Message)

_CHANNEL_OPTIONS = [
    # gRPC's own waiting time before it dials again grows to two minutes; ours is in Backoff.
    ("grpc.initial_reconnect_backoff_ms", 100),
    ("grpc.max_reconnect_backoff_ms", 1000),
    # In spite of its name how long connecting may take: by default 20 s, too long for the next address to have a turn.
    ("grpc.min_reconnect_backoff_ms", 2000),
    # A host that is gone says nothing. Noticed while there is patience left (`connect_timeout`) for the next address.
    ("grpc.keepalive_time_ms", 2_000),
    ("grpc.keepalive_timeout_ms", 2_000),
    # Snapshots of large jobs and stage outputs go beyond the default of 4 MiB.
    ("grpc.max_receive_message_length", 256 * 2**20),
    ("grpc.max_send_message_length", 256 * 2**20),
]


class Backoff:
    """Growing pauses between tries: 0.1 s, doubled up to 2 s, each shortened at random by up to a half."""

    def __init__(self, rng: random.Random) -> None:
        self._rng = rng
        self._pause = 0.1

    def next(self, wanted: timedelta | None = None) -> float:
        """Seconds to wait now; at least `wanted`, what the server asked for."""
        pause = self._pause * self._rng.uniform(0.5, 1.0)
        self._pause = min(2.0, self._pause * 2)
        return max(pause, wanted.total_seconds() if wanted else 0.0)

    def reset(self) -> None:
        """Start again with short pauses, after something worked."""
        self._pause = 0.1


class Service:
    """One gRPC service at one or more addresses, of which one answers.

    A server that answers NOT_LEADER, or none at all, makes the next call go to the leader it names, else to the
    next address.
    """

    def __init__(self, name: str, *, role: str, addresses: Sequence[str], options: Options) -> None:
        self._name = name
        self._role = role
        self._addresses = list(addresses)
        self._current = self._addresses[0]
        self._options = options
        self._channels: dict[str, grpc.aio.Channel] = {}
        self._rng = random.Random()

    async def call(
        self, method: str, request: Message, reply: type[_Reply], *, patience: float | None = None
    ) -> _Reply:
        """Call a unary method until it works, it is refused, or patience ends.

        A repeat sends the same request, so mutations must carry a request_id. `patience`: seconds for which a server
        that cannot be reached, is full or does not answer is tried, counted from when it first failed; then the limit
        in the options is that of one try, so that a call which waits for something may take all of it each time.
        Raises LLMSchedError.
        """

        async def once(limit: float) -> _Reply:
            return await self._call_once(method, request, reply, limit)

        return await (self._persist(once) if patience is None else self._outlast(once, patience))

    async def _persist(self, once: Callable[[float], Awaitable[_Reply]]) -> _Reply:
        """Calls until it works, is refused, or patience ends; `once` gets the seconds that are left for it."""
        clock = asyncio.get_running_loop().time
        begin = clock()
        backoff, limit = Backoff(self._rng), self._options.timeout
        while True:
            try:
                return await once(begin + limit - clock())
            except LLMSchedError as error:
                pause = self.pause_after(error, backoff)
                patience = limit if isinstance(error, OverloadedError) else self._options.connect_timeout
                if pause is None or clock() + pause >= begin + min(patience, limit):
                    raise
            await asyncio.sleep(pause)

    async def _outlast(self, once: Callable[[float], Awaitable[_Reply]], patience: float) -> _Reply:
        """Calls until it works, is refused, or has failed for `patience` seconds; each try has the whole limit."""
        clock = asyncio.get_running_loop().time
        backoff, failing = Backoff(self._rng), None
        while True:
            try:
                return await once(self._options.timeout)
            except LLMSchedError as error:
                failing = clock() if failing is None else failing
                if isinstance(error, DeadlineExceededError):
                    # A machine that is gone says nothing at all.
                    self._rotate()
                    pause: float | None = backoff.next()
                else:
                    pause = self.pause_after(error, backoff)
                if pause is None or clock() + pause >= failing + patience:
                    raise
            await asyncio.sleep(pause)

    async def send(
        self, method: str, requests: Callable[[], Iterable[Message]], kind: type[Message], reply: type[_Reply]
    ) -> _Reply:
        """As `call`, of a method that takes a stream of requests of this kind; a repeat asks for them again."""

        async def once(remaining: float) -> _Reply:
            return await self._send_once(method, requests(), kind, reply, remaining)

        return await self._persist(once)

    async def stream(
        self, method: str, request: Message, reply: type[_Reply], idle: float
    ) -> AsyncGenerator[_Reply, None]:
        """The messages of one streaming call. Raises LLMSchedError; UnavailableError after `idle` silent seconds."""
        address = self._current
        call = self._channel(address).unary_stream(
            self._path(method),
            request_serializer=type(request).SerializeToString,
            response_deserializer=reply.FromString,
        )(request)
        try:
            while True:
                try:
                    async with asyncio.timeout(idle):
                        message: Any = await call.read()
                except TimeoutError:
                    raise UnavailableError(f"{self._role} at {address} has fallen silent") from None
                if message is grpc.aio.EOF:
                    return
                yield message
        except grpc.RpcError as error:
            raise from_rpc_error(error, server=self._role, address=address) from error
        finally:
            call.cancel()

    async def follow(
        self, method: str, request: Message, reply: type[_Reply], idle: float
    ) -> AsyncGenerator[_Reply, None]:
        """As `stream`, of a call that never ends: after a break it is made again, perhaps elsewhere.

        Raises LLMSchedError when it is refused, or when patience ends.
        """
        clock = asyncio.get_running_loop().time
        backoff, heard, patience = Backoff(self._rng), clock(), self._options.connect_timeout
        while True:
            pause: float | None = None
            try:
                async with aclosing(self.stream(method, request, reply, idle)) as messages:
                    async for message in messages:
                        backoff.reset()
                        yield message
                        heard, patience = clock(), self._options.reconnect_timeout
            except LLMSchedError as error:
                pause = self.pause_after(error, backoff)
                if pause is None or clock() + pause >= heard + patience:
                    raise
            # The end of a stream is a server that shuts down.
            await asyncio.sleep(backoff.next() if pause is None else pause)

    def pause_after(self, error: LLMSchedError, backoff: Backoff) -> float | None:
        """Seconds to wait before the next try, which may go to another address; None: trying again is no use."""
        if isinstance(error, ConflictError) and error.reason == "NOT_LEADER":
            return self._follow(error.metadata.get("leader", ""), backoff)
        if isinstance(error, UnavailableError):
            self._rotate()
            return backoff.next(error.retry_after)
        # Without a RetryInfo the refusal is about the request, for example its size.
        if isinstance(error, TransientError) and error.retry_after is not None:
            return backoff.next(error.retry_after)
        return None

    async def close(self) -> None:
        """Close all connections; calls that run end with an error."""
        channels, self._channels = list(self._channels.values()), {}
        for channel in channels:
            await channel.close()

    async def _call_once(self, method: str, request: Message, reply: type[_Reply], timeout: float) -> _Reply:
        address = self._current
        if timeout <= 0:
            raise DeadlineExceededError(f"{self._role} at {address} did not answer in time")
        call = self._channel(address).unary_unary(
            self._path(method),
            request_serializer=type(request).SerializeToString,
            response_deserializer=reply.FromString,
        )
        try:
            answer: Any = await call(request, timeout=timeout, metadata=trace_context())
        except grpc.RpcError as error:
            raise from_rpc_error(error, server=self._role, address=address) from error
        message: _Reply = answer
        return message

    async def _send_once(
        self, method: str, requests: Iterable[Message], kind: type[Message], reply: type[_Reply], timeout: float
    ) -> _Reply:
        address = self._current
        if timeout <= 0:
            raise DeadlineExceededError(f"{self._role} at {address} did not answer in time")
        call = self._channel(address).stream_unary(
            self._path(method),
            request_serializer=kind.SerializeToString,
            response_deserializer=reply.FromString,
        )
        try:
            answer: Any = await call(iter(requests), timeout=timeout, metadata=trace_context())
        except grpc.RpcError as error:
            raise from_rpc_error(error, server=self._role, address=address) from error
        message: _Reply = answer
        return message

    def _follow(self, leader: str, backoff: Backoff) -> float:
        if leader and leader != self._current:
            self._current = leader
        else:
            self._rotate()
        # Two servers that take each other for the leader must not be asked without a pause.
        return backoff.next()

    def _rotate(self) -> None:
        known = self._addresses
        # A leader that was followed need not be among the addresses; then start over.
        place = known.index(self._current) + 1 if self._current in known else 0
        self._current = known[place % len(known)]

    def _path(self, method: str) -> str:
        return f"/{self._name}/{method}"

    def _channel(self, address: str) -> grpc.aio.Channel:
        # Made on first use, since a channel belongs to the event loop that runs then.
        if address not in self._channels:
            self._channels[address] = _open(address, self._options)
        return self._channels[address]


def _open(address: str, options: Options) -> grpc.aio.Channel:
    if not options.tls:
        return grpc.aio.insecure_channel(address, options=_CHANNEL_OPTIONS)
    files = [options.ca_file, options.key_file, options.cert_file]
    try:
        authorities, key, certificate = (file.read_bytes() if file else None for file in files)
    except OSError as error:
        problem = Violation(path=str(error.filename), message=error.strerror or str(error))
        raise OptionsError("the client's settings are wrong", violations=[problem]) from error
    credentials = grpc.ssl_channel_credentials(authorities, key, certificate)
    return grpc.aio.secure_channel(address, credentials, options=_CHANNEL_OPTIONS)
